"""What a body hands to a head, and which of its layers run in training mode.

Shapes: b batch, t tokens, d width, h w pixels, c channels.
"""

from flax import struct
from jax import Array
from jaxtyping import Float, Shaped


@struct.dataclass
class Features:
    """Everything a body can offer; a head takes what it needs and jit prunes the rest.

    Attributes:
        pooled: One vector an example.
        sequence: One vector a token.
        maps: Feature maps by growing stride.
        mask: Which tokens are real.
        layers: The output of every layer, under the layer's name.
    """

    pooled: Float[Array, "b d"] | None = None
    sequence: Float[Array, "b t d"] | None = None
    maps: tuple[Float[Array, "b _ _ _"], ...] = ()
    mask: Shaped[Array, "b t"] | None = None
    layers: dict[str, Array] = struct.field(default_factory=dict)


def trains(train: bool | frozenset[str], layer: str) -> bool:
    """Tells whether a layer runs in training mode.

    Args:
        train: True for all layers, False for none, or the names of those that do.
        layer: The layer asked about.

    Example:
        >>> trains(frozenset({"stage_3"}), "stage_3"), trains(frozenset({"stage_3"}), "stem")
        (True, False)
    """
    return train if isinstance(train, bool) else layer in train
