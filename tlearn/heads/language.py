"""Heads of language pre-training: masked words, the order of sentences, replaced tokens.

Shapes: b batch, t tokens, d width, v vocabulary, e embedding width.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from tlearn.bodies.activations import ACTIVATIONS
from tlearn.bodies.dense import Dense
from tlearn.bodies.features import Features
from tlearn.bodies.layer_norm import LayerNorm
from tlearn.heads.reading import check_head, pooled_of, sequence_of, table_of

_NORMAL = nn.initializers.normal(0.02)


class MaskedLM(nn.Module):
    """Scores every word of the vocabulary at every token.

    ``transform/dense``, an activation and ``transform/norm`` lead to the width of the token
    embedding, which is then used once more, with ``bias`` of its own; untied, ``decoder/kernel``
    stands in for the embedding.

    Attributes:
        activation: Of the transformation.
        norm_epsilon: Added to variances.
        tied: Use the body's token embedding.

    Reference: Devlin et al. 2019, section 3.1; Clark et al. 2020 for embeddings of another width.
    """

    activation: str = "gelu"
    norm_epsilon: float = 1e-12
    tied: bool = True

    family: ClassVar[str] = "masked_lm"

    def __post_init__(self) -> None:
        check_head(1, "", 0.0, ("",), self.activation, self.norm_epsilon)
        super().__post_init__()

    @nn.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "b t v"]:
        """Computes the logits in float32; those of padding mean nothing."""
        del train  # Nothing is dropped here, as published.
        table = table_of(features, self.family)
        vocabulary, width = table.shape
        x = _Transform(width, self.activation, self.norm_epsilon, name="transform")(
            sequence_of(features, self.family)
        )
        if self.tied:
            x = jnp.einsum("bte,ve->btv", x, table)
        else:
            x = Dense(vocabulary, use_bias=False, kernel_init=_NORMAL, name="decoder")(x)
        bias = self.param("bias", nn.initializers.zeros, (vocabulary,), jnp.float32)
        return x + bias[None, None]


class _Transform(nn.Module):
    width: int
    activation: str
    norm_epsilon: float

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"]) -> Float[Array, "b t e"]:
        x = Dense(self.width, kernel_init=_NORMAL, name="dense")(x)
        return LayerNorm(self.norm_epsilon, name="norm")(ACTIVATIONS[self.activation](x))


class Pretraining(nn.Module):
    """Masked words and a choice of two about a pair: ``masked_lm``, ``next_sentence``.

    BERT asks whether the second sentence follows the first (0) or comes from elsewhere (1); ALBERT
    whether the two stand in their order (0) or were swapped (1).

    Attributes:
        activation: As in `MaskedLM`.
        norm_epsilon: As in `MaskedLM`.
        tied: As in `MaskedLM`.
        dropout: Share of the pooled features dropped before the choice of two, in training.

    Reference: Devlin et al. 2019, section 3.1; Lan et al. 2020, section 3.1.
    """

    activation: str = "gelu"
    norm_epsilon: float = 1e-12
    tied: bool = True
    dropout: float = 0.0

    family: ClassVar[str] = "pretraining"

    def __post_init__(self) -> None:
        check_head(2, "", self.dropout, ("",), self.activation, self.norm_epsilon)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, features: Features, *, train: bool = False
    ) -> dict[str, Float[Array, "b ..."]]:
        """Computes ``{"masked_lm": [b t v], "next_sentence": [b 2]}`` in float32."""
        words = MaskedLM(self.activation, self.norm_epsilon, self.tied, name="masked_lm")(
            features, train=train
        )
        x = nn.Dropout(self.dropout, name="dropout")(pooled_of(features), deterministic=not train)
        return {
            "masked_lm": words,
            "next_sentence": Dense(2, kernel_init=_NORMAL, name="next_sentence")(x),
        }


class ReplacedToken(nn.Module):
    """One logit a token, that somebody replaced it: ``hidden``, an activation, ``dense``.

    Attributes:
        activation: Between the two affine maps.

    Reference: Clark et al. 2020.
    """

    activation: str = "gelu"

    family: ClassVar[str] = "replaced_token"

    def __post_init__(self) -> None:
        check_head(1, "", 0.0, ("",), self.activation)
        super().__post_init__()

    @nn.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "b t"]:
        """Computes the logits in float32; those of padding mean nothing."""
        del train
        x = sequence_of(features, self.family)
        x = ACTIVATIONS[self.activation](Dense(x.shape[-1], kernel_init=_NORMAL, name="hidden")(x))
        return Dense(1, kernel_init=_NORMAL, name="dense")(x)[..., 0]
