"""Pooling with the paddings of the convolutions.

Shapes: b batch, h w pixels, c channels.
"""

from typing import Any

import flax.linen as nn
from jax import Array
from jaxtyping import Float

from tlearn.bodies.convolution import pads


def max_pool(
    x: Float[Array, "b h w c"], size: int, stride: int, padding: str
) -> Float[Array, "b h_out w_out c"]:
    """Takes the maximum over windows; padding never wins.

    Args:
        x: Maps.
        size: Side of the window.
        stride: Step between windows.
        padding: As in `tlearn.bodies.convolution.pads`.
    """
    pairs = pads(padding, (size, size), (stride, stride), (x.shape[1], x.shape[2]))
    # Flax declares names only, and takes pairs.
    paired: Any = pairs
    return nn.max_pool(x, (size, size), (stride, stride), paired)
