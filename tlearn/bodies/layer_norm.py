"""Normalisation of each token's vector; statistics in float32.

Shapes: d width.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


class LayerNorm(nn.Module):
    """Centres and scales the last axis; parameters ``scale`` and ``bias``.

    Attributes:
        epsilon: Added to the variance.
        dtype: What comes out; None for the input's own.

    Reference: Ba et al. 2016.
    """

    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
        """Normalises every vector."""
        shape = (1,) * (x.ndim - 1) + (-1,)
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        wide = x.astype(jnp.float32)
        centred = wide - wide.mean(-1, keepdims=True)
        # Two passes: the one-pass formula loses digits where the mean is large.
        y = centred * lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + self.epsilon)
        return (y * scale.reshape(shape) + bias.reshape(shape)).astype(self.dtype or x.dtype)


class RMSNorm(nn.Module):
    """Scales the last axis by its root mean square; parameter ``scale``.

    Attributes:
        epsilon: Added to the mean square.
        dtype: What comes out; None for the input's own.

    Reference: Zhang and Sennrich 2019.
    """

    epsilon: float = 1e-6
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
        """Scales every vector."""
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        wide = x.astype(jnp.float32)
        y = wide * lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + self.epsilon)
        return (y * scale.reshape((1,) * (x.ndim - 1) + (-1,))).astype(self.dtype or x.dtype)
