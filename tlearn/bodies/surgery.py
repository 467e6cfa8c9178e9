"""Changes to a body's weights that must be asked for by name."""

import dataclasses
import math
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Surgery:
    """What was done to a kernel: print it, or keep it beside the weights.

    Attributes:
        operation: The name it was asked for by.
        mode: Which kind.
        before: Shape of the kernel given.
        after: Shape of the kernel returned.
        promise: What stays equal.
    """

    operation: str
    mode: str
    before: tuple[int, ...]
    after: tuple[int, ...]
    promise: str

    def __str__(self) -> str:
        return f"{self.operation}({self.mode!r}): {self.before} -> {self.after}; {self.promise}"


def adapt_input_channels(
    kernel: Any, channels: int, mode: str = "auto"
) -> tuple[np.ndarray, Surgery]:
    """Gives a first convolution's kernel another number of input channels.

    Args:
        kernel: HWIO kernel.
        channels: Input channels wanted.
        mode: ``"sum"`` (many to one: a grey picture gives what it gave before when repeated over
            the channels), ``"repeat"`` (one to many, divided by their number: a grey picture
            repeated over the channels gives what the single channel gave before), or ``"auto"``,
            which takes the one that fits.

    Returns:
        The new kernel in the old dtype, and the report of what was done.

    Raises:
        ValueError: If the kernel is no HWIO kernel or the mode does not fit the channel counts.
    """
    array = np.asarray(kernel)
    if array.ndim != 4:
        raise ValueError(
            "adapt_input_channels wants a convolution kernel [rows, columns, in, out], "
            f"got the shape {array.shape}"
        )
    before = array.shape[2]
    fitting = "sum" if channels == 1 else "repeat" if before == 1 else None
    if mode not in ("auto", "sum", "repeat"):
        raise ValueError(f"mode is 'auto', 'sum' or 'repeat', got {mode!r}")
    if channels < 1 or fitting is None or mode not in ("auto", fitting):
        raise ValueError(
            f"cannot adapt a kernel from {before} to {channels} input channels with mode={mode!r}: "
            "'sum' goes from any number to 1, 'repeat' from 1 to any number"
        )
    # In double precision, so that the one rounding is that of the result.
    wide = array.astype(np.float64)
    if fitting == "sum":
        adapted = wide.sum(axis=2, keepdims=True)
        promise = f"a grey picture gives what it gave repeated over {before} channels"
    else:
        adapted = np.repeat(wide, channels, axis=2) / channels
        promise = f"a grey picture repeated over {channels} channels gives what it gave as one"
    adapted = adapted.astype(array.dtype)
    report = Surgery("adapt_input_channels", fitting, array.shape, adapted.shape, promise)
    return adapted, report


def resize_positions(
    positions: Any, length: int, prefix: int, mode: str = "bicubic"
) -> tuple[np.ndarray, Surgery]:
    """Stretches or shrinks a square grid of learned positions.

    Every new position is a weighted mean of old ones at its place in the picture; the kernel widens
    when the grid shrinks, so that no old position is passed over.

    Args:
        positions: Table [1, tokens, width]: ``prefix`` tokens without a place, then a grid.
        length: Tokens wanted, the prefix included.
        prefix: How many tokens without a place come first; they are kept as they are.
        mode: ``"bicubic"`` (Keys' kernel with a = -0.5) or ``"bilinear"``.

    Returns:
        The new table in the old dtype, and the report of what was done.

    Raises:
        ValueError: If the table is none, a grid is not square, or the mode is unknown.

    Reference: Dosovitskiy et al. 2021, section 3.2; kernels as in Keys 1981.
    """
    table = np.asarray(positions)
    if table.ndim != 3 or table.shape[0] != 1:
        raise ValueError(f"resize_positions wants a table [1, tokens, width], got {table.shape}")
    if mode not in _KERNELS:
        raise ValueError(f"mode is 'bicubic' or 'bilinear', got {mode!r}")
    old, new = (math.isqrt(max(count - prefix, 0)) for count in (table.shape[1], length))
    if old * old != table.shape[1] - prefix or new * new != length - prefix or not old * new:
        raise ValueError(
            f"cannot resize from {table.shape[1]} to {length} positions: without the first "
            f"{prefix}, both must be squares"
        )
    weights = _resampling(old, new, mode)
    grid = table[0, prefix:].astype(np.float64).reshape(old, old, -1)
    grid = np.einsum("ri,cj,ijd->rcd", weights, weights, grid, optimize=True)
    resized = np.concatenate([table[0, :prefix], grid.reshape(new * new, -1)])[None]
    resized = resized.astype(table.dtype)
    promise = f"{old}x{old} places became {new}x{new}, the first {prefix} tokens are as they were"
    return resized, Surgery("resize_positions", mode, table.shape, resized.shape, promise)


def _keys(x: np.ndarray) -> np.ndarray:
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1.0 - x, 0.0)


_KERNELS = {"bicubic": _keys, "bilinear": _triangle}


def _resampling(old: int, new: int, mode: str) -> np.ndarray:
    """Gives the weights [new, old] of one axis; pixels are areas, so centres lie at halves."""
    ratio = old / new
    centres = (np.arange(new) + 0.5) * ratio
    distances = np.abs(centres[:, None] - (np.arange(old) + 0.5)[None]) / max(ratio, 1.0)
    weights = _KERNELS[mode](distances)
    return weights / weights.sum(1, keepdims=True)
