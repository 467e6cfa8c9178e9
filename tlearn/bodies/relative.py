"""Relative positions as T5 has them: one learned number a head and bucket of distances.

Shapes: n attention heads, t queries, s keys.

Reference: Raffel et al. 2020, section 2.1.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int


def buckets_of(
    distances: np.ndarray, buckets: int, max_distance: int, bidirectional: bool
) -> np.ndarray:
    """Sorts distances (key's place less query's) into buckets.

    Half of the buckets hold one distance each; the others grow by a constant factor up to
    ``max_distance``, and the last holds all beyond. With ``bidirectional`` keys behind and ahead
    have buckets of their own; without it, keys ahead share bucket 0.

    Args:
        distances: Whole numbers of any shape.
        buckets: How many buckets there are.
        max_distance: The distance from which all share a bucket.
        bidirectional: Whether queries may look ahead.
    """
    ahead = distances > 0
    first = 0
    if bidirectional:
        buckets //= 2
        first = np.where(ahead, buckets, 0)
        distances = np.abs(distances)
    else:
        distances = np.where(ahead, 0, -distances)
    exact = buckets // 2
    # In float32, as the published weights were trained: at powers of the factor the last bit says
    # on which side of a border a distance falls.
    ratio = np.log(np.maximum(distances, 1).astype(np.float32) / np.float32(exact))
    growth = np.float32(math.log(max_distance / exact))
    far = exact + (ratio / growth * np.float32(buckets - exact)).astype(np.int32)
    return first + np.where(distances < exact, distances, np.minimum(far, buckets - 1))


def check_buckets(buckets: int, max_distance: int) -> list[str]:
    """Lists why no buckets can be made of these numbers."""
    if buckets < 4:
        return [f"relative_buckets must be at least 4, got {buckets}"]
    # One direction alone has all buckets to itself, and half of them for single distances.
    if max_distance <= buckets // 2:
        return [
            f"relative_distance={max_distance} must be more than relative_buckets // 2 = "
            f"{buckets // 2}: the buckets grow from there"
        ]
    return []


class RelativeBias(nn.Module):
    """Adds a learned number to every score by the distance of key and query: ``embedding`` [k n].

    Attributes:
        heads: Attention heads.
        buckets: Buckets of distances.
        max_distance: The distance from which all share a bucket.
        bidirectional: Whether queries look ahead.
        init_std: Standard deviation of the table at the start.
    """

    heads: int
    buckets: int
    max_distance: int
    bidirectional: bool
    init_std: float

    @nn.compact
    def __call__(
        self, queries: int, keys: int, start: int | Int[Array, ""] = 0
    ) -> Float[Array, "1 n t s"]:
        """Computes the numbers for queries at the places ``start``, ``start + 1``, ...

        Args:
            queries: How many queries.
            keys: How many keys; their places count from 0. At least ``start + queries``.
            start: Place of the first query.
        """
        table = self.param(
            "embedding",
            nn.initializers.normal(self.init_std),
            (self.buckets, self.heads),
            jnp.float32,
        )
        bucket = buckets_of(
            np.arange(1 - keys, keys), self.buckets, self.max_distance, self.bidirectional
        )
        # A product with constant zeros and ones, and a shear below: their gradients are products
        # and shears too, where that of indexing would be a slow scatter.
        chosen = jnp.asarray(bucket[:, None] == np.arange(self.buckets), jnp.float32)
        by_distance = jnp.einsum("dk,kn->nd", chosen, table, precision=jax.lax.Precision.HIGHEST)
        size = queries + keys - 1
        line = jax.lax.dynamic_slice_in_dim(by_distance, keys - queries - start, size, axis=1)
        return _sheared(line, queries, keys)[None]


def _sheared(line: Float[Array, "n d"], queries: int, keys: int) -> Float[Array, "n t s"]:
    """Lays a line of distances out as a matrix: entry (i, j) is number ``j - i + queries - 1``."""
    heads, size = line.shape
    # Rows one longer than the line, cut into rows of its length: each begins one place later.
    rows = jnp.broadcast_to(jnp.pad(line, ((0, 0), (0, 1)))[:, None], (heads, queries, size + 1))
    flat = rows.reshape(heads, queries * (size + 1))[:, : queries * size]
    return flat.reshape(heads, queries, size)[:, :, queries - 1 : queries - 1 + keys]
