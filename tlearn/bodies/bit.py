"""BiT: pre-activated bottlenecks with group normalisation and standardised kernels.

Shapes: b batch, h w pixels, c channels, d width, r s kernel rows and columns, o channels out.

References: Kolesnikov et al. 2020 (Big Transfer); He et al. 2016, "Identity mappings" (a block
normalises first, and its shortcut branches off after that where it is convolved); Qiao et al. 2019
(weight standardisation). Strides lie in the 3x3 convolutions.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from tlearn.bodies.checks import check_channels, check_choices
from tlearn.bodies.convolution import Conv
from tlearn.bodies.features import Features, trains
from tlearn.bodies.norm import DropPath, GroupNorm
from tlearn.bodies.pool import max_pool

_EXPANSION = 4


class BiT(nn.Module):
    """A pre-activated residual network without batch statistics.

    Attributes:
        stage_blocks: Blocks in every stage. All stages but the first halve the map.
        stage_widths: Channels within the blocks of every stage, which put out four times as many.
        stem_width: Channels after the stem: a 7x7 convolution, stride 2, and a 3x3 maximum, stride
            2, over a border of zeros.
        in_channels: Channels of the pictures.
        norm_groups: Groups of the group normalisations.
        norm_epsilon: Added to variances.
        kernel_epsilon: Added to the variance of a kernel before it is standardised.
        drop_path: Chance of dropping the last block's branch; grows linearly from 0 at the first.
        dtype: What to compute in: ``float32`` or ``bfloat16``. Parameters stay float32.
        remat: Recompute each block in the backward pass instead of keeping its activations.
    """

    stage_blocks: tuple[int, ...] = (3, 4, 6, 3)
    stage_widths: tuple[int, ...] = (64, 128, 256, 512)
    stem_width: int = 64
    in_channels: int = 3
    norm_groups: int = 32
    norm_epsilon: float = 1e-5
    kernel_epsilon: float = 1e-10
    drop_path: float = 0.0
    dtype: str = "float32"
    remat: bool = False

    family: ClassVar[str] = "bit"
    inputs: ClassVar[tuple[str, ...]] = ("image",)

    def __post_init__(self) -> None:
        problems = check_choices(self, dtype=("float32", "bfloat16"))
        if len(self.stage_blocks) != len(self.stage_widths) or not self.stage_blocks:
            problems.append(
                f"stage_blocks={self.stage_blocks} and stage_widths={self.stage_widths} must have "
                "one entry a stage, and at least one stage"
            )
        if any(value < 1 for value in (*self.stage_blocks, *self.stage_widths, self.norm_groups)):
            problems.append("stage_blocks, stage_widths and norm_groups must be at least 1")
        elif any(width % self.norm_groups for width in (self.stem_width, *self.stage_widths)):
            problems.append(
                f"norm_groups={self.norm_groups} must divide stem_width={self.stem_width} and "
                f"stage_widths={self.stage_widths}"
            )
        if self.stem_width < 1:
            problems.append(f"stem_width must be at least 1, got {self.stem_width}")
        if not 0.0 <= self.drop_path < 1.0:
            problems.append(f"drop_path is a chance in [0, 1), got {self.drop_path}")
        if problems:
            raise ValueError("this BiT cannot be built: " + "; ".join(problems))
        super().__post_init__()

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers from input to output."""
        return ("stem", *(f"stage_{i + 1}" for i in range(len(self.stage_blocks))), "final")

    @property
    def feature_width(self) -> int:
        """Width of `Features.pooled`."""
        return self.stage_widths[-1] * _EXPANSION

    def _style(self) -> dict[str, Any]:
        return {
            "norm_groups": self.norm_groups,
            "norm_epsilon": self.norm_epsilon,
            "kernel_epsilon": self.kernel_epsilon,
            "dtype": self.dtype,
        }

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool | frozenset[str] = False
    ) -> Features:
        """Computes the features of normalised pictures.

        Args:
            image: Pictures, channels last.
            train: True, False, or the names of the layers that run in training mode.

        Raises:
            ValueError: If the pictures have another number of channels than the body.
        """
        check_channels("BiT", image.shape[-1], self.in_channels)
        layers: dict[str, Array] = {}
        x = _Stem(width=self.stem_width, **self._style(), name="stem")(image.astype(self.dtype))
        layers["stem"] = x
        last = max(sum(self.stage_blocks) - 1, 1)
        before = 0
        for i, (blocks, width) in enumerate(zip(self.stage_blocks, self.stage_widths, strict=True)):
            name = f"stage_{i + 1}"
            x = _Stage(
                rates=tuple(self.drop_path * (before + j) / last for j in range(blocks)),
                width=width,
                stride=1 if i == 0 else 2,
                remat=self.remat,
                **self._style(),
                name=name,
            )(x, trains(train, name))
            layers[name] = x
            before += blocks
        x = _Final(**self._style(), name="final")(x)
        layers["final"] = x
        return Features(
            pooled=x.astype(jnp.float32).mean((1, 2)),
            # The last stage's map is the one that was normalised.
            maps=tuple(layers[name] for name in (*self.layer_names[1:-2], "final")),
            layers=layers,
        )


