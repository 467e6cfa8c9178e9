"""The classifier of ULMFiT: two blocks, each normalised and dropped from.

Shapes: b batch, d width, k classes.
"""

from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from tlearn.bodies.dense import Dense
from tlearn.bodies.features import Features
from tlearn.bodies.norm import BatchNorm
from tlearn.heads.reading import check_head, pooled_of

_INITS = {
    "zeros": nn.initializers.zeros,
    "scaled": nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal"),
}


class ULMFiT(nn.Module):
    """Normalise, drop, map to a hidden layer, ReLU; normalise, drop, map to the classes.

    Parameters ``norm_1``, ``hidden``, ``norm_2``, ``dense``; the running statistics of the two
    normalisations stand still with the head's parameters when it is frozen.

    Attributes:
        classes: How many logits.
        hidden: Width of the hidden layer.
        dropout: Share of the pooled features dropped in training.
        hidden_dropout: Share of the hidden layer dropped in training.
        kernel_init: Of the last layer: ``zeros``, or ``scaled`` (variance 1/d).

    Reference: Howard and Ruder 2018, section 3.3.
    """

    classes: int
    hidden: int = 50
    dropout: float = 0.4
    hidden_dropout: float = 0.1
    kernel_init: str = "scaled"

    family: ClassVar[str] = "ulmfit"

    def __post_init__(self) -> None:
        for rate in (self.dropout, self.hidden_dropout):
            check_head(self.classes, self.kernel_init, rate, tuple(_INITS))
        if self.hidden < 1:
            raise ValueError(f"a ULMFiT head needs a hidden width of at least 1, got {self.hidden}")
        super().__post_init__()

    @nn.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "b k"]:
        """Computes the logits in float32."""
        x = self._block(pooled_of(features), self.dropout, 1, train)
        # He et al. 2015: variance 2/fan-in before what lets half through.
        init = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")
        x = nn.relu(Dense(self.hidden, kernel_init=init, name="hidden")(x))
        x = self._block(x, self.hidden_dropout, 2, train)
        return Dense(self.classes, kernel_init=_INITS[self.kernel_init], name="dense")(x)

    def _block(self, x: Array, rate: float, number: int, train: bool) -> Array:
        """Normalises over the examples, and drops."""
        x = BatchNorm(name=f"norm_{number}")(x[:, None, None], train)[:, 0, 0]
        return nn.Dropout(rate, name=f"dropout_{number}")(x, deterministic=not train)
