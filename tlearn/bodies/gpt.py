"""GPT and GPT-2: causal transformers with learned positions, and keys and values kept for decoding.

Shapes: b batch, t tokens, d width, v vocabulary.

References: Radford et al. 2018 (GPT: normalisation after each part), 2019 (GPT-2: before each part,
and once more at the end).
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tlearn.bodies.activations import ACTIVATIONS
from tlearn.bodies.attention import FORMS
from tlearn.bodies.checks import check_choices, check_sizes
from tlearn.bodies.dropout import Dropout
from tlearn.bodies.embeddings import places
from tlearn.bodies.features import Features, trains
from tlearn.bodies.layer_norm import LayerNorm
from tlearn.bodies.segments import place_of, pooled_by
from tlearn.bodies.transformer import Block, BlockOutput, Cache

_POOLINGS = ("last", "mean", "max", "none")


class GPT(nn.Module):
    """A causal transformer: `begin` and `extend` decode with keys and values kept.

    Attributes:
        vocab_size: How many tokens there are.
        width: Width of a token's vector.
        depth: How many blocks.
        heads: Attention heads.
        feed_forward: Width inside the feed-forward parts.
        positions: Rows of the position table: the longest sequence.
        pre_norm: Normalise before each part and at the end (GPT-2), not after each part (GPT).
        activation: Of the feed-forward parts, a name in `ACTIVATIONS`.
        norm_epsilon: Added to variances.
        embedding_dropout: Chance of dropping an element of the embeddings.
        dropout: Chance of dropping an element after each part.
        attention_dropout: Chance of dropping an attention weight.
        scale_attention: Divide scores by the root of a head's size.
        scale_by_depth: Divide scores by the number of the block, from 1.
        pooling: ``last`` real token, ``mean`` or ``max`` of the real tokens, or ``none``.
        init_std: Standard deviation of kernels and embeddings at the start.
        attention_form: Kernel of the attention, as in `tlearn.bodies.attention.attend`.
        dtype: What to compute in: ``float32`` or ``bfloat16``. Parameters stay float32.
        remat: Recompute each block in the backward pass instead of keeping its activations.
    """

    vocab_size: int
    width: int
    depth: int
    heads: int
    feed_forward: int
    positions: int
    pre_norm: bool = True
    activation: str = "gelu_new"
    norm_epsilon: float = 1e-5
    embedding_dropout: float = 0.1
    dropout: float = 0.1
    attention_dropout: float = 0.1
    scale_attention: bool = True
    scale_by_depth: bool = False
    pooling: str = "last"
    init_std: float = 0.02
    attention_form: str = "auto"
    dtype: str = "float32"
    remat: bool = False

    family: ClassVar[str] = "gpt"
    inputs: ClassVar[tuple[str, ...]] = ("tokens", "segments")

    def __post_init__(self) -> None:
        problems = check_choices(
            self,
            activation=tuple(ACTIVATIONS),
            pooling=_POOLINGS,
            attention_form=FORMS,
            dtype=("float32", "bfloat16"),
        )
        problems += check_sizes(
            self,
            ones=("vocab_size", "width", "depth", "heads", "feed_forward", "positions"),
            chances=("embedding_dropout", "dropout", "attention_dropout"),
        )
        if self.norm_epsilon <= 0 or self.init_std < 0:
            problems.append("norm_epsilon must be positive and init_std at least 0")
        if problems:
            raise ValueError("this GPT cannot be built: " + "; ".join(problems))
        super().__post_init__()

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers from input to output."""
        blocks = tuple(f"block_{i:02d}" for i in range(self.depth))
        return ("embeddings", *blocks, *(("final",) if self.pre_norm else ()))

    @property
    def feature_width(self) -> int:
        """Width of `Features.pooled`."""
        return self.width

    def __call__(
        self,
        tokens: Int[Array, "b t"],
        segments: Int[Array, "b t"],
        *,
        train: bool | frozenset[str] = False,
    ) -> Features:
        """Computes the features of texts, padded on either side or packed.

        Args:
            tokens: Their numbers in the vocabulary.
            segments: 0 for padding, else the number of the example within the row.
            train: True, False, or the names of the layers that run in training mode.

        Raises:
            ValueError: If the rows are longer than the position table.
        """
        return self._run(tokens, segments, train, None)[0]

    def begin(
        self, tokens: Int[Array, "b t"], segments: Int[Array, "b t"], *, room: int
    ) -> tuple[Features, tuple[Cache, ...]]:
        """Reads the beginnings of texts and keeps what reading on needs.

        Args:
            tokens: The beginnings, padded on either side.
            segments: 1 for real tokens, 0 for padding.
            room: How many tokens may follow.

        Returns:
            The features of the beginnings, and a block's keys and values each.
        """
        shape = (len(tokens), tokens.shape[1] + room, self.heads, self.width // self.heads)
        empty = Cache(
            keys=jnp.zeros(shape, self.dtype),
            values=jnp.zeros(shape, self.dtype),
            segments=jnp.zeros(shape[:2], jnp.int32),
            seen=jnp.zeros((), jnp.int32),
        )
        return self._run(tokens, segments, False, (empty,) * self.depth)

    def extend(
        self, tokens: Int[Array, "b t"], cache: tuple[Cache, ...]
    ) -> tuple[Features, tuple[Cache, ...]]:
        """Reads on: one token a row, or several.

        Args:
            tokens: What follows in each row.
            cache: What `begin` or `extend` returned. It must have room.
        """
        return self._run(tokens, jnp.ones(tokens.shape, jnp.int32), False, cache)

    @nn.compact
    def _run(
        self,
        tokens: Array,
        segments: Array,
        train: bool | frozenset[str],
        cache: tuple[Cache, ...] | None,
    ) -> tuple[Features, Any]:
        if tokens.shape[1] > self.positions:
            raise ValueError(
                f"rows of {tokens.shape[1]} tokens are longer than this body's table of "
                f"{self.positions} positions: cut the texts (max_length={self.positions})"
            )
        index = places(segments)
        if cache is not None:
            # Room behind a row's end is padding to it: only real tokens count.
            index = index + (cache[0].segments > 0).sum(1, keepdims=True)
        x, table = _Embeddings(
            vocab_size=self.vocab_size,
            width=self.width,
            positions=self.positions,
            dropout=self.embedding_dropout,
            init_std=self.init_std,
            # As in the published code of the second model.
            position_std=self.init_std * (0.5 if self.pre_norm else 1.0),
            dtype=self.dtype,
            name="embeddings",
        )(tokens, index, trains(train, "embeddings"))
        layers = {"embeddings": x}
        # Argument 3 is `train`, which decides what is traced.
        block_class = nn.remat(Block, static_argnums=(3,)) if self.remat else Block
        position = place_of(segments, self.pooling) if cache is None else None
        grown: list[Any] = []
        out = BlockOutput(whole=x)
        for i in range(self.depth):
            name = f"block_{i:02d}"
            out = block_class(
                heads=self.heads,
                feed_forward=self.feed_forward,
                activation=self.activation,
                norm_epsilon=self.norm_epsilon,
                pre_norm=self.pre_norm,
                causal=True,
                dropout=self.dropout,
                attention_dropout=self.attention_dropout,
                attention_scale=self._scale(i),
                init_std=self.init_std,
                output_std=self.init_std * (2 * self.depth) ** -0.5 if self.pre_norm else 0.0,
                truncated=False,
                attention_form=self.attention_form,
                dtype=self.dtype,
                name=name,
            )(
                out.whole,
                segments,
                trains(train, name),
                position if i == self.depth - 1 else None,
                cache[i] if cache is not None else None,
            )
            layers[name] = out.whole
            grown.append(out.cache)
        whole, at = out.whole, out.at
        if self.pre_norm:
            final = _Final(self.norm_epsilon, self.dtype, name="final")
            whole, at = final(whole), None if at is None else final(at)
            layers["final"] = whole
        pooled = None
        if at is not None:
            pooled = at[:, 0].astype(jnp.float32)
        elif cache is None:
            pooled = pooled_by(whole, segments, self.pooling)
        features = Features(
            pooled=pooled,
            sequence=whole,
            mask=segments > 0,
            layers=layers,
            table=table,
        )
        return features, tuple(grown)

    def _scale(self, block: int) -> float:
        scale = (self.width // self.heads) ** -0.5 if self.scale_attention else 1.0
        return scale / (block + 1) if self.scale_by_depth else scale


class _Embeddings(nn.Module):
    vocab_size: int
    width: int
    positions: int
    dropout: float
    init_std: float
    position_std: float
    dtype: str

    @nn.compact
    def __call__(
        self, tokens: Int[Array, "b t"], index: Int[Array, "b t"], train: bool
    ) -> tuple[Float[Array, "b t d"], Float[Array, "v d"]]:
        words = nn.Embed(
            self.vocab_size,
            self.width,
            embedding_init=nn.initializers.normal(self.init_std),
            name="tokens",
        )
        spots = nn.Embed(
            self.positions,
            self.width,
            embedding_init=nn.initializers.normal(self.position_std),
            name="positions",
        )
        x = (words(tokens) + spots(index)).astype(self.dtype)
        x = Dropout(self.dropout, name="dropout")(x, deterministic=not train)
        # Weights just loaded may still be numpy's.
        return x, jnp.asarray(words.embedding)

    def returning(self, output: Array, *call: Any) -> tuple[Array, None]:
        """What a call returns whose output is known: there is no table then."""
        return output, None


class _Final(nn.Module):
    epsilon: float
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"]) -> Float[Array, "b t d"]:
        return LayerNorm(self.epsilon, self.dtype, name="norm")(x)


def _second(width: int, depth: int, heads: int) -> dict[str, Any]:
    return {
        "vocab_size": 50257,
        "width": width,
        "depth": depth,
        "heads": heads,
        "feed_forward": 4 * width,
        "positions": 1024,
    }


VARIANTS: dict[str, dict[str, Any]] = {
    "openai-gpt": {
        "vocab_size": 40478,
        "width": 768,
        "depth": 12,
        "heads": 12,
        "feed_forward": 3072,
        "positions": 512,
        "pre_norm": False,
    },
    "gpt2": _second(768, 12, 12),
    "gpt2-medium": _second(1024, 24, 16),
    "gpt2-large": _second(1280, 36, 20),
    "gpt2-xl": _second(1600, 48, 25),
}
"""The published networks: fields that differ from `GPT`'s defaults."""
