"""The blocks of T5: attention without bias or scale, root-mean-square norms, gated feed-forward.

Shapes: b batch, t tokens, s keys, n heads, d width.

References: Raffel et al. 2020; gated feed-forward: Shazeer 2020.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from tlearn.bodies.activations import ACTIVATIONS
from tlearn.bodies.attention import attend
from tlearn.bodies.dense import Dense
from tlearn.bodies.dropout import drop
from tlearn.bodies.layer_norm import RMSNorm
from tlearn.bodies.relative import RelativeBias
from tlearn.bodies.traced_once import traced_once
from tlearn.bodies.transformer import Cache, extended, take


@struct.dataclass
class T5Cache:
    """What a decoder's block keeps between steps.

    Attributes:
        own: Keys and values of the tokens decoded so far.
        memory: Keys and values of the encoder's output.
    """

    own: Cache
    memory: Cache | None = None


@struct.dataclass
class T5BlockOutput:
    """What a block computes.

    Attributes:
        whole: The output at every position: [b t d].
        bias: What was added to the scores, for the blocks above: [1 n t s].
        at: The output at the one position of each row that was asked for: [b 1 d].
        cache: What is kept, if anything was asked to be.
    """

    whole: Any
    bias: Any
    at: Any = None
    cache: T5Cache | None = None


class T5Block(nn.Module):
    """Self-attention, attention to an encoder's output in decoders, and feed-forward.

    Parameters ``attention/query|key|value|output``, ``attention_norm``, the same with ``cross_``
    in decoders, ``feed_forward/in|gate|out``, ``feed_forward_norm``; in a stack's first block also
    ``attention/relative``, which serves the whole stack.

    Attributes:
        heads: Attention heads.
        head_size: Size of a head.
        feed_forward: Width inside the feed-forward part.
        activation: Its activation, a name in `ACTIVATIONS`.
        gated: Multiply the activated projection (``gate``) with a second, linear one (``in``).
        decoder: Attend only to what came before, and to the encoder's output.
        buckets: Buckets of relative positions.
        max_distance: The distance from which all share a bucket.
        norm_epsilon: Added to mean squares.
        dropout: Chance of dropping an element or an attention weight.
        init_factor: Multiplies the standard deviations of what is drawn.
        dtype: What to compute in. Parameters stay float32.
    """

    heads: int
    head_size: int
    feed_forward: int
    activation: str
    gated: bool
    decoder: bool
    buckets: int
    max_distance: int
    norm_epsilon: float
    dropout: float
    init_factor: float
    dtype: str

    def __call__(
        self,
        x: Float[Array, "b t d"],
        segments: Int[Array, "b t"],
        bias: Float[Array, "1 n t s"] | None,
        train: bool,
        memory: Float[Array, "b s_in d"] | None = None,
        memory_segments: Int[Array, "b s_in"] | None = None,
        position: Int[Array, " b"] | None = None,
        cache: T5Cache | None = None,
    ) -> T5BlockOutput:
        """Computes the block.

        Args:
            x: The tokens' vectors.
            segments: Number of each token's example in its row, 0 for padding.
            bias: Added to the scores; None in the first block, which computes it.
            train: Whether to drop elements.
            memory: The encoder's output, for decoders; None if the cache has its keys and values.
            memory_segments: Its segments.
            position: Also compute the output at this place of each row, on a path of its own: a
                compiler drops the other path where nobody reads it.
            cache: What earlier tokens left.
        """
        key = self.make_rng("dropout") if train and self.dropout else None
        rest = (memory, memory_segments, position, cache)
        return traced_once(self, "compute", train, x, segments, bias, key, *rest)

    @nn.compact
    def compute(
        self,
        train: bool,
        x: Array,
        segments: Array,
        bias: Array | None,
        key: Any,
        memory: Array | None,
        memory_segments: Array | None,
        position: Array | None,
        cache: T5Cache | None,
    ) -> T5BlockOutput:
        """Computes the block with the key of its dropout; the others are a call's."""
        rate = self.dropout if train else 0.0
        # Drawn once, so that both paths below drop the same elements.
        keys = (None,) * 6 if key is None else jax.random.split(key, 6)
        total = x.shape[1]

        def norm(name: str) -> RMSNorm:
            return RMSNorm(self.norm_epsilon, self.dtype, name=name)

        def attention(name: str, relative: bool) -> _Attention:
            return _Attention(
                heads=self.heads,
                size=self.head_size,
                causal=self.decoder and name == "attention",
                relative=relative,
                buckets=self.buckets,
                max_distance=self.max_distance,
                dropout=rate,
                init_factor=self.init_factor,
                dtype=self.dtype,
                name=name,
            )

        def residual(x: Array, y: Array, key: Any, start: Any) -> Array:
            return x + (drop(y, rate, key, start=start, total=total) if rate else y)

        normed = norm("attention_norm")(x)
        own = None if cache is None else cache.own
        y, y_at, bias, own = attention("attention", bias is None)(
            normed, normed, segments, segments, bias, keys[0], position, own
        )
        at = None
        if position is not None and y_at is not None:
            at = residual(take(x, position), y_at, keys[1], position)
        x = residual(x, y, keys[1], 0)
        kept = None
        if self.decoder:
            cross_norm = norm("cross_attention_norm")
            cross = attention("cross_attention", False)
            known = None if cache is None else cache.memory
            normed = cross_norm(x)
            y, _, _, kept = cross(
                normed, memory, segments, memory_segments, None, keys[2], None, known
            )
            if at is not None:
                y_at, _, _, _ = cross(
                    cross_norm(at),
                    memory,
                    _own(segments, position),
                    memory_segments,
                    None,
                    keys[2],
                    None,
                    known,
                    start=position,
                    total=total,
                )
                at = residual(at, y_at, keys[3], position)
            x = residual(x, y, keys[3], 0)
        feed_norm = norm("feed_forward_norm")
        feed = _FeedForward(
            width=self.feed_forward,
            activation=self.activation,
            gated=self.gated,
            dropout=rate,
            init_factor=self.init_factor,
            dtype=self.dtype,
            name="feed_forward",
        )
        whole = residual(x, feed(feed_norm(x), keys[4], 0, total), keys[5], 0)
        if at is not None:
            y_at = feed(feed_norm(at), keys[4], position, total)
            at = residual(at, y_at, keys[5], position)
        # Nothing is handed out where nothing was asked to be kept: recomputation would hold it.
        keep = None if cache is None or own is None else T5Cache(own=own, memory=kept)
        return T5BlockOutput(whole=whole, bias=bias, at=at, cache=keep)

    def returning(
        self,
        output: Float[Array, "b t d"],
        x: Any,
        segments: Any,
        bias: Float[Array, "1 n t s"] | None,
        train: bool,
        memory: Any,
        memory_segments: Any,
        position: Int[Array, " b"] | None,
        cache: Any,
    ) -> T5BlockOutput:
        """What a call returns whose output is known: the bias serves the blocks above."""
        if bias is None:
            relative = RelativeBias(
                self.heads,
                self.buckets,
                self.max_distance,
                bidirectional=not self.decoder,
                init_std=0.0,
                parent=None,
            )
            table = self.variables["params"]["attention"]["relative"]
            bias = jnp.asarray(relative.apply({"params": table}, x.shape[1], x.shape[1]))
        at = None if position is None else take(output, position)
        return T5BlockOutput(whole=output, bias=bias, at=at)


