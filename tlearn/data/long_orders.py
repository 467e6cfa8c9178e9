"""Orders of more things than memory should hold: the same as short ones, sorted on disk."""

from pathlib import Path

import numpy as np
from jaxtyping import Int64

from tlearn.data import scratch
from tlearn.data.scratch import chunks
from tlearn.data.streams import permutation, stream


def long_permutation(
    seed: int, name: str, count: int, first: int = 0, *, near: Path | None
) -> Int64[np.ndarray, " n"]:
    """Orders ``0 .. count-1`` as `permutation` does, a chunk at a time.

    Draws are dealt into buckets by their highest bits, in the order they come, and then each bucket
    is sorted: a stable sort of all of them.

    Args:
        seed: As for `permutation`.
        name: As for `permutation`.
        count: As for `permutation`.
        first: As for `permutation`.
        near: Where a long order may lie, see `scratch`.
    """
    if count <= scratch.CHUNK:
        return permutation(seed, name, count, first)
    bits = (2 * count // scratch.CHUNK).bit_length()
    shift = np.uint64(64 - bits)
    drawn = stream(seed, name, first).bit_generator
    sizes = np.zeros(1 << bits, np.int64)
    for begin, end in chunks(count):
        bucket = (drawn.random_raw(end - begin) >> shift).astype(np.int64)
        sizes += np.bincount(bucket, minlength=len(sizes))
    stops = np.cumsum(sizes)
    reached = stops - sizes
    drawn = stream(seed, name, first).bit_generator
    keys, order = (scratch.empty(count, dtype, near) for dtype in (np.uint64, np.int64))
    for begin, end in chunks(count):
        draws = drawn.random_raw(end - begin)
        inside, at = dealt((draws >> shift).astype(np.int64), reached)
        keys[at], order[at] = draws[inside], begin + inside
    for begin, end in zip(stops - sizes, stops, strict=True):
        order[begin:end] = order[begin:end][np.argsort(keys[begin:end], kind="stable")]
    order.flags.writeable = False
    return order


def dealt(
    bucket: Int64[np.ndarray, " q"], reached: Int64[np.ndarray, " k"]
) -> tuple[Int64[np.ndarray, " q"], Int64[np.ndarray, " q"]]:
    """Deals things into buckets that lie side by side, each where its bucket has come to.

    Args:
        bucket: Each thing's bucket.
        reached: Where the next thing of every bucket goes; moved on by those dealt.

    Returns:
        The things, bucket by bucket in the order given, and where each goes.
    """
    # Small numbers are sorted by their digits, in no more than two turns.
    small = bucket.astype(np.uint16) if len(reached) <= 1 << 16 else bucket
    inside = np.argsort(small, kind="stable")
    of = bucket[inside]
    heads = np.flatnonzero(np.concatenate([[True], of[1:] != of[:-1]])) if len(of) else inside
    counts = np.diff(np.concatenate([heads, [len(of)]]))
    at = reached[of] + np.arange(len(of)) - np.repeat(heads, counts)
    reached[of[heads]] += counts
    return inside, at


def in_two(
    order: Int64[np.ndarray, " n"], count: int, near: Path | None
) -> tuple[Int64[np.ndarray, " k"], Int64[np.ndarray, " m"]]:
    """Divides what is ordered into its first ``count`` and the others, each in rising order."""
    first = scratch.empty(len(order), np.bool_, near)
    for begin, end in chunks(len(order)):
        first[begin:end] = False
    for begin, end in chunks(count):
        first[order[begin:end]] = True

    def numbers(wanted: bool) -> np.ndarray:
        parts = chunks(len(order))
        return scratch.filled((a + np.flatnonzero(first[a:b] == wanted) for a, b in parts), near)

    return numbers(True), numbers(False)
