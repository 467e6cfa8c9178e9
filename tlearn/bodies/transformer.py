"""One transformer block: attention, feed-forward, and a normalisation before or after each.

Shapes: b batch, t tokens, s keys, n heads, d width.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from tlearn.bodies.activations import ACTIVATIONS
from tlearn.bodies.attention import attend
from tlearn.bodies.dense import Dense, Parameters, affine
from tlearn.bodies.dropout import drop
from tlearn.bodies.layer_norm import LayerNorm
from tlearn.bodies.traced_once import traced_once


@struct.dataclass
class Cache:
    """Keys and values of a block for the tokens seen so far; all rows have seen equally many.

    Attributes:
        keys: [b s n d], room for s tokens.
        values: [b s n d].
        segments: [b s], 0 where no token has been.
        seen: How many tokens have been; the next is written there.
    """

    keys: Any
    values: Any
    segments: Any
    seen: Any


@struct.dataclass
class BlockOutput:
    """What a block computes.

    Attributes:
        whole: The output at every position: [b t d].
        at: The output at the one position of each row that was asked for: [b 1 d].
        cache: The keys and values seen by now.
    """

    whole: Any
    at: Any = None
    cache: Cache | None = None


class Block(nn.Module):
    """Attention and feed-forward with residuals.

    Parameters ``attention/query|key|value|output``, ``attention_norm``, ``feed_forward/in|out``,
    ``feed_forward_norm``.

    Attributes:
        heads: Attention heads.
        feed_forward: Width inside the feed-forward part.
        activation: Its activation, a name in `ACTIVATIONS`.
        norm_epsilon: Added to variances.
        pre_norm: Normalise before each part (GPT-2, ViT) instead of after its residual (BERT).
        causal: Attend only to what came before.
        dropout: Chance of dropping an element after each part.
        attention_dropout: Chance of dropping an attention weight.
        head_size: Size of a head; 0 for width / heads.
        attention_scale: Multiplies the products of queries and keys; 0 for ``head_size ** -0.5``.
        init_std: Standard deviation of kernels.
        output_std: The same of the two kernels that end in a residual; 0 for ``init_std``.
        truncated: Draw kernels from a normal distribution cut at two standard deviations.
        qkv_bias: Whether queries, keys and values have biases.
        layer_scale: Where the learned factors of each part's outputs begin; 0 for none.
        drop_path: Chance that an example skips a part.
        attention_form: Kernel of the attention, as in `attend`.
        dtype: What to compute in. Parameters stay float32.

    References: Vaswani et al. 2017; pre-norm: Radford et al. 2019.
    """

    heads: int
    feed_forward: int
    activation: str = "gelu"
    norm_epsilon: float = 1e-12
    pre_norm: bool = False
    causal: bool = False
    dropout: float = 0.0
    attention_dropout: float = 0.0
    head_size: int = 0
    attention_scale: float = 0.0
    init_std: float = 0.02
    output_std: float = 0.0
    truncated: bool = True
    qkv_bias: bool = True
    layer_scale: float = 0.0
    drop_path: float = 0.0
    attention_form: str = "auto"
    dtype: str = "float32"

    def __call__(
        self,
        x: Float[Array, "b t d"],
        segments: Int[Array, "b t"] | None,
        train: bool,
        position: Int[Array, " b"] | None = None,
        cache: Cache | None = None,
    ) -> BlockOutput:
        """Computes the block.

        Args:
            x: The tokens' vectors.
            segments: Number of each token's example in its row, 0 for padding; None for all 1.
            train: Whether to drop elements.
            position: Also compute the output at this place of each row, on a path of its own: a
                compiler drops the other path where nobody reads it.
            cache: Keys and values of earlier tokens; these come after them.
        """
        key = None
        if train and (self.dropout or self.attention_dropout or self.drop_path):
            key = self.make_rng("dropout")
        return traced_once(self, "compute", train, x, segments, key, position, cache)

    @nn.compact
    def compute(
        self, train: bool, x: Array, segments: Any, key: Any, position: Any, cache: Cache | None
    ) -> BlockOutput:
        """Computes the block with the key of its dropout; the others are a call's."""
        width = x.shape[-1]
        attention = _Attention(
            heads=self.heads,
            size=self.head_size or width // self.heads,
            scale=self.attention_scale,
            causal=self.causal,
            dropout=self.attention_dropout if train else 0.0,
            qkv_bias=self.qkv_bias,
            kernel_init=_normal(self.init_std, self.truncated),
            output_init=_normal(self.output_std or self.init_std, self.truncated),
            form=self.attention_form,
            dtype=self.dtype,
            name="attention",
        )
        attention_norm = LayerNorm(self.norm_epsilon, self.dtype, name="attention_norm")
        feed_forward = _FeedForward(
            width=self.feed_forward,
            activation=self.activation,
            kernel_init=_normal(self.init_std, self.truncated),
            output_init=_normal(self.output_std or self.init_std, self.truncated),
            dtype=self.dtype,
            name="feed_forward",
        )
        feed_forward_norm = LayerNorm(self.norm_epsilon, self.dtype, name="feed_forward_norm")
        # Drawn once, so that both paths below drop the same elements.
        keys: Any = (None, None, None) if key is None else jax.random.split(key, 3)
        rate = self.dropout if train else 0.0
        total = x.shape[1]

        gains = {}
        if self.layer_scale:
            for part in ("attention", "feed_forward"):
                gain = _Gain(self.layer_scale, name=f"{part}_gain")
                gains[part] = gain(width).astype(self.dtype)

        def residual(x: Array, y: Array, part: str, start: Any) -> Array:
            key = keys[1] if part == "attention" else keys[2]
            y = drop(y, rate, key, start=start, total=total) if rate else y
            y = y * gains[part] if gains else y
            if train and self.drop_path:
                # One chance an example: the same for every place, however many are computed.
                one = jnp.ones((y.shape[0], 1, 1), y.dtype)
                y = y * drop(one, self.drop_path, jax.random.fold_in(key, 1))
            return x + y

        def path(x: Array, attended: Array, start: Any) -> Array:
            y = residual(x, attended, "attention", start)
            if self.pre_norm:
                return residual(y, feed_forward(feed_forward_norm(y)), "feed_forward", start)
            y = attention_norm(y)
            return feed_forward_norm(residual(y, feed_forward(y), "feed_forward", start))

        normed = attention_norm(x) if self.pre_norm else x
        both, at, cache = attention(normed, segments, keys[0], position, cache)
        whole = path(x, both, 0)
        if position is None or at is None:
            return BlockOutput(whole=whole, cache=cache)
        return BlockOutput(whole=whole, at=path(take(x, position), at, position), cache=cache)

    def returning(
        self, output: Array, x: Any, segments: Any, train: bool, position: Any = None, *rest: Any
    ) -> BlockOutput:
        """What a call returns whose output is known; arguments as in the call."""
        return BlockOutput(whole=output, at=None if position is None else take(output, position))