def _own(segments: Array, position: Array | None) -> Array:
    return jnp.take_along_axis(segments, jnp.asarray(position).reshape(-1, 1), axis=1)


class _Attention(nn.Module):
    heads: int
    size: int
    causal: bool
    relative: bool
    buckets: int
    max_distance: int
    dropout: float
    init_factor: float
    dtype: str

    @nn.compact
    def __call__(
        self,
        x: Array,
        source: Array | None,
        segments: Array,
        source_segments: Array | None,
        bias: Array | None,
        key: Any,
        position: Array | None,
        cache: Cache | None,
        start: Any = 0,
        total: int | None = None,
    ) -> tuple[Array, Array | None, Array | None, Cache | None]:
        """Attends from every place, and from one place a row where asked.

        Returns what was attended, the same at one place, the bias of the scores, and the keys and
        values: those of earlier tokens with these behind them, or those of the whole source.
        """
        width, inner = x.shape[-1], self.heads * self.size

        def dense(name: str, features: int, deviation: float) -> Dense:
            init = nn.initializers.normal(self.init_factor * deviation)
            return Dense(features, use_bias=False, kernel_init=init, dtype=self.dtype, name=name)

        # There is no scale in the scores: it is in the first size of the queries' kernel.
        query = dense("query", inner, (width * self.size) ** -0.5)
        output = dense("output", width, inner**-0.5)

        def heads(y: Array) -> Array:
            return y.reshape(*y.shape[:2], self.heads, self.size)

        first: Any = start
        if source is not None:
            keys = heads(dense("key", inner, width**-0.5)(source))
            values = heads(dense("value", inner, width**-0.5)(source))
            if self.causal and cache is not None:
                first = cache.seen
                cache = extended(cache, keys, values, source_segments)
            else:
                seen = jnp.full((), keys.shape[1], jnp.int32)
                cache = Cache(keys, values, source_segments, seen)
        if cache is None:
            raise ValueError("attention needs a source, or the keys and values of one: got neither")
        if self.relative:
            bias = RelativeBias(
                self.heads,
                self.buckets,
                self.max_distance,
                bidirectional=not self.causal,
                init_std=self.init_factor * width**-0.5,
                name="relative",
            )(x.shape[1], cache.keys.shape[1], first)

        def mix(x: Array, segments: Array, bias: Array | None, start: Any, total: Any) -> Array:
            y = attend(
                heads(query(x)),
                cache.keys,
                cache.values,
                query_segments=segments,
                key_segments=cache.segments,
                causal=self.causal,
                query_start=start,
                bias=bias,
                scale=1.0,
                dropout=self.dropout,
                key=key,
                query_total=total,
            )
            return output(y.reshape(*y.shape[:2], inner))

        whole = mix(x, segments, bias, first, total)
        if position is None:
            return whole, None, bias, cache
        rows = None if bias is None else jnp.take(bias[0], position, axis=1)
        at_bias = None if rows is None else rows.swapaxes(0, 1)[:, :, None]
        at = mix(take(x, position), _own(segments, position), at_bias, position, x.shape[1])
        return whole, at, bias, cache


class _FeedForward(nn.Module):
    width: int
    activation: str
    gated: bool
    dropout: float
    init_factor: float
    dtype: str

    @nn.compact
    def __call__(self, x: Array, key: Any, start: Any, total: int) -> Array:
        def dense(name: str, features: int, fan_in: int) -> Dense:
            init = nn.initializers.normal(self.init_factor * fan_in**-0.5)
            return Dense(features, use_bias=False, kernel_init=init, dtype=self.dtype, name=name)

        y = dense("in", self.width, x.shape[-1])(x)
        activated = ACTIVATIONS[self.activation]
        if self.gated:
            y = activated(dense("gate", self.width, x.shape[-1])(x)) * y
        else:
            y = activated(y)
        if self.dropout:
            y = drop(y, self.dropout, key, start=start, total=total)
        return dense("out", x.shape[-1], self.width)(y)
