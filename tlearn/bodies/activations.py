"""Activation functions under the names that published configs give them.

Those of many operations keep their input alone for the backward pass and compute the rest again: a
pass over memory costs more than the arithmetic.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_TANH_SCALE, _TANH_CUBE = (2 / 3.141592653589793) ** 0.5, 0.044715


@jax.custom_vjp
def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Gaussian error linear unit, x Φ(x), exactly (Hendrycks and Gimpel 2016)."""
    # By erf, not by 1 - erfc: torch rounds the same way, and erf is the cheaper of the two.
    return 0.5 * x * (1.0 + jax.lax.erf(x * (0.5**0.5)))


@jax.custom_vjp
def gelu_tanh(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The tanh approximation of `gelu` that GPT-2, ALBERT and T5 v1.1 were trained with."""
    return 0.5 * x * (1.0 + jnp.tanh(_TANH_SCALE * (x + _TANH_CUBE * x * x * x)))


def _again(x: Array, dy: Array) -> tuple[Array, Array]:
    """Keeps the compiler from saving what the forward pass has in common with the backward one."""
    return jax.lax.optimization_barrier((x, dy))


def _gelu_backward(x: Array, dy: Array) -> tuple[Array]:
    x, dy = _again(x, dy)
    below = 0.5 * (1.0 + jax.lax.erf(x * (0.5**0.5)))
    density = jnp.exp(-0.5 * x * x) * (0.5 / 3.141592653589793) ** 0.5
    return (dy * (below + x * density),)


def _gelu_tanh_backward(x: Array, dy: Array) -> tuple[Array]:
    x, dy = _again(x, dy)
    tanh = jnp.tanh(_TANH_SCALE * (x + _TANH_CUBE * x * x * x))
    slope = _TANH_SCALE * (1.0 + 3.0 * _TANH_CUBE * x * x)
    return (dy * (0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * slope),)


gelu.defvjp(lambda x: (gelu(x), x), _gelu_backward)
gelu_tanh.defvjp(lambda x: (gelu_tanh(x), x), _gelu_tanh_backward)


def quick_gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The sigmoid approximation of `gelu` (Hendrycks and Gimpel 2016, section 2)."""
    return x * jax.nn.sigmoid(1.702 * x)


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {
        "gelu": gelu,
        "gelu_new": gelu_tanh,
        "gelu_pytorch_tanh": gelu_tanh,
        "quick_gelu": quick_gelu,
        "relu": jax.nn.relu,
        "silu": jax.nn.silu,
        "swish": jax.nn.silu,
        "tanh": jnp.tanh,
        "sigmoid": jax.nn.sigmoid,
    }
)
"""Name to function."""
