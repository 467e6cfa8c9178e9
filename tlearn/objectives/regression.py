"""Regression: squared error of one number an example."""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

from tlearn.objectives.sums import Sums


@dataclasses.dataclass(frozen=True)
class Regression:
    """Squared error."""

    def __call__(
        self, outputs: Float[Array, "b 1"] | Float[Array, " b"], batch: Mapping[str, Array]
    ) -> Sums:
        """Sums the squared errors, and the absolute ones.

        Args:
            outputs: Outputs of the head.
            batch: ``label`` [b], and ``mask`` [b], 0 for examples that only fill the batch.
        """
        mask = batch["mask"].astype(jnp.float32)
        found = outputs.astype(jnp.float32).reshape(mask.shape)
        error = found - batch["label"].astype(jnp.float32)
        return Sums(
            loss=jnp.sum(jnp.square(error) * mask),
            count=jnp.sum(mask),
            metrics={"absolute_error": jnp.sum(jnp.abs(error) * mask)},
        )
