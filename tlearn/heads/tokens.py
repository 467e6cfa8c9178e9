"""Heads that say something about every token: tags, or where a span begins and ends.

Shapes: b batch, t tokens, d width, k classes.
"""

from typing import ClassVar

import flax.linen as nn
from jax import Array
from jaxtyping import Float

from tlearn.bodies.dense import Dense
from tlearn.bodies.features import Features
from tlearn.heads.reading import check_head, sequence_of

_INITS = {"zeros": nn.initializers.zeros, "normal": nn.initializers.normal(0.02)}


class Tagging(nn.Module):
    """One affine map for all tokens: ``dense/kernel`` and ``dense/bias``.

    Attributes:
        classes: How many logits a token.
        kernel_init: ``zeros``, or ``normal`` (deviation 0.02, as encoders are drawn).
        dropout: Share of the features dropped in training.

    Reference: Devlin et al. 2019, section 5.3.
    """

    classes: int
    kernel_init: str = "zeros"
    dropout: float = 0.0

    family: ClassVar[str] = "tagging"

    def __post_init__(self) -> None:
        check_head(self.classes, self.kernel_init, self.dropout, tuple(_INITS))
        super().__post_init__()

    @nn.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "b t k"]:
        """Computes the logits of every token in float32; those of padding mean nothing."""
        x = sequence_of(features, self.family)
        x = nn.Dropout(self.dropout, name="dropout")(x, deterministic=not train)
        return Dense(self.classes, kernel_init=_INITS[self.kernel_init], name="dense")(x)


class Span(nn.Module):
    """Two logits a token, that the answer begins and that it ends there: ``dense``.

    Attributes:
        kernel_init: ``zeros``, or ``normal`` (deviation 0.02, as encoders are drawn).
        dropout: Share of the features dropped in training.

    Reference: Devlin et al. 2019, section 4.2.
    """

    kernel_init: str = "zeros"
    dropout: float = 0.0

    family: ClassVar[str] = "span"

    def __post_init__(self) -> None:
        check_head(2, self.kernel_init, self.dropout, tuple(_INITS))
        super().__post_init__()

    @nn.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "b t 2"]:
        """Computes start and end logits in float32; those of padding mean nothing."""
        x = sequence_of(features, self.family)
        x = nn.Dropout(self.dropout, name="dropout")(x, deterministic=not train)
        return Dense(2, kernel_init=_INITS[self.kernel_init], name="dense")(x)
