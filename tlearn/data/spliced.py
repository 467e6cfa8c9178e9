"""One long array that lies in several: the shards of a store, or some documents of one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64


class Spliced:
    """Pieces of arrays end to end, read like one array by slices and by arrays of places."""

    def __init__(
        self,
        sources: Sequence[Any],
        begins: Int64[np.ndarray, " k"],
        starts: Int64[np.ndarray, " k1"],
        which: Int64[np.ndarray, " k"] | None = None,
        shifts: Int64[np.ndarray, " k"] | None = None,
    ):
        """Says which pieces follow each other; nothing is read.

        Args:
            sources: The arrays [n].
            begins: Where each piece begins in its array.
            starts: Where each piece begins in the whole, and where the last one ends.
            which: The number of each piece's array; the first of all if left out.
            shifts: What is added to the numbers of each piece.
        """
        self._sources, self._begins = tuple(sources), begins
        self._starts = starts
        self._which, self._shifts = which, shifts
        self.dtype = np.dtype(self._sources[0].dtype)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def shape(self) -> tuple[int]:
        """The length, as arrays give it."""
        return (len(self),)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __getitem__(self, where: Any) -> Any:
        """Reads one number, a slice, or the places in an array of any shape."""
        if isinstance(where, slice):
            begin, end, step = where.indices(len(self))
            if step == 1:
                return self._run(begin, max(begin, end))
            where = np.arange(begin, end, step, dtype=np.int64)
        places = np.asarray(where)
        if places.dtype == bool:
            places = np.flatnonzero(places)
        if places.size and not (-len(self) <= places.min() and places.max() < len(self)):
            raise IndexError(f"places {places.min()} to {places.max()} of {len(self)}")
        found = self._gather(np.where(places < 0, places + len(self), places).astype(np.int64))
        return found if found.ndim else found[()]

    def _gather(self, places: np.ndarray) -> np.ndarray:
        # Pieces without length never hold a place: the last one that begins there does.
        piece = np.searchsorted(self._starts, places, side="right") - 1
        inside = self._begins[piece] + places - self._starts[piece]
        if self._which is None:
            found = np.asarray(self._sources[0][inside])
        else:
            found = np.empty(places.shape, self.dtype)
            of = self._which[piece]
            for number in np.unique(of):
                chosen = of == number
                found[chosen] = self._sources[number][inside[chosen]]
        return found if self._shifts is None else found + self._shifts[piece]

    def _run(self, begin: int, end: int) -> np.ndarray:
        parts = []
        piece = int(np.searchsorted(self._starts, begin, side="right")) - 1
        while begin < end:
            until = min(end, int(self._starts[piece + 1]))
            if until > begin:
                source = self._sources[0 if self._which is None else self._which[piece]]
                offset = int(self._begins[piece] - self._starts[piece])
                part = np.asarray(source[begin + offset : until + offset])
                parts.append(part if self._shifts is None else part + self._shifts[piece])
                begin = until
            piece += 1
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.empty(0, self.dtype)
