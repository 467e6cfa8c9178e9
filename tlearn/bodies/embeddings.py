"""Tokens, positions and types to vectors; positions and masks from segment numbers.

Shapes: b batch, t tokens, v vocabulary, e width of an embedding, d width.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tlearn.bodies.dense import Dense
from tlearn.bodies.dropout import Dropout
from tlearn.bodies.layer_norm import LayerNorm


def places(segments: Int[Array, "b t"]) -> Int[Array, "b t"]:
    """Counts each token's place within its own example, from 0.

    Args:
        segments: Number of the example within the row, 0 for padding.

    Example:
        >>> places(jnp.array([[0, 1, 1, 2, 2, 0]]))[0].tolist()
        [0, 0, 1, 0, 1, 0]
    """
    index = jnp.broadcast_to(jnp.arange(segments.shape[1])[None], segments.shape)
    before = jnp.pad(segments, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    begins = jnp.where(segments != before, index, 0)
    return index - jax.lax.cummax(begins, axis=1)


def first_place(segments: Int[Array, "b t"]) -> Int[Array, " b"]:
    """Where each row's first real token is; 0 in a row of padding."""
    return jnp.argmax(segments > 0, axis=1)


def last_place(segments: Int[Array, "b t"]) -> Int[Array, " b"]:
    """Where each row's last real token is; the end of a row of padding."""
    return segments.shape[1] - 1 - jnp.argmax(segments[:, ::-1] > 0, axis=1)


class Table(nn.Module):
    """Rows of a learned table; parameter ``embedding`` [v e].

    Attributes:
        rows: How many.
        width: Of a row.
        init_std: Standard deviation of the normal distribution, cut at two of it, that rows come
            from.
    """

    rows: int
    width: int
    init_std: float = 0.02

    @nn.compact
    def __call__(
        self, index: Int[Array, "b t"]
    ) -> tuple[Float[Array, "b t e"], Float[Array, "v e"]]:
        """Looks rows up; returns them and the table."""
        init = nn.initializers.truncated_normal(self.init_std)
        table = jnp.asarray(self.param("embedding", init, (self.rows, self.width), jnp.float32))
        return jnp.take(table, index, axis=0, mode="clip"), table


class Embeddings(nn.Module):
    """The sum of token, position and type embeddings, normalised: the first layer of BERT's kin.

    Parameters ``tokens|positions|types/embedding``, ``norm/scale|bias``, and ``projection`` where
    embeddings are narrower or wider than the body.

    Attributes:
        vocab_size: Tokens.
        width: Of the body.
        embedding_width: Of the embeddings.
        positions: Rows of the position table.
        position_offset: Row of an example's first token.
        types: Token types; 0 for none.
        norm_epsilon: Added to variances.
        dropout: Chance of dropping an element.
        init_std: Standard deviation of what is drawn.
        dtype: What comes out. Parameters stay float32.
    """

    vocab_size: int
    width: int
    embedding_width: int
    positions: int
    position_offset: int
    types: int
    norm_epsilon: float
    dropout: float
    init_std: float
    dtype: str

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "b t"],
        segments: Int[Array, "b t"],
        types: Int[Array, "b t"],
        train: bool,
    ) -> tuple[Float[Array, "b t d"], Float[Array, "v e"]]:
        """Embeds tokens; returns their vectors and the token table.

        Raises:
            ValueError: If the row is longer than the position table.
        """
        room = self.positions - self.position_offset
        if tokens.shape[1] > room:
            raise ValueError(
                f"a row of {tokens.shape[1]} tokens is longer than the {room} positions of this "
                f"body (positions={self.positions}, position_offset={self.position_offset}): "
                f"truncate to {room} tokens"
            )

        def table(rows: int, name: str) -> Table:
            return Table(rows, self.embedding_width, self.init_std, name=name)

        x, matrix = table(self.vocab_size, "tokens")(tokens)
        if self.types:
            x = x + table(self.types, "types")(types)[0]
        x = x + table(self.positions, "positions")(places(segments) + self.position_offset)[0]
        x = LayerNorm(self.norm_epsilon, self.dtype, name="norm")(x)
        x = Dropout(self.dropout, name="dropout")(x, deterministic=not train)
        if self.embedding_width != self.width:
            init = nn.initializers.truncated_normal(self.init_std)
            x = Dense(self.width, kernel_init=init, dtype=self.dtype, name="projection")(x)
        return x, matrix

    def returning(self, output: Array, *call: Any) -> tuple[Array, None]:
        """What a call returns whose output is known: there is no table then."""
        return output, None
