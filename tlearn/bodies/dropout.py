"""Dropout whose bits are a hash of (key, element): cheap, and the same however an array is cut.

A generator that fills arrays with random words is a visible share of a training step on a CPU. Here
every element hashes its own number, which compilers fuse into the multiplication; an element's bit
depends on the key, its row along the first axis and its number within that row, and on nothing
else: not on the number of devices, the batch size, or whether its neighbours are computed.

Shapes: b rows (examples), the rest as it comes.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt

# Odd multipliers with good avalanche in a 32-bit xor-shift-multiply hash.
_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B


def _mix(h: UInt[Array, "*shape"]) -> UInt[Array, "*shape"]:
    """A bijection of 32-bit words in which every input bit flips every output bit half the time."""
    h = (h ^ (h >> 16)) * jnp.uint32(_FIRST)
    h = (h ^ (h >> 15)) * jnp.uint32(_SECOND)
    return h ^ (h >> 16)


# Jitted on its own so that a body's many dropouts of one shape are traced and lowered once.
@functools.partial(jax.jit, static_argnames=("shape", "rate", "axis", "total"))
def kept(
    key: Array,
    shape: tuple[int, ...],
    rate: float,
    *,
    axis: int = 1,
    start: int | Int[Array, ""] | Int[Array, " b"] = 0,
    total: int | None = None,
    first_row: int | Int[Array, ""] = 0,
) -> Bool[Array, "*shape"]:
    """Draws which elements a dropout keeps.

    Args:
        key: A typed PRNG key, used for this array alone.
        shape: Of the array, or of the part of it that is computed.
        rate: Chance that an element is dropped.
        axis: The axis along which only a part is computed.
        start: Where that part begins: one place for all rows or one for each.
        total: How long the whole array is along that axis; None where it is all computed.
        first_row: Number of the first row, where the rows are a part of a batch.

    Raises:
        ValueError: If the rate is no chance below 1.
    """
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"a dropout rate is a chance in [0, 1), got {rate}")
    words = jax.random.bits(key, (2,), jnp.uint32)
    rank = len(shape)
    # Two words a row: one alone would make two rows of a batch permutations of each other when
    # their words are close.
    rows = lax.broadcasted_iota(jnp.uint32, (shape[0], *(1,) * (rank - 1)), 0)
    rows = rows + jnp.asarray(first_row).astype(jnp.uint32)
    first, second = _mix(rows + words[0]), _mix(rows ^ words[1])
    whole = list(shape)
    if total is not None:
        whole[axis] = total
    number = jnp.zeros((1,) * rank, jnp.uint32)
    stride = 1
    for i in range(rank - 1, 0, -1):
        place = lax.broadcasted_iota(jnp.uint32, shape, i)
        if i == axis and total is not None:
            place = place + jnp.asarray(start).astype(jnp.uint32).reshape(-1, *(1,) * (rank - 1))
        number = number + place * jnp.uint32(stride % 2**32)
        stride *= whole[i]
    h = number + first
    h = (h ^ (h >> 16)) * jnp.uint32(_FIRST) ^ second
    h = (h ^ (h >> 15)) * jnp.uint32(_SECOND)
    # The high bits decide; a last xor-shift would change the low ones only.
    return h >= jnp.uint32(round(rate * 2**32))


def drop(
    x: Float[Array, "*shape"],
    rate: float,
    key: Array,
    *,
    axis: int = 1,
    start: int | Int[Array, ""] | Int[Array, " b"] = 0,
    total: int | None = None,
    first_row: int | Int[Array, ""] = 0,
) -> Float[Array, "*shape"]:
    """Zeroes elements by chance and scales the others up; arguments as in `kept`.

    Reference: Srivastava et al. 2014.
    """
    mask = kept(key, x.shape, rate, axis=axis, start=start, total=total, first_row=first_row)
    return jnp.where(mask, x * jnp.asarray(1 / (1 - rate), x.dtype), jnp.zeros((), x.dtype))


class Dropout(nn.Module):
    """Zeroes elements by chance in training; draws from the random stream ``dropout``.

    Attributes:
        rate: Chance that an element is dropped.
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "*shape"], *, deterministic: bool) -> Float[Array, "*shape"]:
        """Drops elements of ``x``, unless ``deterministic``."""
        if deterministic or self.rate == 0.0:
            return x
        return drop(x, self.rate, self.make_rng("dropout"))
