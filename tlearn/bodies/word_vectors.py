"""Word vectors as a body: a table of embeddings, pooled, with an optional BiLSTM above it.

Shapes: b batch, t tokens, v vocabulary, d width, e width of the embeddings, u units of one
direction.

References: Mikolov et al. 2013 (word2vec), Pennington et al. 2014 (GloVe), Graves and Schmidhuber
2005 (BiLSTM), Jozefowicz et al. 2015 (forget gates start open).
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from tlearn.bodies.checks import check_choices
from tlearn.bodies.dropout import Dropout
from tlearn.bodies.features import Features, trains


class WordVectors(nn.Module):
    """Embeddings of words, averaged or maximised over an example's words.

    Attributes:
        vocab_size: Words, those for padding and the unknown included.
        width: Width of the embeddings.
        pooling: How an example's words become one vector: ``mean`` or ``max``.
        lstm_width: Units of each direction of a BiLSTM between embeddings and pooling; 0 for none.
        dropout: Share of the embeddings, and of the BiLSTM's outputs, dropped in training.
        dtype: What to compute in: ``float32`` or ``bfloat16``. Parameters stay float32.
        remat: Recompute the BiLSTM in the backward pass instead of keeping its activations.
    """

    vocab_size: int
    width: int = 300
    pooling: str = "mean"
    lstm_width: int = 0
    dropout: float = 0.0
    dtype: str = "float32"
    remat: bool = False

    family: ClassVar[str] = "word_vectors"
    inputs: ClassVar[tuple[str, ...]] = ("tokens", "segments")

    def __post_init__(self) -> None:
        problems = check_choices(self, pooling=("mean", "max"), dtype=("float32", "bfloat16"))
        if self.vocab_size < 1 or self.width < 1 or self.lstm_width < 0:
            problems.append(
                f"vocab_size={self.vocab_size} and width={self.width} must be at least 1, "
                f"lstm_width={self.lstm_width} at least 0"
            )
        if not 0.0 <= self.dropout < 1.0:
            problems.append(f"dropout is a share in [0, 1), got {self.dropout}")
        if problems:
            raise ValueError("these word vectors cannot be built: " + "; ".join(problems))
        super().__post_init__()

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers from input to output."""
        return ("embeddings", "bilstm") if self.lstm_width else ("embeddings",)

    @property
    def feature_width(self) -> int:
        """Width of `Features.pooled`."""
        return 2 * self.lstm_width or self.width

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "b t"],
        segments: Int[Array, "b t"],
        *,
        train: bool | frozenset[str] = False,
    ) -> Features:
        """Computes the features of words.

        Args:
            tokens: Numbers of words.
            segments: 0 on padding, else the number of the example within the row; a BiLSTM starts
                anew where it changes. ``pooled`` is over all real words of the row.
            train: True, False, or the names of the layers that run in training mode.
        """
        mask = segments > 0
        layer = _Embeddings(self.vocab_size, self.width, self.dropout, name="embeddings")
        x, table = layer(tokens, trains(train, "embeddings"))
        x = x.astype(self.dtype)
        layers = {"embeddings": x}
        if self.lstm_width:
            # Argument 3 is `train`, which decides what is traced.
            recurrent = nn.remat(_BiLSTM, static_argnums=(3,)) if self.remat else _BiLSTM
            bilstm = recurrent(self.lstm_width, self.dropout, name="bilstm")
            x = bilstm(x, segments, trains(train, "bilstm"))
            layers["bilstm"] = x
        return Features(
            pooled=pool_words(x, mask, self.pooling),
            sequence=x,
            mask=mask,
            layers=layers,
            table=table,
        )


class _Embeddings(nn.Module):
    vocab_size: int
    width: int
    dropout: float

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "b t"], train: bool
    ) -> tuple[Float[Array, "b t e"], Float[Array, "v e"]]:
        table = _Table(self.vocab_size, self.width, name="tokens")()
        x = jnp.take(table, tokens, axis=0, mode="clip")
        return Dropout(self.dropout, name="dropout")(x, deterministic=not train), table

    def returning(self, output: Array, *call: Any) -> tuple[Array, None]:
        """What a call returns whose output is known: there is no table then."""
        return output, None


