"""What BERT and ALBERT have in common: how a sequence becomes one vector, and what is handed on.

Shapes: b batch, t tokens, d width, v vocabulary, e width of an embedding.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tlearn.bodies.dense import Dense
from tlearn.bodies.features import Features
from tlearn.bodies.segments import place_of, pooled_by
from tlearn.bodies.transformer import BlockOutput

POOLINGS = ("pooler", "first", "last", "mean", "max", "none")
"""How a sequence becomes one vector; ``pooler`` is the first token through a layer and a tanh."""


class Pooler(nn.Module):
    """A dense layer and a tanh over the first token: ``dense``.

    Attributes:
        init_std: Standard deviation of the kernel at the start.
        dtype: What to compute in.
    """

    init_std: float
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b d"]:
        """Maps each row's vector."""
        init = nn.initializers.truncated_normal(self.init_std)
        dense = Dense(x.shape[-1], kernel_init=init, dtype=self.dtype, name="dense")
        return jnp.tanh(dense(x))


def pooled_place(segments: Int[Array, "b t"], pooling: str) -> Int[Array, " b"] | None:
    """The place that the last block computes for the pooled vector; None if all are read."""
    return place_of(segments, "first" if pooling == "pooler" else pooling)


def encoded(
    out: BlockOutput,
    segments: Int[Array, "b t"],
    table: Float[Array, "v e"] | None,
    layers: dict[str, Any],
    *,
    pooling: str,
    pooler: Pooler | None,
) -> Features:
    """Pools the last block's output and joins all that a body offers.

    Args:
        out: Of the last block.
        segments: 0 on padding.
        table: The token embeddings; None where they were not run.
        layers: Outputs so far by layer; the pooler's is added.
        pooling: One of `POOLINGS`.
        pooler: The module for ``pooler``.
    """
    at: Any = out.at
    pooled: Any = at[:, 0] if at is not None else pooled_by(out.whole, segments, pooling)
    if pooler is not None:
        pooled = pooler(pooled)
        layers = {**layers, "pooler": pooled}
    return Features(
        pooled=None if pooled is None else pooled.astype(jnp.float32),
        sequence=out.whole,
        mask=segments > 0,
        table=table,
        layers=layers,
    )
