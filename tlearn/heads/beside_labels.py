"""The head that predicts the next tokens beside what a head for labels does.

Shapes: b batch, t tokens, v vocabulary.
"""

from typing import Any, ClassVar

import flax.linen as nn
from jaxtyping import Array, Float

from tlearn.bodies.features import Features
from tlearn.heads.causal_lm import CausalLM


class BesideLabels(nn.Module):
    """A head for labels, and beside it the next tokens, scored by the body's token embedding.

    All parameters and statistics are the labels' head's, under the names they have without this
    one: what was trained with it is read, judged and exported without it.

    Attributes:
        labels: The head for labels.

    Reference: Radford et al. 2018, section 3.2.
    """

    labels: nn.Module

    family: ClassVar[str] = "beside_labels"

    def setup(self) -> None:
        """Gives the labels' head this one's place in the tree of parameters."""
        nn.share_scope(self, self.labels)
        self.next_tokens = CausalLM(name="next_tokens")

    def __call__(
        self, features: Features, *, train: bool = False
    ) -> dict[str, Float[Array, "b ..."] | Any]:
        """Computes ``{"labels": the head's outputs, "next_tokens": [b t v]}``."""
        return {
            "labels": self.labels(features, train=train),
            "next_tokens": self.next_tokens(features),
        }
