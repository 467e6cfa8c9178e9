"""Some documents of a token store as arrays of their own, of which nothing is copied.

Shapes: ``n`` documents of the part, ``k`` runs of them that follow each other in the whole too.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from tlearn.data import scratch
from tlearn.data.scratch import chunks
from tlearn.data.spliced import Spliced


class Chosen(Sequence[str]):
    """Some of many names."""

    def __init__(self, ids: Sequence[str], chosen: Int64[np.ndarray, " n"]):
        """Says which; none is read."""
        self._ids, self._chosen = ids, chosen

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._ids[int(i)] for i in self._chosen[index]]
        return self._ids[int(self._chosen[index])]


class Runs:
    """Where documents lie, those that follow each other together.

    Args:
        whole: Where the documents of all begin, and where the last one ends.
        chosen: The documents.
        near: Where long tables may lie, see `scratch`.
    """

    def __init__(self, whole: Any, chosen: Int64[np.ndarray, " n"], near: Path | None):
        """Adds up lengths and looks for gaps, a chunk at a time."""
        self._whole, self._chosen, self._near = whole, chosen, near
        lengths = (ends - begins for begins, ends in self._extents())
        self.starts: Int64[np.ndarray, " n1"] = scratch.ends(lengths, near)
        """Where each document begins in the part, and where the last one ends."""
        begins = (self._begins_at(heads) for heads in self._heads())
        self._begins = scratch.filled(begins, near)
        self._starts = scratch.filled(self._places(), near)

    def _extents(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for begin, end in chunks(len(self._chosen)):
            numbers = self._chosen[begin:end]
            yield np.asarray(self._whole[numbers]), np.asarray(self._whole[numbers + 1])

    def _heads(self) -> Iterator[np.ndarray]:
        """Numbers of the documents that begin where the one before does not end."""
        done, last = 0, -1
        for begins, ends in self._extents():
            yield done + np.flatnonzero(begins != np.concatenate([[last], ends[:-1]]))
            done, last = done + len(begins), ends[-1]

    def _begins_at(self, numbers: np.ndarray) -> np.ndarray:
        return np.asarray(self._whole[self._chosen[numbers]]).astype(np.int64)

    def _places(self) -> Iterator[np.ndarray]:
        yield from (self.starts[heads] for heads in self._heads())
        yield self.starts[-1:]

    def of(self, source: Any) -> Spliced:
        """What an array with an entry for every token of the whole has of the part."""
        return Spliced([source], self._begins, self._starts)

    def places_of(self, source: Any) -> Spliced:
        """Rising places in the tokens of the whole, those in the part as places in that."""
        at = scratch.array_of(source, self._near)
        count = len(self._begins)

        def first(begin: int, end: int) -> np.ndarray:
            return np.searchsorted(at, self._begins[begin:end])

        def counts(begin: int, end: int) -> np.ndarray:
            lengths = np.diff(self._starts[begin : end + 1])
            return np.searchsorted(at, self._begins[begin:end] + lengths) - first(begin, end)

        shifts = (self._starts[a:b] - self._begins[a:b] for a, b in chunks(count))
        return Spliced(
            [source],
            scratch.filled((first(a, b) for a, b in chunks(count)), self._near),
            scratch.ends((counts(a, b) for a, b in chunks(count)), self._near),
            shifts=scratch.filled(shifts, self._near),
        )
