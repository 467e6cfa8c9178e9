"""One array of a checkpoint under our name, not read before somebody looks at its numbers."""

import math
import mmap
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from tlearn.hub.errors import HubError

# Bytes from which an array is worth a mapping of its own.
_LARGE = 2**20
# Bytes of a file that are read before its pages are given back.
_PART = 2**22


class Leaf(np.lib.mixins.NDArrayOperatorsMixin):
    """Numbers that still lie in their file: shape and dtype are known, the rest is read on demand.

    ``np.asarray(leaf)`` reads, changes the layout, casts and checks ties: every time anew, so hold
    on to what you need twice. Nothing is cached, so that a checkpoint is never in memory twice.
    Arithmetic, NumPy's functions and JAX's transformations read it likewise, and give arrays.

    Attributes:
        shape: Shape in our layout.
        dtype: Dtype it is read in.
        stored: Dtype in the file.
    """

    __slots__ = ("_plus", "_twins", "_view", "dtype", "stored")

    def __init__(
        self,
        view: np.ndarray,
        twins: tuple[tuple[str, np.ndarray, np.ndarray], ...] = (),
        dtype: Any = None,
        plus: np.ndarray | None = None,
    ) -> None:
        """Keeps a view.

        Args:
            view: The numbers in our layout: a view of the mapped file, no copy.
            twins: ``(what, array, other)``: arrays that must be bit-equal, compared at the first
                look at the numbers.
            dtype: What to cast to; None for the file's own.
            plus: A view of as many numbers that are added when it is read.
        """
        self._view = view
        self._plus = plus
        self._twins = twins
        self.stored = view.dtype
        self.dtype = np.dtype(view.dtype if dtype is None else dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in our layout."""
        return self._view.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._view.ndim

    @property
    def size(self) -> int:
        """Number of numbers."""
        return self._view.size

    @property
    def nbytes(self) -> int:
        """Bytes it takes once read."""
        return self.size * self.dtype.itemsize

    def astype(self, dtype: Any) -> "Leaf":
        """The same leaf, to be read in another dtype."""
        return Leaf(self._view, self._twins, dtype, self._plus)

    def read(self) -> np.ndarray:
        """Reads it: a contiguous array of its own, never a view of the file.

        Raises:
            HubError: If an array that must equal this one does not.
        """
        self._check_twins()
        array = _room(self.shape, self.dtype)
        for part in self._parts():
            self._copy(array[part], part)
        forget(self._view)
        return array

    def pieces(self) -> Iterator[np.ndarray]:
        """Reads it bit by bit, where our order of the numbers is the file's; else as a whole.

        Yields:
            Arrays whose numbers, one array after the other, are those of `read`.

        Raises:
            HubError: If an array that must equal this one does not.
        """
        if _slowest(self._view):
            yield self.read()
            return
        self._check_twins()
        for part in self._parts():
            array = _room(self._view[part].shape, self.dtype)
            self._copy(array, part)
            yield array
        forget(self._view)

    def _check_twins(self) -> None:
        for what, array, other in self._twins:
            if not same_bits(array, other):
                raise HubError(f"{what}, but their values differ: they are not tied in this file")
            forget(other)

    def _parts(self) -> Iterator[Any]:
        """Indices of parts that lie in the file one after the other."""
        if not self.ndim:
            yield (...,)
            return
        axis = _slowest(self._view)
        count = self.shape[axis]
        rows = max(1, _PART * count // max(self._view.nbytes, 1))
        for begin in range(0, count, rows):
            yield (*(slice(None),) * axis, slice(begin, begin + rows))

    def _copy(self, array: np.ndarray, part: Any) -> None:
        # A float64 or a float16 may be too large or too fine: the cast is on the record.
        with np.errstate(over="ignore"):
            np.copyto(array, self._view[part], casting="unsafe")
            if self._plus is not None:
                array += self._plus[part].astype(self.dtype)
        # At once: a large array would lie in memory twice until all of it was read.
        forget(self._view[part])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.read()
        return array if dtype is None else array.astype(dtype, copy=False)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *given: Any, **options: Any) -> Any:
        read = [one.read() if isinstance(one, Leaf) else one for one in given]
        return getattr(ufunc, method)(*read, **options)

    def __getitem__(self, index: Any) -> Any:
        return self.read()[index]

    def __len__(self) -> int:
        return len(self._view)

    def __repr__(self) -> str:
        return f"Leaf(shape={self.shape}, dtype={self.dtype.name})"


def _array(_: None, children: tuple[Any]) -> Any:
    return children[0]


# To JAX a leaf is a tree that holds its array: where a function is jitted over the parameters of a
# source, or a tree of them is mapped over, they are read.
jax.tree_util.register_pytree_node(Leaf, lambda leaf: ((leaf.read(),), None), _array)


def _slowest(view: np.ndarray) -> int:
    """The axis along which an array's numbers lie furthest apart."""
    return int(np.argmax(np.abs(view.strides))) if view.ndim else 0


def _room(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Makes an array to read into.

    Large ones are mappings of their own: when the reader lets go of one it goes back to the system
    whole, where the heap would keep it as a hole between what stays.
    """
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < _LARGE:
        return np.empty(shape, dtype)
    return np.frombuffer(mmap.mmap(-1, nbytes), np.uint8).view(dtype).reshape(shape)


def same_bits(array: np.ndarray, other: np.ndarray) -> bool:
    """Compares two arrays bit for bit, a few rows at a time."""
    if (array.shape, array.dtype) != (other.shape, other.dtype):
        return False
    if array.ndim == 0:
        return array.tobytes() == other.tobytes()
    rows = max(1, 2**22 // max(array[:1].nbytes, 1))
    return all(
        array[start : start + rows].tobytes() == other[start : start + rows].tobytes()
        for start in range(0, len(array), rows)
    )


def forget(view: np.ndarray) -> None:
    """Lets the system take back the pages of a mapped file that an array was read from.

    They would stay in the process's memory until something else needs room; a checkpoint read leaf
    by leaf would then count twice.
    """
    base: Any = view
    of_a_file = False
    while isinstance(base, np.ndarray):
        of_a_file |= isinstance(base, np.memmap)
        base = base.base
    if (
        not of_a_file
        or not isinstance(base, mmap.mmap)
        or not hasattr(mmap, "MADV_DONTNEED")
        or not view.size
    ):
        return
    start = np.frombuffer(base, np.uint8, 1).__array_interface__["data"][0]
    low, high = np.lib.array_utils.byte_bounds(view)
    # Whole pages inside the array: those at its ends may hold neighbours that are being read.
    first = -(-(low - start) // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (high - start) // mmap.PAGESIZE * mmap.PAGESIZE
    if last > first:
        base.madvise(mmap.MADV_DONTNEED, first, last - first)
