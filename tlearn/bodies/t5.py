"""T5: an encoder and a decoder with relative positions; or the encoder alone.

Shapes: b batch, t tokens, s decoder tokens, d width, v vocabulary.

References: Raffel et al. 2020 (v1.0); Shazeer 2020 and Chung et al. 2022 (v1.1, Flan: gated
feed-forward, untied head).
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tlearn.bodies.activations import ACTIVATIONS
from tlearn.bodies.checks import check_choices
from tlearn.bodies.features import Features, trains
from tlearn.bodies.relative import check_buckets
from tlearn.bodies.segments import place_of, pooled_by
from tlearn.bodies.t5_blocks import T5Block, T5Cache
from tlearn.bodies.t5_ends import T5Embeddings, T5Final, shifted_right
from tlearn.bodies.transformer import Cache

_POOLINGS = ("first", "last", "mean", "max", "none")


class T5(nn.Module):
    """An encoder-decoder transformer; `begin` and `extend` decode with keys and values kept.

    Attributes:
        vocab_size: How many tokens there are.
        width: Width of a token's vector.
        depth: Blocks of the encoder.
        decoder_depth: Blocks of the decoder; 0 for an encoder alone.
        heads: Attention heads.
        head_size: Size of a head; their sum need not be the width.
        feed_forward: Width inside the feed-forward parts.
        gated: Multiply the activated projection with a second, linear one (v1.1).
        activation: Of the feed-forward parts, a name in `ACTIVATIONS`.
        shifted: The decoder reads the encoder's tokens, shifted by one, instead of its own: how a
            T5 classifies. The inputs are then those of an encoder.
        relative_buckets: Buckets of relative positions.
        relative_distance: The distance from which all share a bucket.
        norm_epsilon: Added to mean squares.
        dropout: Chance of dropping an element or an attention weight.
        pooling: ``first`` or ``last`` real token of the last stack (``last`` of an encoder is the
            end of the text), ``mean`` or ``max`` of the real tokens, or ``none``.
        start_token: What the decoder reads first.
        init_factor: Multiplies the standard deviations of what is drawn.
        dtype: What to compute in: ``float32`` or ``bfloat16``. Parameters stay float32.
        remat: Recompute each block in the backward pass instead of keeping its activations.
    """

    vocab_size: int
    width: int
    depth: int
    decoder_depth: int
    heads: int
    head_size: int
    feed_forward: int
    gated: bool = False
    activation: str = "relu"
    shifted: bool = False
    relative_buckets: int = 32
    relative_distance: int = 128
    norm_epsilon: float = 1e-6
    dropout: float = 0.1
    pooling: str = "mean"
    start_token: int = 0
    init_factor: float = 1.0
    dtype: str = "float32"
    remat: bool = False

    family: ClassVar[str] = "t5"
    serving: ClassVar[tuple[str, ...]] = ("encoder_block_00/attention/relative/embedding",)
    """Parameters of a layer that those above it read as well, by pattern."""

    def __post_init__(self) -> None:
        problems = check_choices(
            self,
            activation=tuple(ACTIVATIONS),
            pooling=_POOLINGS,
            dtype=("float32", "bfloat16"),
        )
        sizes = ("vocab_size", "width", "depth", "heads", "head_size", "feed_forward")
        problems += [
            f"{name} must be at least 1, got {getattr(self, name)}"
            for name in sizes
            if getattr(self, name) < 1
        ]
        problems += check_buckets(self.relative_buckets, self.relative_distance)
        if self.decoder_depth < 0 or (self.shifted and not self.decoder_depth):
            problems.append(
                f"decoder_depth={self.decoder_depth}: 0 means no decoder, and shifted needs one"
            )
        if not 0 <= self.start_token < max(self.vocab_size, 1):
            problems.append(f"start_token={self.start_token} is outside the vocabulary")
        if not 0.0 <= self.dropout < 1.0:
            problems.append(f"dropout is a chance in [0, 1), got {self.dropout}")
        if self.norm_epsilon <= 0 or self.init_factor < 0:
            problems.append("norm_epsilon must be positive and init_factor at least 0")
        if problems:
            raise ValueError("this T5 cannot be built: " + "; ".join(problems))
        super().__post_init__()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what the body is called with."""
        if self.decoder_depth and not self.shifted:
            return ("tokens", "segments", "decoder_tokens", "decoder_segments")
        return ("tokens", "segments")

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers from input to output."""
        encoder = tuple(f"encoder_block_{i:02d}" for i in range(self.depth))
        decoder = tuple(f"decoder_block_{i:02d}" for i in range(self.decoder_depth))
        final = ("decoder_final",) if decoder else ()
        return ("embeddings", *encoder, "encoder_final", *decoder, *final)

    @property
    def feature_width(self) -> int:
        """Width of `Features.pooled`."""
        return self.width

    def __call__(
        self,
        tokens: Int[Array, "b t"] | None,
        segments: Int[Array, "b t"],
        decoder_tokens: Int[Array, "b s"] | None = None,
        decoder_segments: Int[Array, "b s"] | None = None,
        *,
        train: bool | frozenset[str] = False,
        embedded: Float[Array, "b t d"] | None = None,
        decoder_embedded: Float[Array, "b s d"] | None = None,
    ) -> Features:
        """Computes the features of texts, padded on either side or packed.

        ``sequence``, ``mask`` and ``pooled`` are the decoder's, if there is one.

        Args:
            tokens: The encoder's tokens; None if their vectors are given.
            segments: 0 for padding, else the number of the example within the row.
            decoder_tokens: The decoder's tokens: the targets shifted by one.
            decoder_segments: Their segments; an example has the same number on both sides.
            train: True, False, or the names of the layers that run in training mode.
            embedded: The encoder's inputs as vectors, for what is no text.
            decoder_embedded: The decoder's inputs as vectors.

        Raises:
            ValueError: If a stack's inputs are missing, or given twice.
        """
        layers: dict[str, Any] = {}
        return self._run(
            (tokens, embedded, segments),
            (decoder_tokens, decoder_embedded, decoder_segments),
            train,
            None,
            layers,
        )[0]

    def begin(
        self,
        tokens: Int[Array, "b t"] | None,
        segments: Int[Array, "b t"],
        *,
        room: int,
        embedded: Float[Array, "b t d"] | None = None,
    ) -> tuple[Features, tuple[T5Cache, ...]]:
        """Encodes texts, reads the decoder's first token, and keeps what decoding on needs.

        Args:
            tokens: The encoder's tokens; None if their vectors are given.
            segments: 1 for real tokens, 0 for padding.
            room: How many tokens may follow.
            embedded: The encoder's inputs as vectors.

        Returns:
            The decoder's features after its first token, and a block's keys and values each.

        Raises:
            ValueError: If the body has no decoder.
        """
        if not self.decoder_depth:
            raise ValueError("an encoder alone decodes nothing: this T5 has decoder_depth=0")
        rows = len(segments)
        shape = (rows, 1 + room, self.heads, self.head_size)
        empty = Cache(
            keys=jnp.zeros(shape, self.dtype),
            values=jnp.zeros(shape, self.dtype),
            segments=jnp.zeros(shape[:2], jnp.int32),
            seen=jnp.zeros((), jnp.int32),
        )
        start = jnp.full((rows, 1), self.start_token, jnp.int32)
        return self._run(
            (tokens, embedded, segments),
            (start, None, jnp.ones_like(start)),
            False,
            (T5Cache(own=empty),) * self.decoder_depth,
            {},
        )

    def extend(
        self, tokens: Int[Array, "b s"], cache: tuple[T5Cache, ...]
    ) -> tuple[Features, tuple[T5Cache, ...]]:
        """Decodes on: one token a row, or several.

        Args:
            tokens: What follows in each row.
            cache: What `begin` or `extend` returned. It must have room.
        """
        segments = jnp.ones(tokens.shape, jnp.int32)
        return self._run(None, (tokens, None, segments), False, cache, {})

    @nn.compact
    def _run(
        self,
        source: tuple[Any, Any, Any] | None,
        target: tuple[Any, Any, Any],
        train: bool | frozenset[str],
        cache: tuple[T5Cache, ...] | None,
        layers: dict[str, Any],
    ) -> tuple[Features, Any]:
        embed = T5Embeddings(
            self.vocab_size,
            self.width,
            self.dropout,
            self.init_factor,
            self.dtype,
            name="embeddings",
        )
        drops = trains(train, "embeddings")
        memory = memory_segments = None
        if source is not None:
            tokens, embedded, memory_segments = source
            _check_one("tokens", tokens, embedded)
            x, table = embed(tokens, embedded, drops)
            layers["embeddings"] = x
            pooled_here = self.pooling if not self.decoder_depth else "none"
            memory, at, _ = self._stack(
                "encoder", x, memory_segments, train, pooled_here, None, None, None, layers
            )
            if not self.decoder_depth:
                return self._features(memory, at, memory_segments, table, layers), ()
            if self.shifted and cache is None:
                target = (shifted_right(tokens, memory_segments, self.start_token), None, source[2])
        tokens, embedded, segments = target
        _check_one("decoder_tokens", tokens, embedded)
        x, table = embed(tokens, embedded, drops)
        if segments is None:
            raise ValueError("decoder_segments is missing: 1 for every real token, 0 for padding")
        pooling = self.pooling if cache is None else "none"
        whole, at, grown = self._stack(
            "decoder", x, segments, train, pooling, memory, memory_segments, cache, layers
        )
        return self._features(whole, at, segments, table, layers, pooling), grown

    def _stack(
        self,
        kind: str,
        x: Array,
        segments: Array,
        train: bool | frozenset[str],
        pooling: str,
        memory: Array | None,
        memory_segments: Array | None,
        cache: tuple[T5Cache, ...] | None,
        layers: dict[str, Any],
    ) -> tuple[Array, Array | None, Any]:
        """Runs the blocks and the last normalisation of the encoder or the decoder."""
        depth = self.depth if kind == "encoder" else self.decoder_depth
        # Argument 4 is `train`, which decides what is traced.
        block_class = nn.remat(T5Block, static_argnums=(4,)) if self.remat else T5Block
        place = place_of(segments, pooling)
        bias = at = None
        grown: list[Any] = []
        for i in range(depth):
            name = f"{kind}_block_{i:02d}"
            out = block_class(
                heads=self.heads,
                head_size=self.head_size,
                feed_forward=self.feed_forward,
                activation=self.activation,
                gated=self.gated,
                decoder=kind == "decoder",
                buckets=self.relative_buckets,
                max_distance=self.relative_distance,
                norm_epsilon=self.norm_epsilon,
                dropout=self.dropout,
                init_factor=self.init_factor,
                dtype=self.dtype,
                name=name,
            )(
                x,
                segments,
                bias,
                trains(train, name),
                memory,
                memory_segments,
                place if i == depth - 1 else None,
                cache[i] if cache is not None else None,
            )
            x, at, bias = out.whole, out.at, out.bias
            layers[name] = x
            grown.append(out.cache)
        name = f"{kind}_final"
        final = T5Final(self.norm_epsilon, self.dropout, self.dtype, name=name)
        x, at = final(x, at, place, trains(train, name))
        layers[name] = x
        return x, at, tuple(grown)

    def _features(
        self,
        whole: Array,
        at: Array | None,
        segments: Array,
        table: Array | None,
        layers: dict[str, Any],
        pooling: str | None = None,
    ) -> Features:
        pooled = None if at is None else at[:, 0].astype(jnp.float32)
        if at is None:
            pooled = pooled_by(whole, segments, pooling or self.pooling)
        return Features(
            pooled=pooled, sequence=whole, mask=segments > 0, layers=layers, table=table
        )


def _check_one(name: str, tokens: Any, embedded: Any) -> None:
    if (tokens is None) == (embedded is None):
        raise ValueError(
            f"a stack of T5 reads either {name} or their vectors (embedded=, decoder_embedded=), "
            f"got {'neither' if tokens is None else 'both'}"
        )


def _sizes(
    width: int, depth: int, heads: int, feed_forward: int, head_size: int = 64, **fields: Any
) -> dict[str, Any]:
    return {
        "vocab_size": 32128,
        "width": width,
        "depth": depth,
        "decoder_depth": depth,
        "heads": heads,
        "head_size": head_size,
        "feed_forward": feed_forward,
        **fields,
    }


_GATED = {"gated": True, "activation": "gelu_new"}
_NEWER = {
    "small": _sizes(512, 8, 6, 1024, **_GATED),
    "base": _sizes(768, 12, 12, 2048, **_GATED),
    "large": _sizes(1024, 24, 16, 2816, **_GATED),
    "xl": _sizes(2048, 24, 32, 5120, **_GATED),
    "xxl": _sizes(4096, 24, 64, 10240, **_GATED),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "t5-small": _sizes(512, 6, 8, 2048),
    "t5-base": _sizes(768, 12, 12, 3072),
    "t5-large": _sizes(1024, 24, 16, 4096),
    "t5-3b": _sizes(1024, 24, 32, 16384, head_size=128),
    "t5-11b": _sizes(1024, 24, 128, 65536, head_size=128),
    **{f"t5-v1_1-{size}": fields for size, fields in _NEWER.items()},
    **{f"flan-t5-{size}": fields for size, fields in _NEWER.items()},
}
"""The published networks: fields that differ from `T5`'s defaults."""
