"""Two segments of text for a row: where documents are cut, where a chunk is split, what is cut off.

Shapes: ``n`` documents, ``q`` chunks of text.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int64, UInt64

from tlearn.data import scratch
from tlearn.data.document_tokens import Documents
from tlearn.data.streams import stream, uniform
from tlearn.data.token_store import TokenStore

_TOKENS_AT_ONCE = 1 << 18
"""Tokens of documents that are cut up together, unless it is one document."""


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
        self.documents = Documents(store)
        """Documents that have tokens."""
        self._near = store.scratch
        self._at = scratch.array_of(store.sentences, self._near)
        self._room = room

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
        count = len(self.documents)
        drawn, sizes = (stream(seed, "short documents").bit_generator for _ in range(2))
        for begin, end in scratch.chunks(count):
            sizes.random_raw(end - begin)

        def cut_up() -> Iterator[np.ndarray]:
            yield np.zeros((0, 4), np.int64)
            begin = 0
            while begin < count:
                end = self._together(begin)
                even, size = (uniform(bits.random_raw(end - begin)) for bits in (drawn, sizes))
                smaller = 2 + (size * (self._room - 1)).astype(np.int64)
                goals = np.where(even < short, smaller, self._room)
                yield self._cut_up(np.arange(begin, end), goals)
                begin = end

        return Chunks(*scratch.filled(cut_up(), self._near).T)

    def _together(self, begin: int) -> int:
        """How far documents go that are cut up at once: not many, nor many tokens."""
        some = np.arange(begin, min(begin + scratch.CHUNK, len(self.documents)))
        first = self.documents.begins(some[:1]) + _TOKENS_AT_ONCE
        return begin + max(1, int(np.searchsorted(self.documents.stops(some), first)[0]))

    def _cut_up(
        self, documents: Int64[np.ndarray, " n"], goals: Int64[np.ndarray, " n"]
    ) -> Int64[np.ndarray, "q 4"]:
        """Cuts some documents; a row is a chunk as `Chunks` has it."""
        place, stop = self.documents.begins(documents), self.documents.stops(documents)
        documents = self.documents.numbers(documents)
        found: list[np.ndarray] = []
        # Every document's next chunk at once: as many turns as the longest one has chunks.
        while len(documents):
            end = self.reach(place, goals, stop)
            found.append(np.stack([documents, place, end - place, goals], axis=1))
            more = end < stop
            documents, goals, place, stop = documents[more], goals[more], end[more], stop[more]
        cuts = np.concatenate(found)
        cuts = cuts[cuts[:, 2] > 1]
        # Chunks of different documents never begin at one place, so that says which is first.
        return cuts[np.argsort(cuts[:, 1], kind="stable")]

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
        own = self.documents.places(documents)
        other = below(np.full(len(own), len(self.documents) - 1), bits[:, 0])
        other = other + (other >= own)
        stop = self.documents.stops(other)
        first = np.searchsorted(self._at, self.documents.begins(other))
        sentence = first + below(np.searchsorted(self._at, stop) - first, bits[:, 1])
        begin = self._at[sentence]
        return begin, self.reach(begin, np.maximum(goal, 1), stop) - begin


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
