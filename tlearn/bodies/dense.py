"""Affine maps of the last axis, with gradients spelled as plain products of two matrices.

Shapes: r rows, i width in, o width out.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Init = Callable[..., Array]


@jax.custom_vjp
def product(x: Float[Array, "r i"], kernel: Float[Array, "i o"]) -> Float[Array, "r o"]:
    """Multiplies rows with a kernel; neither gradient transposes an operand in memory."""
    return lax.dot_general(x, kernel, (((1,), (0,)), ((), ())))


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return product(x, kernel), (x, kernel)


def _backward(kept: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = kept
    dx = lax.dot_general(dy, kernel, (((1,), (1,)), ((), ())))
    dkernel = lax.dot_general(x, dy, (((0,), (0,)), ((), ())))
    return dx, dkernel


product.defvjp(_forward, _backward)


def affine(
    x: Float[Array, "*rows i"], kernel: Float[Array, "i o"], bias: Float[Array, " o"] | None = None
) -> Float[Array, "*rows o"]:
    """Maps the last axis of ``x``, all its other axes taken as rows of one matrix."""
    y = product(x.reshape(-1, x.shape[-1]), kernel)
    if bias is not None:
        y = y + bias.reshape(1, -1)
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


class Dense(nn.Module):
    """An affine map with parameters ``kernel`` [in, out] and ``bias``.

    Attributes:
        features: Width of the output.
        use_bias: Whether to add a bias.
        kernel_init: Draws the kernel.
        bias_init: Draws the bias.
        dtype: What to compute in; None for the input's own. Parameters stay float32.
    """

    features: int
    use_bias: bool = True
    kernel_init: Init = nn.initializers.lecun_normal()
    bias_init: Init = nn.initializers.zeros
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "*rows i"]) -> Float[Array, "*rows o"]:
        """Maps the last axis."""
        kernel, bias = _declare(self, x.shape[-1])
        dtype = self.dtype or x.dtype
        bias = None if bias is None else bias.astype(dtype)
        return affine(x.astype(dtype), kernel.astype(dtype), bias)


class Parameters(nn.Module):
    """The kernel and bias of a `Dense` without its product, for layers that multiply in their way.

    Attributes:
        features: Width of the output.
        use_bias: Whether there is a bias.
        kernel_init: Draws the kernel.
        bias_init: Draws the bias.
    """

    features: int
    use_bias: bool = True
    kernel_init: Init = nn.initializers.lecun_normal()
    bias_init: Init = nn.initializers.zeros

    @nn.compact
    def __call__(self, width: int) -> tuple[Float[Array, "i o"], Float[Array, " o"] | None]:
        """The kernel from ``width`` inputs, and the bias."""
        return _declare(self, width)


def _declare(module: Dense | Parameters, width: int) -> tuple[Array, Array | None]:
    kernel = module.param("kernel", module.kernel_init, (width, module.features), jnp.float32)
    # Weights just loaded may still be numpy's.
    if not module.use_bias:
        return jnp.asarray(kernel), None
    bias = module.param("bias", module.bias_init, (module.features,), jnp.float32)
    return jnp.asarray(kernel), jnp.asarray(bias)
