"""AWD-LSTM: stacked LSTMs with dropped recurrent weights, the body of ULMFiT.

Shapes: b batch, t tokens, v vocabulary, d width of embeddings and outputs, e width in, u units.

References: Merity et al. 2018 (AWD-LSTM); Gal and Ghahramani 2016 (one mask for all of time); Wan
et al. 2013 (dropped weights); Howard and Ruder 2018 (ULMFiT), sections 3.1 and 3.3.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tlearn.bodies.checks import check_choices
from tlearn.bodies.dense import Parameters
from tlearn.bodies.dropout import drop, kept
from tlearn.bodies.embeddings import last_place
from tlearn.bodies.features import Features, trains
from tlearn.bodies.lstm import Carry, Flow, flow_of, lstm, no_carry
from tlearn.bodies.segments import pooled_by

_POOLINGS = ("concat", "last", "mean", "max", "none")
_CHANCES = (
    "output_dropout",
    "hidden_dropout",
    "input_dropout",
    "embedding_dropout",
    "weight_dropout",
)


class AWDLSTM(nn.Module):
    """Stacked LSTMs; the last is as wide as the embeddings, so that a head can be tied to them.

    Attributes:
        vocab_size: How many tokens there are.
        width: Width of the embeddings and of the last LSTM's output.
        hidden: Units of the LSTMs before the last.
        depth: How many LSTMs.
        output_dropout: Chance of dropping an element of the last LSTM's output on its way to
            ``sequence``; what is pooled is not dropped from.
        hidden_dropout: Chance of dropping an element between two LSTMs.
        input_dropout: Chance of dropping an element of the embeddings.
        embedding_dropout: Chance of dropping a word, wherever it stands in the batch.
        weight_dropout: Chance of dropping a recurrent weight, one mask for all tokens.
        dropout_scale: Multiplies all five.
        bptt: The gradient of the state ends every so many tokens of a row, 0 for never. The state
            goes on, and the hidden states of all tokens are pooled.
        pooling: ``concat`` for last, maximum and mean side by side; ``last`` real token, ``mean``
            or ``max`` of the real tokens, or ``none``.
        dtype: What to compute in: ``float32`` or ``bfloat16``. Parameters and states stay float32.
        remat: Compute gates again in the backward pass instead of keeping them.
    """

    vocab_size: int
    width: int = 400
    hidden: int = 1150
    depth: int = 3
    output_dropout: float = 0.4
    hidden_dropout: float = 0.3
    input_dropout: float = 0.4
    embedding_dropout: float = 0.05
    weight_dropout: float = 0.5
    dropout_scale: float = 1.0
    bptt: int = 70
    pooling: str = "concat"
    dtype: str = "float32"
    remat: bool = False

    family: ClassVar[str] = "awd_lstm"
    inputs: ClassVar[tuple[str, ...]] = ("tokens", "segments")

    def __post_init__(self) -> None:
        problems = check_choices(self, pooling=_POOLINGS, dtype=("float32", "bfloat16"))
        problems += [
            f"{name} must be at least {least}, got {getattr(self, name)}"
            for least, names in (
                (1, ("vocab_size", "width", "hidden", "depth")),
                (0, ("bptt", "dropout_scale")),
            )
            for name in names
            if getattr(self, name) < least
        ]
        problems += [
            f"{name} times dropout_scale is a chance in [0, 1), got {getattr(self, name)} times "
            f"{self.dropout_scale}"
            for name in _CHANCES
            if not 0.0 <= getattr(self, name) * self.dropout_scale < 1.0
        ]
        if problems:
            raise ValueError("this AWD-LSTM cannot be built: " + "; ".join(problems))
        super().__post_init__()

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers from input to output."""
        return ("embeddings", *(f"lstm_{i}" for i in range(self.depth)))

    @property
    def feature_width(self) -> int:
        """Width of `Features.pooled`."""
        return self.width * (3 if self.pooling == "concat" else 1)

    def initial_carry(self, rows: int) -> tuple[Carry, ...]:
        """The state before anything was read: one of each LSTM's, all zeros."""
        return tuple(no_carry(rows, units) for units in self._units)

    @property
    def _units(self) -> tuple[int, ...]:
        return (*[self.hidden] * (self.depth - 1), self.width)

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "b t"],
        segments: Int[Array, "b t"],
        *,
        train: bool | frozenset[str] = False,
        carry: tuple[Carry, ...] | None = None,
    ) -> Features:
        """Computes the features of texts, padded on either side or packed.

        Args:
            tokens: Their numbers in the vocabulary.
            segments: 0 for padding, which passes the state on, else the number of the example
                within the row: the state starts anew where it changes.
            train: True, False, or the names of the layers that run in training mode.
            carry: The state that a row's first example goes on from; None for the beginning.
        """
        before = self.initial_carry(len(tokens)) if carry is None else carry
        flow = flow_of(segments, self.bptt)
        scale = self.dropout_scale
        # Features first, then time, then rows, as the scans read it.
        x, table = _Embeddings(
            vocab_size=self.vocab_size,
            width=self.width,
            word_dropout=self.embedding_dropout * scale,
            dropout=self.input_dropout * scale,
            dtype=self.dtype,
            name="embeddings",
        )(tokens.T, trains(train, "embeddings"))
        layers = {"embeddings": x.T}
        after: list[Carry] = []
        raw = x
        for i, units in enumerate(self._units):
            rate = self.output_dropout if i == self.depth - 1 else self.hidden_dropout
            name = f"lstm_{i}"
            raw, x, state = _Layer(
                units=units,
                weight_dropout=self.weight_dropout * scale,
                dropout=rate * scale,
                remat=self.remat,
                name=name,
            )(x, before[i], flow, trains(train, name))
            layers[name] = raw.T
            after.append(state)
        return Features(
            pooled=self._pooled(layers[f"lstm_{self.depth - 1}"], segments),
            sequence=x.T,
            mask=segments > 0,
            layers=layers,
            table=table,
            carry=tuple(after),
        )

    def begin(
        self, tokens: Int[Array, "b t"], segments: Int[Array, "b t"], *, room: int
    ) -> tuple[Features, tuple[Carry, ...]]:
        """Reads the beginnings of texts and keeps what reading on needs.

        Args:
            tokens: The beginnings, padded on either side.
            segments: 1 for real tokens, 0 for padding.
            room: How many tokens may follow; a state takes no more room for more of them.

        Returns:
            The features of the beginnings, and the states after them.
        """
        del room
        features = self(tokens, segments)
        return features, features.carry

    def extend(
        self, tokens: Int[Array, "b t"], cache: tuple[Carry, ...]
    ) -> tuple[Features, tuple[Carry, ...]]:
        """Reads on: one token a row, or several.

        Args:
            tokens: What follows in each row.
            cache: What `begin` or `extend` returned.
        """
        features = self(tokens, jnp.ones(tokens.shape, jnp.int32), carry=cache)
        return features, features.carry

    def _pooled(self, x: Array, segments: Array) -> Array | None:
        def last() -> Array:
            at = last_place(segments)
            return jnp.take_along_axis(x, at[:, None, None], axis=1)[:, 0].astype(jnp.float32)

        if self.pooling == "last":
            return last()
        if self.pooling == "concat":
            others: Any = [pooled_by(x, segments, how) for how in ("max", "mean")]
            return jnp.concatenate([last(), *others], axis=-1)
        return pooled_by(x, segments, self.pooling)


