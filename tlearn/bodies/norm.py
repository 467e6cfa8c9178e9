"""Normalisation between convolutions, and the paths dropped beside it.

Shapes: b batch, h w pixels, c channels.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


class BatchNorm(nn.Module):
    """Normalises channels by the batch in training, by running statistics otherwise.

    Parameters ``scale`` and ``bias``; collection ``batch_stats`` with ``mean`` and ``var``. The
    running variance is the unbiased one (n - 1), as in torch: weights carry over both ways.

    Attributes:
        epsilon: Added to the variance.
        momentum: Share of the running statistics that a step keeps; torch's is the other share.
        zero_scale: Start with scale 0, so that a residual branch starts silent.
        dtype: What comes out; statistics are always computed in float32.

    Reference: Ioffe and Szegedy 2015.
    """

    epsilon: float = 1e-5
    momentum: float = 0.9
    zero_scale: bool = False
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """Normalises ``x``; only with ``train`` are the running statistics updated."""
        shape = (x.shape[-1],)
        first = nn.initializers.zeros if self.zero_scale else nn.initializers.ones
        scale = self.param("scale", first, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        x = x.astype(jnp.float32)
        if train:
            mean = x.mean((0, 1, 2))
            # Two passes: the one-pass formula loses digits where the mean is large.
            var = jnp.square(x - mean.reshape(1, 1, 1, -1)).mean((0, 1, 2))
            if not self.is_initializing():
                count = x.size // x.shape[-1]
                unbiased = var * (count / max(count - 1, 1))
                kept = self.momentum
                running_mean.value = kept * running_mean.value + (1 - kept) * mean
                running_var.value = kept * running_var.value + (1 - kept) * unbiased
        else:
            mean, var = running_mean.value, running_var.value
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        y = (x - mean.reshape(1, 1, 1, -1)) * factor.reshape(1, 1, 1, -1)
        return (y + bias.reshape(1, 1, 1, -1)).astype(self.dtype)


class GroupNorm(nn.Module):
    """Normalises groups of channels within each picture; no statistics to keep.

    Parameters ``scale`` and ``bias``.

    Attributes:
        groups: How many groups the channels form.
        epsilon: Added to the variance.
        zero_scale: Start with scale 0, so that a residual branch starts silent.
        dtype: What comes out; statistics are always computed in float32.

    Reference: Wu and He 2018.
    """

    groups: int = 32
    epsilon: float = 1e-5
    zero_scale: bool = False
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """Normalises ``x``, the same way in training and out of it.

        Raises:
            ValueError: If the channels cannot be divided into the groups.
        """
        b, h, w, c = x.shape
        if c % self.groups:
            raise ValueError(
                f"group normalisation with {self.groups} groups cannot divide {c} channels: "
                "set norm_groups to a divisor of every width"
            )
        first = nn.initializers.zeros if self.zero_scale else nn.initializers.ones
        scale = self.param("scale", first, (c,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (c,), jnp.float32)
        y = x.astype(jnp.float32).reshape(b, h, w, self.groups, c // self.groups)
        y = y - y.mean((1, 2, 4), keepdims=True)
        y = y * jax.lax.rsqrt(jnp.square(y).mean((1, 2, 4), keepdims=True) + self.epsilon)
        y = y.reshape(b, h, w, c) * scale.reshape(1, 1, 1, -1) + bias.reshape(1, 1, 1, -1)
        return y.astype(self.dtype)


class DropPath(nn.Module):
    """Drops a residual branch for some examples, and scales it up for the others.

    Draws from the random stream ``dropout``.

    Attributes:
        rate: Chance that an example's branch is dropped.

    Reference: Huang et al. 2016 (stochastic depth).
    """

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        """Drops whole examples of ``x`` in training; hands it through otherwise."""
        if not train or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        kept = jax.random.bernoulli(self.make_rng("dropout"), keep, (x.shape[0], 1, 1, 1))
        return jnp.where(kept, x / keep, jnp.zeros_like(x))
