"""Predicting masked tokens, alone or beside the order of two segments.

Shapes: b batch, m predictions a row, v vocabulary.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from tlearn.objectives.sums import Sums
from tlearn.objectives.tokens import scored, token_rows, token_sums


@dataclasses.dataclass(frozen=True)
class MaskedTokens:
    """Cross-entropy of the tokens that were masked; the count is the number of targets.

    Reference: Devlin et al. 2019 (BERT), section 3.1, task 1.
    """

    unit: ClassVar[str] = "targets"

    def __call__(self, outputs: Float[Array, "b m v"], batch: Mapping[str, Array]) -> Sums:
        """Sums the loss and the number of right predictions over the targets.

        Args:
            outputs: Logits at the batch's ``places`` (the model reads them with ``places=``), or at
                all tokens if the targets stand there.
            batch: ``targets`` [b m], -1 where there is nothing to predict; ``mask`` [b], 0 for rows
                that only fill the batch.
        """
        return token_sums(outputs, batch)

    def kept(
        self, outputs: Float[Array, "b m v"], batch: Mapping[str, Array]
    ) -> Float[Array, "b 3"]:
        """Gives each row's loss, number of targets, and number of right predictions."""
        return token_rows(outputs, batch)


@dataclasses.dataclass(frozen=True)
class MaskedPairs:
    """Masked tokens and a choice of two about a pair of segments: BERT's and ALBERT's sum.

    The loss of a batch is the mean over its masked tokens plus the mean over its pairs. The first
    belongs to the batch, not to a row: it is counted once for every row, and the count is the
    number of rows. Where batches are added, the masked tokens of each weigh by its rows. A row that
    is no pair has the label -1 and nothing to choose: where a share of the rows are pairs, their
    mean weighs by that share.

    References: Devlin et al. 2019 (BERT), section 3.1 and appendix A.2; Lan et al. 2020 (ALBERT),
    section 3.1.
    """

    unit: ClassVar[str] = "rows"

    def __call__(self, outputs: dict[str, Array], batch: Mapping[str, Array]) -> Sums:
        """Sums the loss over the rows, and the metrics over what each is about.

        Args:
            outputs: ``{"masked_lm": [b m v], "next_sentence": [b 2]}``.
            batch: As `MaskedTokens` takes it, and ``label`` [b]: 0 for segments that follow each
                other in this order, 1 for others, -1 for rows that are no pair.
        """
        words = token_sums(outputs["masked_lm"], batch)
        mask = batch["mask"].astype(jnp.float32)
        loss, right = scored(outputs["next_sentence"][:, None], batch["label"][:, None])
        rows = jnp.sum(mask)
        pairs = jnp.sum(loss[:, 0] * mask)
        paired = jnp.sum(mask * (batch["label"] >= 0))
        return Sums(
            loss=rows * (words.loss / jnp.maximum(words.count, 1.0)) + pairs,
            count=rows,
            metrics={
                "masked_loss": words.loss,
                "masked_accuracy": words.metrics["accuracy"],
                "pair_loss": pairs,
                "pair_accuracy": jnp.sum(right[:, 0] * mask),
            },
            counts={
                "masked_loss": words.count,
                "masked_accuracy": words.count,
                "pair_loss": paired,
                "pair_accuracy": paired,
            },
        )

    def kept(self, outputs: dict[str, Array], batch: Mapping[str, Array]) -> Float[Array, "b 3"]:
        """Gives each row's loss, number and number of right predictions of masked tokens."""
        return token_rows(outputs["masked_lm"], batch)