class _StandardizedConv(Conv):
    """A convolution whose kernel has mean 0 and variance 1 for every output channel.

    Attributes:
        epsilon: Added to the variance of a kernel.
    """

    epsilon: float = 1e-10

    def weighed(self, kernel: Float[Array, "r s c o"]) -> Float[Array, "r s c o"]:
        kernel = kernel - kernel.mean((0, 1, 2), keepdims=True)
        variance = jnp.square(kernel).mean((0, 1, 2), keepdims=True)
        return kernel * jax.lax.rsqrt(variance + self.epsilon)


class _Styled(nn.Module):
    """What all parts of one network share."""

    norm_groups: int
    norm_epsilon: float
    kernel_epsilon: float
    dtype: str

    def _conv(self, features: int, size: int, stride: int, name: str) -> Conv:
        return _StandardizedConv(
            features,
            (size, size),
            stride,
            dtype=self.dtype,
            epsilon=self.kernel_epsilon,
            name=name,
        )

    def _activated(self, x: Float[Array, "b h w c"], name: str) -> Float[Array, "b h w c"]:
        norm = GroupNorm(self.norm_groups, self.norm_epsilon, dtype=self.dtype, name=name)
        return nn.relu(norm(x, False))


class _Stem(_Styled):
    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h_out w_out c_out"]:
        x = self._conv(self.width, 7, 2, "conv")(x)
        # Nothing is activated yet: the zeros of the border can be the largest.
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        return max_pool(x, 3, 2, "valid")


class _Final(_Styled):
    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        return self._activated(x, "norm")


class _Stage(_Styled):
    rates: tuple[float, ...]
    width: int
    stride: int
    remat: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool
    ) -> Float[Array, "b h_out w_out c_out"]:
        # Argument 2 is `train`, which decides what is traced.
        block_class = nn.remat(_Block, static_argnums=(2,)) if self.remat else _Block
        for j, rate in enumerate(self.rates):
            x = block_class(
                width=self.width,
                stride=self.stride if j == 0 else 1,
                rate=rate,
                norm_groups=self.norm_groups,
                norm_epsilon=self.norm_epsilon,
                kernel_epsilon=self.kernel_epsilon,
                dtype=self.dtype,
                name=f"block_{j + 1:02d}",
            )(x, train)
        return x


class _Block(_Styled):
    width: int
    stride: int
    rate: float

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool
    ) -> Float[Array, "b h_out w_out c_out"]:
        out = _EXPANSION * self.width
        y = self._activated(x, "norm_1")
        if self.stride != 1 or x.shape[-1] != out:
            x = self._conv(out, 1, self.stride, "shortcut_conv")(y)
        y = self._conv(self.width, 1, 1, "conv_1")(y)
        y = self._conv(self.width, 3, self.stride, "conv_2")(self._activated(y, "norm_2"))
        y = self._conv(out, 1, 1, "conv_3")(self._activated(y, "norm_3"))
        return x + DropPath(self.rate, name="drop_path")(y, train)


def _published(blocks: tuple[int, ...], factor: int) -> dict[str, Any]:
    return {
        "stage_blocks": blocks,
        "stage_widths": tuple(factor * width for width in (64, 128, 256, 512)),
        "stem_width": 64 * factor,
    }


_DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
VARIANTS: dict[str, dict[str, Any]] = {
    f"bit-r{depth}x{factor}": _published(_DEPTHS[depth], factor)
    for depth, factor in ((50, 1), (50, 3), (101, 1), (101, 3), (152, 2), (152, 4))
}
"""The published networks: fields that differ from `BiT`'s defaults."""
