"""The head that predicts the next token.

Shapes: b batch, t tokens, d width, v vocabulary.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from tlearn.bodies.dense import Dense
from tlearn.bodies.features import Features
from tlearn.heads.reading import sequence_of, table_of


class CausalLM(nn.Module):
    """Scores every word of the vocabulary as the next one, at every token.

    Attributes:
        tied: Score by the body's token embedding. Untied, ``dense/kernel`` [d v] stands in for it.
        scaled: Multiply the sequence by d**-0.5 first, as the first T5 does.
        init_std: Standard deviation of an own kernel at the start.
        use_bias: Whether every word has a bias: ``bias`` [v], untied ``dense/bias``.
        activations: In training, hand on what the logits were made of too, for penalties on it.

    Reference: Press and Wolf 2017 (tied); Raffel et al. 2020 (scaled); Merity et al. 2018
    (activations).
    """

    tied: bool = True
    scaled: bool = False
    init_std: float = 0.02
    use_bias: bool = False
    activations: bool = False

    family: ClassVar[str] = "causal_lm"

    def __post_init__(self) -> None:
        problems = []
        if self.init_std < 0:
            problems.append(f"init_std is a deviation of at least 0, got {self.init_std}")
        if self.activations and self.tied and not self.use_bias:
            problems.append(
                "activations are handed on where the head trains, and this one has nothing to "
                "train: say use_bias=True or tied=False"
            )
        if problems:
            raise ValueError("this head cannot be built: " + "; ".join(problems))
        super().__post_init__()

    @nn.compact
    def __call__(
        self, features: Features, *, train: bool = False
    ) -> Float[Array, "b t v"] | dict[str, Any]:
        """Computes the logits in float32; those of padding mean nothing.

        Returns:
            The logits. With `activations`, in training, ``{"logits", "dropped", "raw"}``: dropped
            is the sequence they were made of, raw [b t d] the last layer's output before dropout.
        """
        x = sequence_of(features, self.family)
        table = table_of(features, self.family)
        given = x * x.shape[-1] ** -0.5 if self.scaled else x
        if self.tied:
            logits = jnp.einsum("btd,vd->btv", given, table)
            if self.use_bias:
                bias = self.param("bias", nn.initializers.zeros, (table.shape[0],), jnp.float32)
                logits = logits + bias[None, None]
        else:
            init = nn.initializers.normal(self.init_std)
            dense = Dense(table.shape[0], self.use_bias, kernel_init=init, name="dense")
            logits = dense(given)
        if not (self.activations and train):
            return logits
        raw = [*features.layers.values()][-1].astype(jnp.float32)
        return {"logits": logits, "dropped": x, "raw": raw}
