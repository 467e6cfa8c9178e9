"""What a body hands to a head, and which of its layers run in training mode.

Shapes: b batch, t tokens, d width, h w pixels, c channels, v vocabulary, e width of an
embedding.
"""

from typing import Any

from flax import struct


@struct.dataclass
class Features:
    """Everything a body can offer; a head takes what it needs and jit prunes the rest.

    The fields are typed loosely because transformations put shapes, shardings and stacks of arrays
    where the arrays were.

    Attributes:
        pooled: One vector an example: [b d].
        sequence: One vector a token: [b t d].
        maps: Feature maps by growing stride: tuple of [b h w c].
        mask: Which tokens are real: [b t].
        table: The token embeddings, for heads tied to them: [v e].
        carry: What a recurrent body hands on to a row that goes on from this one.
        layers: The output of every layer, under the layer's name.
    """

    pooled: Any = None
    sequence: Any = None
    maps: tuple[Any, ...] = ()
    mask: Any = None
    table: Any = None
    carry: Any = None
    layers: dict[str, Any] = struct.field(default_factory=dict)


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
