"""Changes to a body's weights that must be asked for by name."""

import dataclasses
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
