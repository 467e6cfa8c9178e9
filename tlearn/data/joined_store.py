"""Two token stores as one, in proportions: what is adapted to, and what must not be forgotten."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tlearn.data.errors import DataError
from tlearn.data.long_orders import in_two, long_permutation
from tlearn.data.scratch import chunks, filled
from tlearn.data.spliced import Spliced
from tlearn.data.token_store import TokenStore


def with_replay(store: TokenStore, other: TokenStore, share: float, seed: int) -> TokenStore:
    """Adds documents of another store, drawn by the seed, until they make a share of all tokens.

    Batches shuffle documents or rows, so the two are mixed everywhere.

    Args:
        store: Kept whole.
        other: What some documents are taken of; all, if they make less than the share.
        share: Share of the tokens, above 0 and below 1.
        seed: Of the documents drawn.

    Raises:
        DataError: If the share is none, or the two stores were made by different tokenizers.

    Reference: Rolnick et al. 2019 (experience replay).
    """
    if not 0 < share < 1:
        raise DataError(f"replay share {share}; expected above 0 and below 1")
    if store.how != other.how:
        raise DataError(
            f"{store.name} and {other.name} were made tokens by different tokenizers, and cannot "
            "be read together"
        )
    wanted = share / (1 - share) * len(store.tokens)
    order = long_permutation(seed, "replay", len(other), near=store.scratch)
    count = reached = 0
    for begin, end in chunks(len(other)):
        numbers = order[begin:end]
        sums = reached + np.cumsum(other.starts[numbers + 1] - other.starts[numbers])
        reached = int(sums[-1])
        count = begin + int(np.searchsorted(sums, wanted))
        if reached >= wanted:
            break
    drawn, _ = in_two(order, min(count + 1, len(other)), store.scratch)
    return joined([store, other.part(drawn)])


def joined(stores: Sequence[TokenStore]) -> TokenStore:
    """Reads stores of one tokenizer end to end; nothing is copied."""
    first = stores[0]
    lengths = np.array([len(store.tokens) for store in stores], np.int64)
    sentences = np.array([len(store.sentences) for store in stores], np.int64)
    before, sentences_before = (
        np.concatenate([[0], np.cumsum(counts)]) for counts in (lengths, sentences)
    )
    which, begins = np.arange(len(stores)), np.zeros(len(stores), np.int64)

    def starts() -> Iterator[np.ndarray]:
        for store, shift in zip(stores, before[:-1], strict=True):
            yield from (np.asarray(store.starts[a:b]) + shift for a, b in chunks(len(store)))
        yield before[-1:].astype(np.int64)

    words = [store.word_starts for store in stores]
    code = hashlib.sha256(b"joined " + " ".join(s.digest for s in stores).encode())
    return dataclasses.replace(
        first,
        name=" + ".join(store.name for store in stores),
        tokens=Spliced([s.tokens for s in stores], begins, before, which),
        starts=filled(starts(), first.scratch),
        sentences=Spliced(
            [s.sentences for s in stores], begins, sentences_before, which, shifts=before[:-1]
        ),
        word_starts=None if words[0] is None else Spliced(words, begins, before, which),
        ids=_Chained([store.ids for store in stores]),
        digest=code.hexdigest(),
        folder=None,
        empty=sum(store.empty for store in stores),
        left_out=None,
    )


class _Chained(Sequence[str]):
    """Lists of names end to end, each read where it is asked for."""

    def __init__(self, lists: Sequence[Sequence[str]]):
        self._lists = tuple(lists)
        self._ends = np.cumsum([len(names) for names in self._lists])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[int(index)]
        which = int(np.searchsorted(self._ends, index, side="right"))
        return self._lists[which][index - int(self._ends[which])]
