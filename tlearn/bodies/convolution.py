"""Two-dimensional convolution behind one signature.

Shapes: b batch, h w pixels, c channels in, o channels out, r s kernel rows and columns.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from tlearn.bodies.convolution_forms import FORMS, Geometry, Pairs
from tlearn.bodies.convolution_primitives import forward_p


def pads(
    padding: str | int | Sequence[tuple[int, int]],
    kernel_size: tuple[int, int],
    strides: tuple[int, int],
    size: tuple[int, int],
) -> Pairs:
    """Spells a padding out as ``((top, bottom), (left, right))``.

    Args:
        padding: ``"torch"`` (half the kernel on every side, whatever the stride), ``"same"``
            (TensorFlow's: as little as makes the output ``ceil(size / stride)``, the odd row at the
            end), ``"valid"`` (none), a number for all sides, or the pairs themselves.
        kernel_size: Rows and columns of the kernel.
        strides: Steps between outputs.
        size: Rows and columns of the input.

    Raises:
        ValueError: If the name is none of these.
    """
    if isinstance(padding, int):
        return ((padding, padding), (padding, padding))
    if padding == "torch":
        tall, wide = kernel_size[0] // 2, kernel_size[1] // 2
        return ((tall, tall), (wide, wide))
    if padding == "valid":
        return ((0, 0), (0, 0))
    if padding == "same":
        (top, bottom), (left, right) = lax.padtype_to_pads(size, kernel_size, strides, "SAME")
        return ((top, bottom), (left, right))
    if isinstance(padding, str):
        raise ValueError(
            f"unknown padding {padding!r}: use 'torch', 'same', 'valid', a number or two pairs"
        )
    (top, bottom), (left, right) = padding
    return ((top, bottom), (left, right))


def conv2d(
    x: Float[Array, "b h w c"],
    kernel: Float[Array, "r s c_group o"],
    *,
    strides: int | tuple[int, int] = 1,
    padding: str | int | Sequence[tuple[int, int]] = "torch",
    groups: int = 1,
    form: str = "auto",
) -> Float[Array, "b h_out w_out o"]:
    """Convolves pictures with a kernel.

    Args:
        x: Pictures.
        kernel: One kernel of ``c / groups`` channels for every output channel.
        strides: Steps between outputs, by rows and columns.
        padding: As in `pads`.
        groups: Channel groups convolved apart; ``c`` of them is a depthwise convolution.
        form: How it is computed; every form gives the same numbers to rounding. ``auto`` is XLA's
            own on accelerators and the fastest measured for the shape on a CPU; ``builtin``,
            ``canonical``, ``patches`` and ``taps`` are described in
            `tlearn.bodies.convolution_forms`.

    Raises:
        ValueError: If the form is unknown, the channels do not fit the groups, or nothing is left
            of the picture.
    """
    if form != "auto" and form not in FORMS:
        raise ValueError(f"unknown convolution form {form!r}: use 'auto' or one of {list(FORMS)}")
    channels, (per_group, features) = x.shape[-1], kernel.shape[2:]
    if channels != per_group * groups or features % groups:
        raise ValueError(
            f"{channels} channels in and {features} out do not fit a kernel of {per_group} "
            f"channels in groups={groups}"
        )
    steps = (strides, strides) if isinstance(strides, int) else strides
    area = (kernel.shape[0], kernel.shape[1])
    size = (x.shape[1], x.shape[2])
    geometry = Geometry(steps, pads(padding, area, steps, size), groups, size, area)
    if min(geometry.out) < 1:
        raise ValueError(
            f"a picture of {size[0]}x{size[1]} pixels is too small for a {area[0]}x{area[1]} "
            f"kernel with padding={padding!r}"
        )
    y = forward_p.bind(x[None], kernel[None], geometry=geometry, form=form)
    return y[0]


class Conv(nn.Module):
    """A convolution layer with parameters ``kernel`` (HWIO) and, if asked for, ``bias``.

    Attributes:
        features: Output channels.
        kernel_size: Rows and columns.
        strides: Step between outputs.
        padding: As in `pads`.
        groups: Channel groups.
        use_bias: Whether to add a bias per output channel.
        dtype: What to compute in; parameters stay float32.
        form: How to compute it, see `conv2d`.
    """

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    strides: int = 1
    padding: str | int = "torch"
    groups: int = 1
    use_bias: bool = False
    dtype: str = "float32"
    form: str = "auto"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h_out w_out o"]:
        """Convolves ``x``.

        Raises:
            ValueError: If the channels cannot be divided into the groups.
        """
        channels = x.shape[-1]
        if channels % self.groups or self.features % self.groups:
            raise ValueError(
                f"{channels} channels in and {self.features} out cannot be convolved in "
                f"groups={self.groups}: both must be multiples of it"
            )
        kernel = self.param(
            "kernel",
            # He et al. 2015, fan-out: keeps the backward signal's variance through ReLUs.
            nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
            (*self.kernel_size, channels // self.groups, self.features),
            jnp.float32,
        )
        y = conv2d(
            x.astype(self.dtype),
            # Weights just loaded may still be numpy's.
            self.weighed(jnp.asarray(kernel)).astype(self.dtype),
            strides=self.strides,
            padding=self.padding,
            groups=self.groups,
            form=self.form,
        )
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            y = y + jnp.asarray(bias, self.dtype).reshape(1, 1, 1, -1)
        return y

    def weighed(self, kernel: Float[Array, "r s c o"]) -> Float[Array, "r s c o"]:
        """The kernel that convolves, of the one that is a parameter: the same."""
        return kernel
