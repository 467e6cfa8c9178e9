"""Widths of padded batches: few, so that few programs compile, and close to the texts' lengths."""

import itertools
from collections.abc import Sequence

import numpy as np

from tlearn.data.errors import DataError

MOST = 6
"""Widths there are at most: each costs a compilation."""
WORTH = 0.05
"""A further width must save this share of all computed positions."""


def choose_widths(
    lengths: np.ndarray, *, most: int = MOST, limit: int | None = None
) -> tuple[int, ...]:
    """Chooses the widths that pad least, as long as each further one is worth its compilation.

    The sum of padded lengths is made smallest over all choices of so many widths out of a grid
    (steps of 8 up to 64, of 16 up to 128, of 32 up to 256, of 64 beyond), by dynamic programming
    over the grid.

    Args:
        lengths: Tokens of every example.
        most: Widths at most.
        limit: No width is beyond this.

    Raises:
        DataError: If an example is longer than the limit.

    Example:
        >>> choose_widths(np.array([5] * 90 + [30] * 10))
        (8, 32)
    """
    longest = int(lengths.max())
    if limit is not None and longest > limit:
        raise DataError(f"an example of {longest} tokens is beyond the limit of {limit}")
    grid = _grid(longest, limit)
    counts = np.bincount(np.searchsorted(grid, lengths), minlength=len(grid))
    within = np.concatenate([[0], np.cumsum(counts)])
    places = len(grid)
    # best[k][j]: padded tokens of all examples up to width j, which is the last of k + 1 widths.
    best = np.array([within[1:] * grid])
    cuts = []
    for _ in range(1, most):
        row, cut = best[-1].copy(), np.full(places, -1)
        for j in range(places):
            tried = best[-1][:j] + (within[j + 1] - within[1 : j + 1]) * grid[j]
            if j and tried.min() < row[j]:
                row[j], cut[j] = tried.min(), int(tried.argmin())
        best = np.concatenate([best, row[None]])
        cuts.append(cut)
    count = 1
    while count < most and best[count - 1][-1] - best[count][-1] > WORTH * best[count - 1][-1]:
        count += 1
    widths, at = [int(grid[-1])], places - 1
    for cut in reversed(cuts[: count - 1]):
        if cut[at] >= 0:
            at = int(cut[at])
            widths.append(int(grid[at]))
    return tuple(sorted(set(widths)))


def _grid(longest: int, limit: int | None) -> np.ndarray:
    steps = ((64, 8), (128, 16), (256, 32))
    grid: list[int] = []
    width = 0
    while width < longest:
        width += next((step for end, step in steps if width < end), 64)
        grid.append(width)
    if limit is not None:
        grid = sorted({min(width, limit) for width in grid})
    return np.array(grid)


def check_widths(widths: Sequence[int], lengths: np.ndarray) -> tuple[int, ...]:
    """Checks widths that were asked for.

    Raises:
        DataError: If they are not whole numbers from 1 up, each greater than the one before, or if
            examples are longer than the last.
    """
    given = tuple(int(width) for width in widths)
    if not given or given[0] < 1 or any(b <= a for a, b in itertools.pairwise(given)):
        raise DataError(
            f"buckets {given}: expected widths from 1 up, each greater than the one before, as in "
            "(32, 64, 128)"
        )
    beyond = int(np.sum(lengths > given[-1]))
    if beyond:
        raise DataError(
            f"{beyond} of {len(lengths)} examples have more tokens than the widest bucket, "
            f"{given[-1]} (the longest has {int(lengths.max())}): add a wider one, or cut the "
            f"texts with max_length={given[-1]}"
        )
    return given


def widened(widths: Sequence[int], lengths: np.ndarray) -> tuple[int, ...]:
    """Adds a width to others where examples are longer than all of them.

    Example:
        >>> widened((16, 32), np.array([40])), widened((16, 32), np.array([8]))
        ((16, 32, 40), (16, 32))
    """
    longest = int(lengths.max())
    if longest <= widths[-1]:
        return tuple(widths)
    return (*widths, int(_grid(longest, None)[-1]))
