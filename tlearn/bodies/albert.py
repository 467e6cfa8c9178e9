"""ALBERT: BERT with narrow embeddings and the same few blocks applied again and again.

Shapes: b batch, t tokens, d width, v vocabulary, e width of an embedding.

Reference: Lan et al. 2020.
"""

from typing import Any, ClassVar

import flax.linen as nn
from jaxtyping import Array, Float, Int

from tlearn.bodies.activations import ACTIVATIONS
from tlearn.bodies.checks import check_choices, check_sizes
from tlearn.bodies.embeddings import Embeddings
from tlearn.bodies.encoder import POOLINGS, Pooler, encoded, pooled_place
from tlearn.bodies.features import Features, trains
from tlearn.bodies.transformer import Block, BlockOutput, take


class Albert(nn.Module):
    """A post-norm transformer encoder whose blocks share parameters.

    Every ``group_00``, ... holds ``inner_blocks`` blocks (``group_00/block_00/...``) and is applied
    several times in a row, so that ``depth`` counts applications of groups.

    Attributes:
        vocab_size: Tokens.
        embedding_width: Width of the embeddings; they are projected to `width`.
        width: Of a token's vector.
        depth: How often a group is applied, all groups together.
        groups: Groups with parameters of their own.
        inner_blocks: Blocks of a group.
        heads: Attention heads of a block.
        feed_forward: Width inside a block's feed-forward part.
        positions: Rows of the position table.
        types: Token types; 0 for none.
        activation: Of the feed-forward part, a name in `ACTIVATIONS`.
        norm_epsilon: Added to variances.
        dropout: Chance of dropping an element after the embeddings and after each part of a block.
        attention_dropout: Chance of dropping an attention weight.
        pooling: One of `tlearn.bodies.bert.POOLINGS`.
        init_std: Standard deviation of the normal distribution, cut at two of it, that kernels and
            tables are drawn from.
        attention_form: Kernel of the attention, as in `tlearn.bodies.attention.attend`.
        dtype: What to compute in: ``float32`` or ``bfloat16``. Parameters stay float32.
        remat: Recompute each block in the backward pass instead of keeping its activations.
    """

    vocab_size: int = 30000
    embedding_width: int = 128
    width: int = 768
    depth: int = 12
    groups: int = 1
    inner_blocks: int = 1
    heads: int = 12
    feed_forward: int = 3072
    positions: int = 512
    types: int = 2
    activation: str = "gelu_new"
    norm_epsilon: float = 1e-12
    dropout: float = 0.0
    attention_dropout: float = 0.0
    pooling: str = "pooler"
    init_std: float = 0.02
    attention_form: str = "auto"
    dtype: str = "float32"
    remat: bool = False

    family: ClassVar[str] = "albert"
    inputs: ClassVar[tuple[str, ...]] = ("tokens", "segments", "types")

    def __post_init__(self) -> None:
        problems = check_choices(
            self,
            activation=tuple(ACTIVATIONS),
            pooling=POOLINGS,
            attention_form=("auto", "plain", "cudnn"),
            dtype=("float32", "bfloat16"),
        )
        sizes = ("vocab_size", "embedding_width", "width", "depth", "groups", "inner_blocks")
        problems += check_sizes(
            self,
            ones=(*sizes, "heads", "feed_forward", "positions"),
            zeros=("types",),
            chances=("dropout", "attention_dropout"),
        )
        if self.embedding_width == self.width:
            problems.append(f"embedding_width={self.width} equals width: it must be projected")
        if self.groups > self.depth:
            problems.append(f"groups={self.groups} are more than depth={self.depth}")
        if problems:
            raise ValueError("this Albert cannot be built: " + "; ".join(problems))
        super().__post_init__()

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers from input to output."""
        groups = tuple(f"group_{i:02d}" for i in range(self.groups))
        return ("embeddings", *groups, *(("pooler",) if self.pooling == "pooler" else ()))

    @property
    def feature_width(self) -> int:
        """Width of `Features.pooled`."""
        return self.width

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "b t"],
        segments: Int[Array, "b t"],
        types: Int[Array, "b t"],
        *,
        train: bool | frozenset[str] = False,
    ) -> Features:
        """Computes the features of token rows.

        Args:
            tokens: Token ids.
            segments: 0 on padding, else the number (from 1) of the example within the row.
            types: Token type ids; not read if the body has none.
            train: True, False, or the names of the layers that run in training mode.

        Raises:
            ValueError: If a row is longer than the position table.
        """
        x, table = Embeddings(
            vocab_size=self.vocab_size,
            width=self.width,
            embedding_width=self.embedding_width,
            positions=self.positions,
            position_offset=0,
            types=self.types,
            norm_epsilon=self.norm_epsilon,
            dropout=self.dropout,
            init_std=self.init_std,
            dtype=self.dtype,
            name="embeddings",
        )(tokens, segments, types, trains(train, "embeddings"))
        layers: dict[str, Any] = {"embeddings": x}
        groups = [self._group(f"group_{i:02d}") for i in range(self.groups)]
        out = BlockOutput(whole=x)
        for i in range(self.depth):
            # In floating point, as the published weights were trained.
            group = groups[int(i / (self.depth / self.groups))]
            name = str(group.name)
            position = pooled_place(segments, self.pooling) if i == self.depth - 1 else None
            out = group(out.whole, segments, trains(train, name), position)
            layers[name] = out.whole
        own = self.pooling == "pooler"
        pooler = Pooler(self.init_std, self.dtype, name="pooler") if own else None
        return encoded(out, segments, table, layers, pooling=self.pooling, pooler=pooler)

    def _group(self, name: str) -> "_Group":
        return _Group(
            inner_blocks=self.inner_blocks,
            heads=self.heads,
            feed_forward=self.feed_forward,
            activation=self.activation,
            norm_epsilon=self.norm_epsilon,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            init_std=self.init_std,
            attention_form=self.attention_form,
            dtype=self.dtype,
            remat=self.remat,
            name=name,
        )


class _Group(nn.Module):
    inner_blocks: int
    heads: int
    feed_forward: int
    activation: str
    norm_epsilon: float
    dropout: float
    attention_dropout: float
    init_std: float
    attention_form: str
    dtype: str
    remat: bool

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t d"],
        segments: Int[Array, "b t"],
        train: bool,
        position: Int[Array, " b"] | None,
    ) -> BlockOutput:
        # Argument 3 is `train`, which decides what is traced.
        block: Any = nn.remat(Block, static_argnums=(3,)) if self.remat else Block
        out = BlockOutput(whole=x)
        for j in range(self.inner_blocks):
            out = block(
                heads=self.heads,
                feed_forward=self.feed_forward,
                activation=self.activation,
                norm_epsilon=self.norm_epsilon,
                dropout=self.dropout,
                attention_dropout=self.attention_dropout,
                init_std=self.init_std,
                attention_form=self.attention_form,
                dtype=self.dtype,
                name=f"block_{j:02d}",
            )(out.whole, segments, train, position if j == self.inner_blocks - 1 else None)
        return out

    def returning(
        self, output: Array, x: Any, segments: Any, train: bool, position: Any
    ) -> BlockOutput:
        """What a call returns whose output is known; arguments as in the call."""
        return BlockOutput(whole=output, at=None if position is None else take(output, position))


def _albert(width: int, depth: int, heads: int, feed_forward: int) -> dict[str, Any]:
    return {"width": width, "depth": depth, "heads": heads, "feed_forward": feed_forward}


VARIANTS: dict[str, dict[str, Any]] = {
    "albert-base": _albert(768, 12, 12, 3072),
    "albert-large": _albert(1024, 24, 16, 4096),
    "albert-xlarge": _albert(2048, 24, 16, 8192),
    "albert-xxlarge": _albert(4096, 12, 64, 16384),
}
"""The published networks (version 2): fields that differ from `Albert`'s defaults."""
