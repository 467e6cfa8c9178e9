"""Pooling a row of vectors into one, by the segments that say which of its tokens are real.

Shapes: b batch, t tokens, d width.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tlearn.bodies.embeddings import first_place, last_place


def place_of(segments: Int[Array, "b t"], pooling: str) -> Int[Array, " b"] | None:
    """The place in its row that a pooling reads; None where it reads all or none."""
    places = {"first": first_place, "last": last_place}
    return places[pooling](segments) if pooling in places else None


def pooled_by(
    sequence: Float[Array, "b t d"], segments: Int[Array, "b t"], pooling: str
) -> Float[Array, "b d"] | None:
    """Takes ``mean`` or ``max`` over the real tokens, in float32; None for ``none``.

    A row without any gives zeros.

    Raises:
        ValueError: If the pooling reads one place: take that from `place_of`.
    """
    if pooling == "none":
        return None
    real = (segments > 0)[..., None]
    x = sequence.astype(jnp.float32)
    if pooling == "mean":
        return jnp.where(real, x, 0.0).sum(1) / jnp.maximum(real.sum(1), 1)
    if pooling == "max":
        highest = jnp.where(real, x, -jnp.inf).max(1)
        return jnp.where(real.any(1), highest, 0.0)
    raise ValueError(f"pooling {pooling!r} does not read all tokens: 'mean' and 'max' do")
