"""Arrays too long for memory: worked out a chunk at a time, in files that have no name.

What batches know of a corpus, where its pieces lie and in which order they come, grows with it. So
it lies in files and is mapped into memory: its pages are the system's to take back, as those of the
tokens are. The files have no name, and go when nothing reads them any more or the process ends,
however it ends: nothing is left behind, none is ever stale, and processes that work out the same
never meet. That costs each process the seconds of working it out.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from tlearn.data.errors import DataError

CHUNK = 1 << 15
"""Numbers that are worked out at once."""
_SMALL = 1 << 18
"""Bytes of an array that stays in memory."""


class Scratch(np.memmap):
    """An array in a file without a name; another process gets its numbers."""

    def __getitem__(self, where: Any) -> Any:
        # What is taken out is an ordinary array: NumPy is quicker with those.
        return np.asarray(self)[where]

    def __reduce__(self) -> Any:
        return _received, (np.array(self),)


def _received(values: np.ndarray) -> np.ndarray:
    return filled(values[begin:end] for begin, end in chunks(len(values)))


def chunks(count: int) -> Iterator[tuple[int, int]]:
    """Cuts ``0 .. count`` into ranges that are worked out at once; one if there is nothing."""
    for begin in range(0, max(count, 1), CHUNK):
        yield begin, min(begin + CHUNK, count)


def empty(count: int, dtype: Any, near: Path | None) -> np.ndarray:
    """Makes an array to be written anywhere; a short one in memory.

    Args:
        count: Its length.
        dtype: Its type.
        near: A folder whose disk it may lie on; where that takes no file, the system's folder for
            temporary ones, and memory where none does.
    """
    size = count * np.dtype(dtype).itemsize
    for file in () if size <= _SMALL else _files(near):
        with file:
            try:
                _reserve(file, size)
                return Scratch(file, dtype, "r+", shape=(count,))
            except OSError:
                continue
    return np.empty(count, dtype)


def filled(parts: Iterable[np.ndarray], near: Path | None = None) -> np.ndarray:
    """Joins arrays that are made one after the other, of which there is at least one; read-only.

    Args:
        parts: The arrays, of one type and alike but for their lengths.
        near: As for `empty`.

    Raises:
        DataError: If a disk is full.
    """
    held: list[np.ndarray] = []
    size = 0
    rest = iter(parts)
    for part in rest:
        held.append(part)
        size += part.nbytes
        if size > _SMALL and (file := next(_files(near), None)) is not None:
            with file:
                return _written(file, held, rest)
    found = np.concatenate(held)
    found.flags.writeable = False
    return found


def _written(file: Any, held: list[np.ndarray], rest: Iterator[np.ndarray]) -> np.ndarray:
    shape, dtype = held[0].shape[1:], held[0].dtype
    count = 0
    try:
        while held:
            part = held.pop(0)
            _write(file, np.ascontiguousarray(part, dtype).reshape(-1).view(np.uint8).data)
            count += len(part)
            if not held and (more := next(rest, None)) is not None:
                held.append(more)
    except OSError as error:
        raise DataError(
            f"where pieces of the corpus lie takes more than {file.tell():,} bytes beside its "
            f"token store or in {tempfile.gettempdir()}, and they cannot be written: {error}; free "
            "some, or name another folder in TMPDIR"
        ) from error
    return Scratch(file, dtype, "r", shape=(count, *shape))


def array_of(values: Any, near: Path | None) -> Int64[np.ndarray, " n"]:
    """Takes numbers as an array that can be searched: as they are, or copied to a file."""
    if isinstance(values, np.ndarray):
        return np.asarray(values, np.int64)
    return filled((np.asarray(values[a:b], np.int64) for a, b in chunks(len(values))), near)


def ends(lengths: Iterable[np.ndarray], near: Path | None) -> Int64[np.ndarray, " n1"]:
    """Adds up lengths: where each of what is laid end to end begins, and where the last ends."""

    def added() -> Iterator[np.ndarray]:
        total = 0
        yield np.zeros(1, np.int64)
        for part in lengths:
            reached = total + np.cumsum(part, dtype=np.int64)
            total = int(reached[-1]) if len(reached) else total
            yield reached

    return filled(added(), near)


def _files(near: Path | None) -> Iterator[Any]:
    """Opens files without names, the one nearest first."""
    for folder in (None,) if near is None else (near, None):
        with contextlib.suppress(OSError):
            # Without a buffer, whose rest would be written, and fail once more, at the closing.
            yield tempfile.TemporaryFile(dir=folder, buffering=0)


def _reserve(file: Any, size: int) -> None:
    """Takes up a file's room on the disk: a map of a file that has none ends the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for begin in range(0, size, 1 << 20):
        _write(file, memoryview(bytes(min(1 << 20, size - begin))))


def _write(file: Any, data: memoryview) -> None:
    """Writes all: without a buffer a file may take less at a time."""
    while data:
        data = data[file.write(data) :]
