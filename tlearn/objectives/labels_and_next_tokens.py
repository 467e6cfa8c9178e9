"""Labels, and beside them the next tokens of the labelled texts.

Shapes: b batch, t tokens, v vocabulary.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tlearn.objectives.sums import Sums
from tlearn.objectives.tokens import scored


@dataclasses.dataclass(frozen=True)
class LabelsAndNextTokens:
    """The labels' loss plus ``weight`` times the mean loss of a text's next tokens.

    Attributes:
        labels: The labels' objective.
        weight: Of the other; GPT took 0.5.

    Reference: Radford et al. 2018, equation 5; the mean over a text's tokens is their code's.
    """

    labels: Callable[[Any, Mapping[str, Array]], Sums]
    weight: float

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"weight is {self.weight}; it must be above 0")

    def __call__(self, outputs: Any, batch: Mapping[str, Array]) -> Sums:
        """Sums both losses over the texts; the metrics have each by itself.

        Args:
            outputs: ``{"labels": ..., "next_tokens": [b t v]}``.
            batch: What the labels' objective takes, ``tokens`` [b t], and ``segments`` [b t], 0 on
                padding.
        """
        sums = self.labels(outputs["labels"], batch)
        beside = jnp.sum(_per_text(outputs["next_tokens"], following(batch)) * batch["mask"])
        return Sums(
            loss=sums.loss + self.weight * beside,
            count=sums.count,
            metrics=sums.metrics | {"label_loss": sums.loss, "language_loss": beside},
            counts=sums.counts,
        )


def following(batch: Mapping[str, Array]) -> Int[Array, "b t"]:
    """The token after each one of the same text; -1 where there is none."""
    tokens, segments = batch["tokens"], batch["segments"]
    inside = (segments[:, 1:] > 0) & (segments[:, 1:] == segments[:, :-1])
    return jnp.pad(jnp.where(inside, tokens[:, 1:], -1), ((0, 0), (0, 1)), constant_values=-1)


def _per_text(logits: Float[Array, "b t v"], targets: Int[Array, "b t"]) -> Float[Array, " b"]:
    loss, _ = scored(logits, targets)
    return jnp.sum(loss, axis=1) / jnp.maximum(jnp.sum(targets >= 0, axis=1), 1)
