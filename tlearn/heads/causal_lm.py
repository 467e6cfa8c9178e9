"""The head that predicts the next token.

Shapes: b batch, t tokens, d width, v vocabulary.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from tlearn.bodies.dense import Dense
from tlearn.bodies.features import Features
from tlearn.heads.reading import sequence_of, table_of


class CausalLM(nn.Module):
    """Scores every word of the vocabulary as the next one, at every token.

    Attributes:
        tied: Score by the body's token embedding; the head then has no parameters. Untied,
            ``dense/kernel`` [d v] stands in for it.
        scaled: Multiply the sequence by d**-0.5 first, as the first T5 does.
        init_std: Standard deviation of an own kernel at the start.

    Reference: Press and Wolf 2017 (tied); Raffel et al. 2020 (scaled).
    """

    tied: bool = True
    scaled: bool = False
    init_std: float = 0.02

    family: ClassVar[str] = "causal_lm"

    def __post_init__(self) -> None:
        if self.init_std < 0:
            raise ValueError(f"init_std is a deviation of at least 0, got {self.init_std}")
        super().__post_init__()

    @nn.compact
    def __call__(self, features: Features, *, train: bool = False) -> Float[Array, "b t v"]:
        """Computes the logits in float32; those of padding mean nothing."""
        del train  # Nothing is dropped here, as published.
        x = sequence_of(features, self.family)
        table = table_of(features, self.family)
        if self.scaled:
            x = x * x.shape[-1] ** -0.5
        if self.tied:
            return jnp.einsum("btd,vd->btv", x, table)
        init = nn.initializers.normal(self.init_std)
        return Dense(table.shape[0], use_bias=False, kernel_init=init, name="dense")(x)
