"""Two segments of text for a row: where documents are cut, where a chunk is split, what is cut off.

Shapes: ``n`` documents, ``q`` chunks of text.
"""

import dataclasses

import numpy as np
from jaxtyping import Int64, UInt64

from tlearn.data.row_cutting import extents
from tlearn.data.streams import draws, uniform
from tlearn.data.token_store import TokenStore


@dataclasses.dataclass(frozen=True, eq=False)
class Chunks:
    """Chunks of text that are split in two, in the order of the documents.

    Attributes:
        documents: The document that each is from.
        begins: Where each begins in the store.
        counts: Tokens of each; at least 2.
        goals: Tokens that each was meant to have.
    """

    documents: Int64[np.ndarray, " q"]
    begins: Int64[np.ndarray, " q"]
    counts: Int64[np.ndarray, " q"]
    goals: Int64[np.ndarray, " q"]

    def __len__(self) -> int:
        return len(self.begins)


class Sentences:
    """Where sentences begin in a store, and what can be asked of that.

    Args:
        store: The corpus as tokens.
        room: Tokens that the two segments of a row may have together.
    """

    def __init__(self, store: TokenStore, room: int):
        """Reads where documents and sentences begin."""
        self.begins, self.stops = extents(store)
        self._at = np.asarray(store.sentences, np.int64)
        self._first = np.searchsorted(self._at, self.begins)
        self._last = np.searchsorted(self._at, self.stops)
        self._room = room
        self.full = np.flatnonzero(self.stops > self.begins)
        """Documents that have tokens."""

    def reach(
        self,
        begin: Int64[np.ndarray, " q"],
        goal: Int64[np.ndarray, " q"],
        stop: Int64[np.ndarray, " q"],
    ) -> Int64[np.ndarray, " q"]:
        """Takes whole sentences until there are as many tokens as wanted or the document ends.

        A sentence that would run over by more than half of a row's room is cut at the goal, so that
        a text without sentences loses no more than others.
        """
        wanted = begin + goal
        place = np.searchsorted(self._at, wanted)
        found = np.where(
            place < len(self._at), self._at[np.minimum(place, len(self._at) - 1)], stop
        )
        found = np.minimum(found, stop)
        return np.where(found - wanted > self._room // 2, wanted, found)

    def chunks(self, seed: int, short: float) -> Chunks:
        """Cuts every document into chunks of about a row's room.

        A share ``short`` of the documents is cut into chunks of some random smaller size, so that
        models see short texts too (Devlin et al. 2019, the published code). A last chunk of one
        token cannot be split and is left out.
        """
        documents, count = self.full, len(self.full)
        even = uniform(draws(seed, "short documents", 2 * count, 0, np.zeros(1, np.int64))[0])
        smaller = 2 + (even[count:] * (self._room - 1)).astype(np.int64)
        goals = np.where(even[:count] < short, smaller, self._room)
        place, stop = self.begins[documents], self.stops[documents]
        found: list[np.ndarray] = []
        # Every document's next chunk at once: as many turns as the longest one has chunks.
        while len(documents):
            end = self.reach(place, goals, stop)
            found.append(np.stack([documents, place, end - place, goals]))
            more = end < stop
            documents, goals, place, stop = documents[more], goals[more], end[more], stop[more]
        if not found:
            return Chunks(*np.zeros((4, 0), np.int64))
        all_ = np.concatenate(found, axis=1)
        all_ = all_[:, all_[2] > 1]
        return Chunks(*all_[:, np.lexsort((all_[1], all_[0]))])

    def split(
        self,
        begin: Int64[np.ndarray, " q"],
        count: Int64[np.ndarray, " q"],
        bits: UInt64[np.ndarray, " q"],
    ) -> Int64[np.ndarray, " q"]:
        """Chooses where chunks are split: evenly before any sentence but their first.

        A chunk of a single sentence is split before any token but its first. The published code
        makes such a chunk a random pair always, which tips the balance of labels.
        """
        low = np.searchsorted(self._at, begin, side="right")
        inner = np.searchsorted(self._at, begin + count) - low
        chosen = low + below(np.maximum(inner, 1), bits)
        sentence = self._at[np.minimum(chosen, len(self._at) - 1)]
        return np.where(inner > 0, sentence, begin + 1 + below(count - 1, bits))

    def elsewhere(
        self,
        documents: Int64[np.ndarray, " q"],
        goal: Int64[np.ndarray, " q"],
        bits: UInt64[np.ndarray, "q 2"],
    ) -> tuple[Int64[np.ndarray, " q"], Int64[np.ndarray, " q"]]:
        """Takes text from a random sentence of a random other document: its begin and its tokens.

        Args:
            documents: The documents that it may not be from.
            goal: Tokens wanted.
            bits: Random numbers for the document and the sentence.
        """
        own = np.searchsorted(self.full, documents)
        other = below(np.full(len(own), len(self.full) - 1), bits[:, 0])
        other = self.full[other + (other >= own)]
        sentence = self._first[other]
        sentence = sentence + below(self._last[other] - sentence, bits[:, 1])
        begin = self._at[sentence]
        return begin, self.reach(begin, np.maximum(goal, 1), self.stops[other]) - begin


def below(
    count: Int64[np.ndarray, " q"], bits: UInt64[np.ndarray, " q"]
) -> Int64[np.ndarray, " q"]:
    """Makes even whole numbers from 0 up to but not including each count of 64-bit draws."""
    return ((bits >> np.uint64(32)) * count.astype(np.uint64) >> np.uint64(32)).astype(np.int64)


def shorten(
    first: Int64[np.ndarray, " q"], second: Int64[np.ndarray, " q"], room: int
) -> tuple[Int64[np.ndarray, " q"], Int64[np.ndarray, " q"]]:
    """Counts what is left of two segments once tokens are taken from the longer till both fit.

    Of two equally long ones the second gives way, as in the published code.
    """
    second = np.minimum(second, np.maximum(room // 2, room - first))
    return np.minimum(first, room - second), second


def cut_before(
    removed: Int64[np.ndarray, " q"], bits: UInt64[np.ndarray, "q w"]
) -> Int64[np.ndarray, " q"]:
    """Counts how many of the tokens taken away are a segment's first: each is with even chance.

    Args:
        removed: Tokens taken away; at most 64 for each random number.
        bits: Random numbers.
    """
    coins = np.unpackbits(np.ascontiguousarray(bits, "<u8").view(np.uint8), axis=1)
    counted = np.cumsum(coins, axis=1, dtype=np.int64)
    before = counted[np.arange(len(removed)), np.maximum(removed, 1) - 1]
    return np.where(removed > 0, before, 0)
