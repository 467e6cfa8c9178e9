"""A stand-in for a frozen body whose features were computed once, before training."""

from typing import ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from tlearn.bodies.features import Features


class Cached(nn.Module):
    """Passes pooled features through: the body of a model that trains its head only.

    The model's step, plan and optimizer are those of any other model, so a head trained on cached
    features is the head trained on the pictures, to rounding.

    Attributes:
        width: Width of the features.
    """

    width: int

    family: ClassVar[str] = "cached"
    inputs: ClassVar[tuple[str, ...]] = ("features",)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """No layers: nothing here has parameters."""
        return ()

    @property
    def feature_width(self) -> int:
        """Width of the features."""
        return self.width

    def __call__(
        self, features: Float[Array, "b d"], *, train: bool | frozenset[str] = False
    ) -> Features:
        """Wraps the features."""
        return Features(pooled=features)
