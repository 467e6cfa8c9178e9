"""Heads that turn one feature vector into class logits.

Shapes: b batch, d width, k classes.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from tlearn.bodies.activations import ACTIVATIONS
from tlearn.bodies.features import Features
from tlearn.heads.reading import check_head, pooled_of

_INITS = {
    # A zero head starts from equal logits: the first gradients into the body are zero as well.
    "zeros": nn.initializers.zeros,
    "scaled": nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal"),
}


class Linear(nn.Module):
    """An affine map of the pooled features: ``dense/kernel`` and ``dense/bias``.

    Attributes:
        classes: How many logits.
        kernel_init: ``zeros``, or ``scaled`` (variance 1/d).
        dropout: Share of the features dropped in training.
        use_bias: Whether a bias is added; the classifiers of GPT and GPT-2 have none.
    """

    classes: int
    kernel_init: str = "zeros"
    dropout: float = 0.0
    use_bias: bool = True

    family: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        check_head(self.classes, self.kernel_init, self.dropout, tuple(_INITS))
        super().__post_init__()

    @nn.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "b k"]:
        """Computes the logits in float32."""
        x = nn.Dropout(self.dropout, name="dropout")(pooled_of(features), deterministic=not train)
        init = _INITS[self.kernel_init]
        return nn.Dense(self.classes, self.use_bias, kernel_init=init, name="dense")(x)


class MLP(nn.Module):
    """Hidden layers before the last affine map: ``hidden_1``, ..., ``dense``.

    Attributes:
        classes: How many logits.
        hidden: Widths of the hidden layers.
        kernel_init: Of the last layer: ``zeros``, or ``scaled`` (variance 1/d).
        dropout: Share dropped before every affine map in training.
        activation: After every hidden layer: a name in `tlearn.bodies.activations`.
        drop_input: Whether the pooled features are dropped from as well.
    """

    classes: int
    hidden: tuple[int, ...] = (256,)
    kernel_init: str = "zeros"
    dropout: float = 0.0
    activation: str = "relu"
    drop_input: bool = True

    family: ClassVar[str] = "mlp"

    def __post_init__(self) -> None:
        check_head(self.classes, self.kernel_init, self.dropout, tuple(_INITS), self.activation)
        if not self.hidden or any(width < 1 for width in self.hidden):
            raise ValueError(
                f"an MLP head needs hidden widths of at least 1, got {self.hidden}: "
                "use Linear for none"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "b k"]:
        """Computes the logits in float32."""
        x = pooled_of(features)
        # He et al. 2015: variance 2/fan-in before what lets half through; tanh lets all through.
        gain = 1.0 if self.activation in ("tanh", "sigmoid") else 2.0
        init = nn.initializers.variance_scaling(gain, "fan_in", "truncated_normal")
        for i, width in enumerate(self.hidden):
            if i > 0 or self.drop_input:
                x = nn.Dropout(self.dropout, name=f"dropout_{i + 1}")(x, deterministic=not train)
            x = nn.Dense(width, kernel_init=init, name=f"hidden_{i + 1}")(x)
            x = ACTIVATIONS[self.activation](x)
        x = nn.Dropout(self.dropout, name="dropout")(x, deterministic=not train)
        return nn.Dense(self.classes, kernel_init=_INITS[self.kernel_init], name="dense")(x)


class Cosine(nn.Module):
    """Scaled cosines between the features and one direction a class: ``dense/kernel``, ``scale``.

    It has no zero init: a zero direction has no angle.

    Attributes:
        classes: How many logits.
        scale: What the cosines are multiplied by at the start; it is learned.
        dropout: Share of the features dropped in training.

    Reference: Gidaris and Komodakis 2018; Chen et al. 2019.
    """

    classes: int
    scale: float = 10.0
    dropout: float = 0.0

    family: ClassVar[str] = "cosine"

    def __post_init__(self) -> None:
        check_head(self.classes, "scaled", self.dropout, ("scaled",))
        if self.scale <= 0:
            raise ValueError(f"a cosine head needs a positive scale, got {self.scale}")
        super().__post_init__()

    @nn.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "b k"]:
        """Computes the logits in float32."""
        x = nn.Dropout(self.dropout, name="dropout")(pooled_of(features), deterministic=not train)
        directions = _Directions(self.classes, name="dense")(x.shape[-1])
        scale = self.param("scale", nn.initializers.constant(self.scale), (), jnp.float32)
        return scale * (_unit(x, axis=1) @ _unit(directions, axis=0))


class _Directions(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, width: int) -> Float[Array, "d k"]:
        return self.param("kernel", _INITS["scaled"], (width, self.classes), jnp.float32)


def _unit(x: Float[Array, "m n"], axis: int) -> Float[Array, "m n"]:
    """Scales vectors to length one; a zero vector stays zero with a finite gradient."""
    # Inside the root, not around it: the root's derivative at 0 is infinite.
    return x / jnp.sqrt(jnp.square(x).sum(axis, keepdims=True) + 1e-12)
