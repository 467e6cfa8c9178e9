"""Predicting the tokens of a decoder: span corruption, prefix language models, translation.

Shapes: b batch, s decoder tokens, v vocabulary.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from tlearn.objectives.sums import Sums
from tlearn.objectives.tokens import token_rows, token_sums


@dataclasses.dataclass(frozen=True)
class Seq2Seq:
    """Cross-entropy of a decoder's tokens; the count is the number of targets.

    Attributes:
        kinds: Names of what rows are of, where batches hold rows of several objectives: the metrics
            then have the loss and accuracy of each by itself too.

    Reference: Raffel et al. 2020 (T5), sections 2.1 and 3.1.4.
    """

    kinds: tuple[str, ...] = ()

    unit: ClassVar[str] = "targets"

    def __call__(self, outputs: Float[Array, "b s v"], batch: Mapping[str, Array]) -> Sums:
        """Sums the loss and the number of right predictions over the targets.

        Args:
            outputs: Logits of the decoder.
            batch: ``targets`` [b s], -1 where there is nothing to predict; ``mask`` [b], 0 for rows
                that only fill the batch; with `kinds` ``kind`` [b], a row's number among them.
        """
        sums = token_sums(outputs, batch)
        if not self.kinds:
            return sums
        # The same numbers again: the compiler computes them once.
        rows = token_rows(outputs, batch)
        metrics, counts = dict(sums.metrics), dict(sums.counts)
        for number, name in enumerate(self.kinds):
            loss, count, right = jnp.sum(jnp.where(batch["kind"][:, None] == number, rows, 0.0), 0)
            metrics |= {f"{name}_loss": loss, f"{name}_accuracy": right}
            counts |= {f"{name}_loss": count, f"{name}_accuracy": count}
        return Sums(sums.loss, sums.count, metrics, counts)

    def kept(
        self, outputs: Float[Array, "b s v"], batch: Mapping[str, Array]
    ) -> Float[Array, "b 3"]:
        """Gives each row's loss, number of targets, and number of right predictions."""
        return token_rows(outputs, batch)