class _Table(nn.Module):
    vocab_size: int
    width: int

    @nn.compact
    def __call__(self) -> Float[Array, "v e"]:
        # Words drawn afresh have the size that trained vectors have: components near 0.1.
        init = nn.initializers.normal(0.1)
        return self.param("embedding", init, (self.vocab_size, self.width), jnp.float32)


class _BiLSTM(nn.Module):
    """Two recurrences, one from each end, joined."""

    width: int
    dropout: float

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t e"], segments: Int[Array, "b t"], train: bool
    ) -> Float[Array, "b t d"]:
        forward = _LSTM(self.width, name="forward")(x, segments)
        backward = _LSTM(self.width, name="backward")(x[:, ::-1], segments[:, ::-1])
        y = jnp.concatenate([forward, backward[:, ::-1]], axis=-1)
        return Dropout(self.dropout, name="dropout")(y, deterministic=not train)


class _LSTM(nn.Module):
    """One direction: ``input/kernel``, ``recurrent/kernel``, ``recurrent/bias``; gates i, f, g, o.

    The order of the gates is torch's, which has two biases that only ever act as their sum.
    """

    width: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t e"], segments: Int[Array, "b t"]
    ) -> Float[Array, "b t u"]:
        kernel = _Kernel(4 * self.width, name="input")(x.shape[-1]).astype(x.dtype)
        recurrent, bias = _Recurrent(self.width, name="recurrent")()
        real = segments > 0
        before = jnp.pad(segments[:, :-1], ((0, 0), (1, 0)))
        going_on = real & (segments == before)
        # Everything that does not wait for the recurrence is one product.
        driven = (x @ kernel).astype(jnp.float32) + bias.reshape(1, 1, -1)

        def step(
            state: tuple[Array, Array], given: tuple[Array, Array, Array]
        ) -> tuple[tuple[Array, Array], Array]:
            drive, carries, exists = given
            # A new example starts from nothing, and padding leaves nothing behind.
            hidden, cell = (jnp.where(carries[:, None], part, 0.0) for part in state)
            i, f, g, o = jnp.split(drive + hidden @ recurrent, 4, axis=-1)
            cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
            hidden = jnp.where(exists[:, None], jax.nn.sigmoid(o) * jnp.tanh(cell), 0.0)
            return (hidden, cell), hidden

        start = jnp.zeros((x.shape[0], self.width), jnp.float32)
        by_time = (driven.swapaxes(0, 1), going_on.T, real.T)
        _, outputs = jax.lax.scan(step, (start, start), by_time)
        return outputs.swapaxes(0, 1).astype(x.dtype)


class _Kernel(nn.Module):
    features: int

    @nn.compact
    def __call__(self, width: int) -> Float[Array, "e _"]:
        init = nn.initializers.glorot_uniform()
        return self.param("kernel", init, (width, self.features), jnp.float32)


class _Recurrent(nn.Module):
    width: int

    @nn.compact
    def __call__(self) -> tuple[Float[Array, "u _"], Float[Array, " _"]]:
        kernel = self.param("kernel", _orthogonal_gates, (self.width, 4 * self.width))
        bias = self.param("bias", _open_forget_gates, (4 * self.width,))
        return kernel, bias


def _orthogonal_gates(key: Array, shape: tuple[int, int]) -> Float[Array, "u _"]:
    """Draws one orthogonal matrix a gate."""
    draw = nn.initializers.orthogonal()
    keys = jax.random.split(key, 4)
    return jnp.concatenate([draw(k, (shape[0], shape[0]), jnp.float32) for k in keys], axis=1)


def _open_forget_gates(key: Array, shape: tuple[int]) -> Float[Array, " _"]:
    """Gives forget gates the bias 1, the others 0."""
    quarter = shape[0] // 4
    return jnp.zeros(shape, jnp.float32).at[quarter : 2 * quarter].set(1.0)


def pool_words(
    x: Float[Array, "b t d"], mask: Bool[Array, "b t"], pooling: str
) -> Float[Array, "b d"]:
    """Takes the mean or the maximum over real words, in float32; a row without any gives zeros."""
    x, there = x.astype(jnp.float32), mask[:, :, None]
    if pooling == "max":
        lowest = jnp.finfo(jnp.float32).min
        return jnp.where(mask.any(1)[:, None], jnp.where(there, x, lowest).max(1), 0.0)
    return jnp.where(there, x, 0.0).sum(1) / jnp.maximum(there.sum(1), 1)