class _Embeddings(nn.Module):
    vocab_size: int
    width: int
    word_dropout: float
    dropout: float
    dtype: str

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "t b"], train: bool
    ) -> tuple[Float[Array, "d t b"], Float[Array, "v d"]]:
        table = _Table(self.vocab_size, self.width, name="tokens")()
        x = jnp.take(table, tokens, axis=0, mode="clip")
        if train and self.word_dropout:
            # A head that is tied to the table sees every word.
            words = kept(self.make_rng("dropout"), (self.vocab_size, 1), self.word_dropout)
            scaled = words[:, 0] / (1 - self.word_dropout)
            x = x * jnp.take(scaled, tokens, axis=0, mode="clip")[..., None]
        x = jnp.moveaxis(x.astype(self.dtype), 2, 0)
        return _Variational(self.dropout, name="dropout")(x, train), table

    def returning(self, output: Float[Array, "b t d"], *call: Any) -> tuple[Array, None]:
        """What a call returns whose output is known: there is no table then."""
        return output.T, None


class _Table(nn.Module):
    vocab_size: int
    width: int

    @nn.compact
    def __call__(self) -> Float[Array, "v d"]:
        shape = (self.vocab_size, self.width)
        # Weights just loaded may still be numpy's.
        return jnp.asarray(self.param("embedding", _uniform(0.1), shape, jnp.float32))


class _Variational(nn.Module):
    """Dropout with one mask for all of time.

    Attributes:
        rate: Chance that an element is dropped.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "d t b"], train: bool) -> Float[Array, "d t b"]:
        if not train or self.rate == 0.0:
            return x
        mask = kept(self.make_rng("dropout"), (x.shape[2], x.shape[0]), self.rate).T
        scaled = jnp.asarray(1 / (1 - self.rate), x.dtype)
        return jnp.where(mask[:, None], x * scaled, jnp.zeros((), x.dtype))


class _Layer(nn.Module):
    """One LSTM: ``input/kernel``, ``input/bias`` and ``recurrent/kernel``.

    Attributes:
        units: Its width.
        weight_dropout: Chance of dropping a recurrent weight.
        dropout: Chance of dropping an element of the output.
        remat: As in `lstm`.
    """

    units: int
    weight_dropout: float
    dropout: float
    remat: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "e t b"], before: Carry, flow: Flow, train: bool
    ) -> tuple[Float[Array, "u t b"], Float[Array, "u t b"], Carry]:
        """Runs over time; returns the output, what is left of it, and the last state."""
        # As the published models start: torch's defaults.
        init = _uniform(self.units**-0.5)
        kernel, bias = Parameters(4 * self.units, kernel_init=init, bias_init=init, name="input")(
            len(x)
        )
        recurrent, _ = Parameters(
            4 * self.units, use_bias=False, kernel_init=init, name="recurrent"
        )(self.units)
        if train and self.weight_dropout:
            recurrent = drop(recurrent, self.weight_dropout, self.make_rng("dropout"))
        run: Any = lstm
        raw, after = run(x, kernel, bias, recurrent, before, flow, self.remat)
        return raw, _Variational(self.dropout, name="dropout")(raw, train), after

    def returning(
        self, output: Float[Array, "b t u"], x: Any, before: Carry, *call: Any
    ) -> tuple[Array, Array, Carry]:
        """What a call returns whose output is known; the state is not, and stays as it was."""
        return output.T, output.T, before


def _uniform(limit: float) -> Any:
    """Draws evenly from both sides of zero."""

    def draw(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return draw


VARIANTS: dict[str, dict[str, Any]] = {
    # Howard and Ruder 2018, section 4.1; the vocabulary is that of the corpus they came from.
    "awd-lstm": {"vocab_size": 60002},
    "awd-lstm-small": {
        "vocab_size": 10000,
        "width": 128,
        "hidden": 256,
        "depth": 2,
        "dropout_scale": 0.5,
    },
}
"""Well-known networks: fields that differ from `AWDLSTM`'s defaults."""
