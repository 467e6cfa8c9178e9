"""BERT and the encoders of its shape: DistilBERT, RoBERTa, ELECTRA, MiniLM.

Shapes: b batch, t tokens, d width, v vocabulary, e width of an embedding.

References: Devlin et al. 2019 (BERT); Turc et al. 2019 (its small sizes); Sanh et al. 2019
(DistilBERT); Liu et al. 2019 (RoBERTa); Clark et al. 2020 (ELECTRA); Wang et al. 2020 (MiniLM).
"""

from typing import Any, ClassVar

import flax.linen as nn
from jaxtyping import Array, Int

from tlearn.bodies.activations import ACTIVATIONS
from tlearn.bodies.checks import check_choices, check_sizes
from tlearn.bodies.embeddings import Embeddings
from tlearn.bodies.encoder import POOLINGS, Pooler, encoded, pooled_place
from tlearn.bodies.features import Features, trains
from tlearn.bodies.transformer import Block, BlockOutput


class Bert(nn.Module):
    """A post-norm transformer encoder with learned positions.

    Attributes:
        vocab_size: Tokens.
        width: Of a token's vector.
        depth: Blocks.
        heads: Attention heads of a block.
        feed_forward: Width inside a block's feed-forward part.
        positions: Rows of the position table.
        types: Token types; 0 for none (DistilBERT).
        activation: Of the feed-forward part, a name in `ACTIVATIONS`.
        norm_epsilon: Added to variances.
        dropout: Chance of dropping an element after the embeddings and after each part of a block.
        attention_dropout: Chance of dropping an attention weight.
        embedding_width: Width of the embeddings where they are projected (ELECTRA); 0 for `width`.
        position_offset: Row of the first token's position: pad + 1 for RoBERTa.
        pooling: One of `POOLINGS`. Of a row that packs examples, the first example is pooled
            (``last``: the last one).
        init_std: Standard deviation of the normal distribution, cut at two of it, that kernels and
            tables are drawn from.
        attention_form: Kernel of the attention, as in `tlearn.bodies.attention.attend`.
        dtype: What to compute in: ``float32`` or ``bfloat16``. Parameters stay float32.
        remat: Recompute each block in the backward pass instead of keeping its activations.
    """

    vocab_size: int = 30522
    width: int = 768
    depth: int = 12
    heads: int = 12
    feed_forward: int = 3072
    positions: int = 512
    types: int = 2
    activation: str = "gelu"
    norm_epsilon: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float = 0.1
    embedding_width: int = 0
    position_offset: int = 0
    pooling: str = "pooler"
    init_std: float = 0.02
    attention_form: str = "auto"
    dtype: str = "float32"
    remat: bool = False

    family: ClassVar[str] = "bert"
    inputs: ClassVar[tuple[str, ...]] = ("tokens", "segments", "types")

    def __post_init__(self) -> None:
        problems = check_choices(
            self,
            activation=tuple(ACTIVATIONS),
            pooling=POOLINGS,
            attention_form=("auto", "plain", "cudnn"),
            dtype=("float32", "bfloat16"),
        )
        problems += check_sizes(
            self,
            ones=("vocab_size", "width", "depth", "heads", "feed_forward"),
            zeros=("types", "embedding_width", "position_offset"),
            chances=("dropout", "attention_dropout"),
        )
        if self.positions <= self.position_offset:
            problems.append(
                f"positions={self.positions} leaves no room after position_offset="
                f"{self.position_offset}"
            )
        if problems:
            raise ValueError("this Bert cannot be built: " + "; ".join(problems))
        super().__post_init__()

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers from input to output."""
        blocks = tuple(f"block_{i:02d}" for i in range(self.depth))
        return ("embeddings", *blocks, *(("pooler",) if self.pooling == "pooler" else ()))

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
            embedding_width=self.embedding_width or self.width,
            positions=self.positions,
            position_offset=self.position_offset,
            types=self.types,
            norm_epsilon=self.norm_epsilon,
            dropout=self.dropout,
            init_std=self.init_std,
            dtype=self.dtype,
            name="embeddings",
        )(tokens, segments, types, trains(train, "embeddings"))
        layers: dict[str, Any] = {"embeddings": x}
        block: Any = nn.remat(Block, static_argnums=(3,)) if self.remat else Block
        out = BlockOutput(whole=x)
        for i in range(self.depth):
            name = f"block_{i:02d}"
            position = pooled_place(segments, self.pooling) if i == self.depth - 1 else None
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
                name=name,
            )(out.whole, segments, trains(train, name), position)
            layers[name] = out.whole
        own = self.pooling == "pooler"
        pooler = Pooler(self.init_std, self.dtype, name="pooler") if own else None
        return encoded(out, segments, table, layers, pooling=self.pooling, pooler=pooler)


def _bert(width: int, depth: int, **fields: Any) -> dict[str, Any]:
    sizes = {"width": width, "depth": depth, "heads": width // 64, "feed_forward": 4 * width}
    return {**sizes, **fields}


def _electra(embedding_width: int, **fields: Any) -> dict[str, Any]:
    return {"embedding_width": embedding_width, "pooling": "first", **fields}


_ROBERTA = {
    "vocab_size": 50265,
    "positions": 514,
    "position_offset": 2,
    "types": 1,
    "norm_epsilon": 1e-5,
    "pooling": "first",
}
_DISTILLED = {"types": 0, "pooling": "first"}

VARIANTS: dict[str, dict[str, Any]] = {
    "bert-base": _bert(768, 12),
    "bert-base-cased": _bert(768, 12, vocab_size=28996),
    "bert-large": _bert(1024, 24),
    "bert-large-cased": _bert(1024, 24, vocab_size=28996),
    "bert-base-multilingual-cased": _bert(768, 12, vocab_size=119547),
    "bert-tiny": _bert(128, 2),
    "bert-mini": _bert(256, 4),
    "bert-small": _bert(512, 4),
    "bert-medium": _bert(512, 8),
    "distilbert-base": _bert(768, 6, **_DISTILLED),
    "distilbert-base-cased": _bert(768, 6, vocab_size=28996, **_DISTILLED),
    "roberta-base": _bert(768, 12, **_ROBERTA),
    "roberta-large": _bert(1024, 24, **_ROBERTA),
    "distilroberta-base": _bert(768, 6, **_ROBERTA),
    "electra-small": _bert(256, 12, **_electra(128)),
    "electra-base": _bert(768, 12, **_electra(768)),
    "electra-large": _bert(1024, 24, **_electra(1024)),
    "minilm-l6": _bert(384, 6, heads=12),
    "minilm-l12": _bert(384, 12, heads=12),
}
"""The published networks: fields that differ from `Bert`'s defaults."""
