"""Predicting the tokens of a decoder: span corruption, prefix language models, translation.

Shapes: b batch, s decoder tokens, v vocabulary.
"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from jaxtyping import Array, Float

from tlearn.objectives.sums import Sums
from tlearn.objectives.tokens import token_rows, token_sums


@dataclasses.dataclass(frozen=True)
class Seq2Seq:
    """Cross-entropy of a decoder's tokens; the count is the number of targets.

    Reference: Raffel et al. 2020 (T5), sections 2.1 and 3.1.4.
    """

    unit: ClassVar[str] = "targets"

    def __call__(self, outputs: Float[Array, "b s v"], batch: Mapping[str, Array]) -> Sums:
        """Sums the loss and the number of right predictions over the targets.

        Args:
            outputs: Logits of the decoder.
            batch: ``targets`` [b s], -1 where there is nothing to predict; ``mask`` [b], 0 for rows
                that only fill the batch.
        """
        return token_sums(outputs, batch)

    def kept(
        self, outputs: Float[Array, "b s v"], batch: Mapping[str, Array]
    ) -> Float[Array, "b 3"]:
        """Gives each row's loss, number of targets, and number of right predictions."""
        return token_rows(outputs, batch)
