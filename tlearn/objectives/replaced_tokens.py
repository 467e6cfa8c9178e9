"""Telling replaced tokens from real ones, beside the small model that replaces them.

Shapes: b batch, t tokens, m predictions a row, v vocabulary.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from tlearn.objectives.sums import Sums
from tlearn.objectives.tokens import rows, token_sums


@dataclasses.dataclass(frozen=True)
class ReplacedTokens:
    """The generator's cross-entropy plus the discriminator's binary one, of every real token.

    Both are means over the batch: over its masked tokens, over all its real tokens (those that
    frame a text are among them). They are counted once for every row, and the count is the number
    of rows, as in `MaskedPairs`.

    Attributes:
        weight: Of the discriminator's loss.

    Reference: Clark et al. 2020 (ELECTRA), section 2 and appendix A.
    """

    weight: float = 50.0

    unit: ClassVar[str] = "rows"

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"weight must be positive, got {self.weight}")

    def __call__(self, outputs: dict[str, Array], batch: Mapping[str, Array]) -> Sums:
        """Sums the loss over the rows, and the metrics over what each is about.

        ``replaced_recall`` is the share of the replaced tokens that the discriminator finds,
        ``replaced_share`` how many of all are replaced.

        Args:
            outputs: ``{"generator": [b m v], "logits": [b t], "replaced": [b t]}``: scores of the
                masked tokens; the discriminator's score that a token is replaced; whether it is.
            batch: ``targets`` [b m] and ``mask`` [b] as `MaskedTokens` takes them, and ``segments``
                [b t], 0 on padding.
        """
        words = token_sums(outputs["generator"], batch)
        loss, real, right = _judged(outputs, batch)
        replaced = outputs["replaced"] & real
        tokens, found = jnp.sum(real, dtype=jnp.float32), jnp.sum(replaced, dtype=jnp.float32)
        total, count = jnp.sum(loss), jnp.sum(batch["mask"].astype(jnp.float32))
        mean = words.loss / jnp.maximum(words.count, 1.0)
        mean = mean + self.weight * total / jnp.maximum(tokens, 1.0)
        return Sums(
            loss=count * mean,
            count=count,
            metrics={
                "generator_loss": words.loss,
                "generator_accuracy": words.metrics["accuracy"],
                "replaced_loss": total,
                "replaced_accuracy": jnp.sum(right, dtype=jnp.float32),
                "replaced_recall": jnp.sum(right & replaced, dtype=jnp.float32),
                "replaced_share": found,
            },
            counts={
                "generator_loss": words.count,
                "generator_accuracy": words.count,
                "replaced_loss": tokens,
                "replaced_accuracy": tokens,
                "replaced_recall": found,
                "replaced_share": tokens,
            },
        )

    def kept(self, outputs: dict[str, Array], batch: Mapping[str, Array]) -> Float[Array, "b 3"]:
        """Gives each row's loss, number and number of right answers of the discriminator."""
        return rows(*_judged(outputs, batch))


def _judged(
    outputs: dict[str, Array], batch: Mapping[str, Array]
) -> tuple[Float[Array, "b t"], Bool[Array, "b t"], Bool[Array, "b t"]]:
    """The discriminator's loss at every token, which tokens are real, and where it is right."""
    logits = outputs["logits"].astype(jnp.float32)
    real = (batch["segments"] > 0) & (batch["mask"] > 0)[:, None]
    loss = jax.nn.softplus(logits) - logits * outputs["replaced"]
    right = (logits > 0) == outputs["replaced"]
    return jnp.where(real, loss, 0.0), real, right & real
