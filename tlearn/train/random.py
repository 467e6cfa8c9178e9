"""Randomness by named streams: a key is a function of (seed, name, counter), used once."""

import zlib

import jax
from jaxtyping import Array


def stream(key: Array, name: str, counter: int | Array = 0) -> Array:
    """Derives the key of a named stream at a counter.

    Two streams never share a key: the name is hashed into the key before the counter is, and
    nothing ever draws from the root itself.

    Args:
        key: The root, a typed PRNG key.
        name: What the randomness is for (``"dropout"``, ``"init"``).
        counter: A step, run or example number; may be traced.
    """
    return jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(name.encode())), counter)
