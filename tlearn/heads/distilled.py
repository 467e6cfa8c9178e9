"""The two heads of a distilled vision transformer.

Shapes: b batch, k classes.
"""

from typing import ClassVar

import flax.linen as nn
from jax import Array
from jaxtyping import Float

from tlearn.bodies.features import Features
from tlearn.heads.reading import check_head, sequence_of

_INITS = {
    "zeros": nn.initializers.zeros,
    "scaled": nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal"),
}


class Distilled(nn.Module):
    """The mean of two affine maps: of the class token and of the distilled token.

    Parameters ``dense`` (class token) and ``distilled_dense``.

    Attributes:
        classes: How many logits.
        kernel_init: ``zeros``, or ``scaled`` (variance 1/d).
        dropout: Share of the features dropped in training.

    Reference: Touvron et al. 2021 (DeiT), section 4.
    """

    classes: int
    kernel_init: str = "zeros"
    dropout: float = 0.0

    family: ClassVar[str] = "distilled"

    def __post_init__(self) -> None:
        check_head(self.classes, self.kernel_init, self.dropout, tuple(_INITS))
        super().__post_init__()

    @nn.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "b k"]:
        """Computes the logits in float32."""
        x = sequence_of(features, "distilled")[:, :2]
        x = nn.Dropout(self.dropout, name="dropout")(x, deterministic=not train)
        init = _INITS[self.kernel_init]
        own = nn.Dense(self.classes, kernel_init=init, name="dense")(x[:, 0])
        other = nn.Dense(self.classes, kernel_init=init, name="distilled_dense")(x[:, 1])
        return (own + other) / 2
