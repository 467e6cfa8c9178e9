"""Segments say which tokens of a row belong together: 0 is padding, 1, 2, ... number its examples.

Shapes: b batch, t tokens, d width.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

POOLINGS = ("first", "last", "mean", "max", "none")
"""How one vector is taken from a row of them."""


def positions_of(segments: Int[Array, "b t"]) -> Int[Array, "b t"]:
    """Counts tokens from 0 within every segment, wherever in its row it begins; 0 for padding.

    Example:
        >>> positions_of(jnp.array([[0, 1, 1, 2, 2, 2, 0]])).tolist()
        [[0, 0, 1, 0, 1, 2, 0]]
    """
    places = jnp.arange(segments.shape[1]).reshape(1, -1)
    before = jnp.pad(segments[:, :-1], ((0, 0), (1, 0)))
    begin = jax.lax.cummax(jnp.where(segments != before, places, 0), axis=1)
    return jnp.where(segments > 0, places - begin, 0).astype(jnp.int32)


def place_of(segments: Int[Array, "b t"], pooling: str) -> Int[Array, " b"] | None:
    """The place in its row that a pooling reads; None where it reads all or none."""
    real = segments > 0
    if pooling == "first":
        return jnp.argmax(real, axis=1)
    if pooling == "last":
        return segments.shape[1] - 1 - jnp.argmax(real[:, ::-1], axis=1)
    return None


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
