"""Predicting the next token, with the activation penalties of AWD-LSTM.

Shapes: b batch, t tokens, d width, v vocabulary.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from tlearn.objectives.sums import Sums
from tlearn.objectives.tokens import targets_of, token_rows, token_sums

Outputs = Float[Array, "b t v"] | dict[str, Array]


@dataclasses.dataclass(frozen=True)
class NextTokens:
    """Cross-entropy of the next token; the count is the number of targets.

    Attributes:
        alpha: Activation regularisation: weight of the mean square of the last layer's activations
            after dropout.
        beta: Temporal activation regularisation: weight of the mean square of what the last
            layer's activations, before dropout, change by from one token to the next.

    The two penalties are added where the outputs hold the activations, which a ``causal_lm`` head
    with ``activations=True`` gives in training alone.

    References: Radford et al. 2018, equation 1; Merity et al. 2018 (AWD-LSTM), section 4.7; Merity
    et al. 2017 (the two penalties).
    """

    alpha: float = 0.0
    beta: float = 0.0

    unit: ClassVar[str] = "targets"

    def __post_init__(self) -> None:
        if self.alpha < 0 or self.beta < 0:
            raise ValueError(
                f"alpha and beta are weights of at least 0, got {self.alpha} and {self.beta}"
            )

    def __call__(self, outputs: Outputs, batch: Mapping[str, Array]) -> Sums:
        """Sums the loss and the number of right predictions over the targets.

        Args:
            outputs: Logits, or ``{"logits": [b t v], "dropped": [b t d], "raw": [b t d]}``.
            batch: ``targets`` [b t], -1 where there is nothing to predict; ``mask`` [b], 0 for rows
                that only fill the batch; ``segments`` [b t], if activations are given.
        """
        if not isinstance(outputs, dict):
            return token_sums(outputs, batch)
        sums = token_sums(outputs["logits"], batch)
        real = targets_of(outputs["logits"], batch) >= 0
        loss = sums.loss
        if self.alpha:
            loss = loss + self.alpha * jnp.sum(_square(outputs["dropped"]) * real)
        if self.beta and real.shape[1] > 1:
            raw, segments = outputs["raw"].astype(jnp.float32), batch["segments"]
            both = real[:, 1:] & real[:, :-1] & (segments[:, 1:] == segments[:, :-1])
            total = jnp.sum(_square(raw[:, 1:] - raw[:, :-1]) * both)
            # A row of t targets has t - 1 changes, whose mean weighs as much as all targets.
            loss = loss + self.beta * total * (real.shape[1] / (real.shape[1] - 1))
        metrics = sums.metrics | {"cross_entropy": sums.loss}
        return Sums(loss=loss, count=sums.count, metrics=metrics)

    def kept(self, outputs: Outputs, batch: Mapping[str, Array]) -> Float[Array, "b 3"]:
        """Gives each row's loss without penalties, number of targets, and number of right ones."""
        return token_rows(outputs["logits"] if isinstance(outputs, dict) else outputs, batch)


def _square(x: Float[Array, "b t d"]) -> Float[Array, "b t"]:
    return jnp.mean(jnp.square(x.astype(jnp.float32)), axis=-1)