def take(x: Float[Array, "b t d"], position: Int[Array, " b"]) -> Float[Array, "b 1 d"]:
    """Takes one place of every row."""
    return jnp.take_along_axis(x, position.reshape(-1, 1, 1), axis=1)


def _normal(std: float, truncated: bool) -> Callable[..., Array]:
    if not truncated:
        return nn.initializers.normal(std)
    # The published code draws normal(0, std) and redraws beyond two of these: a spread of 0.88 std.
    # JAX's initialiser takes the spread before the cut as well.
    return nn.initializers.truncated_normal(std)


class _Attention(nn.Module):
    heads: int
    size: int
    scale: float
    causal: bool
    dropout: float
    qkv_bias: bool
    kernel_init: Callable[..., Array]
    output_init: Callable[..., Array]
    form: str
    dtype: str

    @nn.compact
    def __call__(
        self,
        x: Array,
        segments: Array | None,
        key: Any,
        position: Array | None,
        cache: Cache | None,
    ) -> tuple[Array, Array | None, Cache | None]:
        """Attends from every place, and from one place a row where asked."""
        inner = self.heads * self.size
        parameters = {
            name: Parameters(inner, self.qkv_bias, self.kernel_init, name=name)(x.shape[-1])
            for name in ("query", "key", "value")
        }
        output = Dense(x.shape[-1], kernel_init=self.output_init, dtype=self.dtype, name="output")

        def project(x: Array, name: str) -> Array:
            kernel, bias = parameters[name]
            bias = None if bias is None else bias.astype(self.dtype)
            y = affine(x, kernel.astype(self.dtype), bias)
            return y.reshape(*x.shape[:2], self.heads, self.size)

        x = x.astype(self.dtype)
        keys, values = project(x, "key"), project(x, "value")
        start, key_segments = 0, segments
        if cache is not None:
            start = cache.seen
            cache = extended(cache, keys, values, segments)
            keys, values, key_segments = cache.keys, cache.values, cache.segments

        def mix(x: Array, query_segments: Array | None, start: Any, total: Any) -> Array:
            y = attend(
                project(x, "query"),
                keys,
                values,
                query_segments=query_segments,
                key_segments=key_segments,
                causal=self.causal,
                query_start=start,
                scale=self.scale or None,
                dropout=self.dropout,
                key=key,
                query_total=total,
                form=self.form if total is None else "plain",
            )
            return output(y.reshape(*x.shape[:2], inner))

        whole, at = mix(x, segments, start, None), None
        if position is not None:
            own = None
            if segments is not None:
                own = jnp.take_along_axis(segments, position.reshape(-1, 1), axis=1)
            at = mix(take(x, position), own, start + position, x.shape[1])
        return whole, at, cache


def extended(cache: Cache, keys: Array, values: Array, segments: Array | None) -> Cache:
    """Writes new keys and values behind those seen."""
    if segments is None:
        segments = jnp.ones(keys.shape[:2], cache.segments.dtype)

    def write(old: Array, new: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), cache.seen, axis=1)

    return Cache(
        keys=write(cache.keys, keys),
        values=write(cache.values, values),
        segments=write(cache.segments, segments),
        seen=cache.seen + keys.shape[1],
    )


class _FeedForward(nn.Module):
    width: int
    activation: str
    kernel_init: Callable[..., Array]
    output_init: Callable[..., Array]
    dtype: str

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = Dense(self.width, kernel_init=self.kernel_init, dtype=self.dtype, name="in")(x)
        y = ACTIVATIONS[self.activation](y)
        return Dense(x.shape[-1], kernel_init=self.output_init, dtype=self.dtype, name="out")(y)


class _Gain(nn.Module):
    """One learned factor a channel (Touvron et al. 2021, "Going deeper")."""

    start: float

    @nn.compact
    def __call__(self, width: int) -> Float[Array, "1 1 d"]:
        init = nn.initializers.constant(self.start)
        scale = self.param("scale", init, (width,), jnp.float32)
        return jnp.asarray(scale).reshape(1, 1, -1)
