"""How T5 begins and ends: its embedding, its decoder's shifted tokens, its last normalisation.

Shapes: b batch, t tokens, d width, v vocabulary.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tlearn.bodies.dropout import Dropout, drop
from tlearn.bodies.embeddings import places
from tlearn.bodies.layer_norm import RMSNorm


def shifted_right(
    tokens: Int[Array, "b t"] | None, segments: Int[Array, "b t"], start: int
) -> Int[Array, "b t"]:
    """Moves every example by one place; the start token comes first in each.

    Raises:
        ValueError: If there are no tokens, only vectors.
    """
    if tokens is None:
        raise ValueError("shifted=True makes the decoder's inputs of tokens: give tokens")
    before = jnp.pad(tokens[:, :-1], ((0, 0), (1, 0)))
    return jnp.where(places(segments) == 0, start, before)


class T5Embeddings(nn.Module):
    """Tokens to vectors; both stacks share it: ``tokens/embedding``.

    Attributes:
        vocab_size: How many tokens there are.
        width: Width of a vector.
        dropout: Chance of dropping an element.
        init_factor: Standard deviation of the table at the start.
        dtype: What comes out.
    """

    vocab_size: int
    width: int
    dropout: float
    init_factor: float
    dtype: str

    @nn.compact
    def __call__(
        self, tokens: Array | None, embedded: Array | None, train: bool
    ) -> tuple[Float[Array, "b t d"], Float[Array, "v d"]]:
        """Looks tokens up, or takes the vectors given; returns them and the table."""
        words = nn.Embed(
            self.vocab_size,
            self.width,
            embedding_init=nn.initializers.normal(self.init_factor),
            name="tokens",
        )
        x = jnp.asarray(embedded if tokens is None else words(tokens), self.dtype)
        x = Dropout(self.dropout, name="dropout")(x, deterministic=not train)
        # Weights just loaded may still be numpy's.
        return x, jnp.asarray(words.embedding)

    def returning(self, output: Array, *call: Any) -> tuple[Array, None]:
        """What a call returns whose output is known: there is no table then."""
        return output, None


class T5Final(nn.Module):
    """The last normalisation of a stack: ``norm/scale``.

    Attributes:
        epsilon: Added to mean squares.
        dropout: Chance of dropping an element.
        dtype: What comes out.
    """

    epsilon: float
    dropout: float
    dtype: str

    @nn.compact
    def __call__(
        self, x: Array, at: Array | None, place: Array | None, train: bool
    ) -> tuple[Array, Array | None]:
        """Normalises the whole, and the one place of each row that was computed on its own."""
        norm = RMSNorm(self.epsilon, self.dtype, name="norm")
        total = x.shape[1]
        x, at = norm(x), None if at is None else norm(at)
        if train and self.dropout:
            key = self.make_rng("dropout")
            x = drop(x, self.dropout, key, total=total)
            if at is not None and place is not None:
                at = drop(at, self.dropout, key, start=place, total=total)
        return x, at
