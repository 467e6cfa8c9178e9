"""Residual networks: the CIFAR family, the ImageNet family, and any smaller one by config.

Shapes: b batch, h w pixels, c channels, d width.

References: He et al. 2016 (both families, shortcut options A and B); the ImageNet bottleneck
strides in its 3x3 convolution ("v1.5"), as the published torch weights do.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from tlearn.bodies.checks import check_channels, check_choices
from tlearn.bodies.convolution import Conv
from tlearn.bodies.features import Features, trains
from tlearn.bodies.norm import BatchNorm, DropPath, GroupNorm
from tlearn.bodies.pool import max_pool

_EXPANSION = {"basic": 1, "bottleneck": 4}


class ResNet(nn.Module):
    """A residual network of any depth and width.

    Attributes:
        stage_blocks: Blocks in every stage. All stages but the first halve the map.
        stage_widths: Channels of every stage; a bottleneck stage puts out four times as many.
        block: ``basic`` (two 3x3) or ``bottleneck`` (1x1, 3x3, 1x1).
        stem: ``cifar`` (3x3), ``small`` (3x3, stride 2) or ``imagenet`` (7x7, stride 2, then a 3x3
            maximum, stride 2).
        stem_width: Channels after the stem.
        shortcut: Where a block changes shape: ``A`` (every other pixel, zero channels added; no
            parameters) or ``B`` (1x1 convolution and normalisation).
        in_channels: Channels of the pictures.
        norm: ``batch`` or ``group``.
        norm_groups: Groups of a group normalisation.
        norm_epsilon: Added to variances.
        norm_momentum: Share of the running statistics that a step keeps.
        drop_path: Chance of dropping the last block's branch; grows linearly from 0 at the first.
        zero_init_residual: Start every branch's last normalisation at scale 0.
        padding: ``torch`` (half the kernel on each side) or ``same`` (TensorFlow's).
        dtype: What to compute in: ``float32`` or ``bfloat16``. Parameters stay float32.
        remat: Recompute each block in the backward pass instead of keeping its activations.
    """

    stage_blocks: tuple[int, ...] = (3, 3, 3)
    stage_widths: tuple[int, ...] = (16, 32, 64)
    block: str = "basic"
    stem: str = "cifar"
    stem_width: int = 16
    shortcut: str = "A"
    in_channels: int = 3
    norm: str = "batch"
    norm_groups: int = 32
    norm_epsilon: float = 1e-5
    norm_momentum: float = 0.9
    drop_path: float = 0.0
    zero_init_residual: bool = False
    padding: str = "torch"
    dtype: str = "float32"
    remat: bool = False

    family: ClassVar[str] = "resnet"
    inputs: ClassVar[tuple[str, ...]] = ("image",)

    def __post_init__(self) -> None:
        problems = check_choices(
            self,
            block=("basic", "bottleneck"),
            stem=("cifar", "small", "imagenet"),
            shortcut=("A", "B"),
            norm=("batch", "group"),
            padding=("torch", "same"),
            dtype=("float32", "bfloat16"),
        )
        if len(self.stage_blocks) != len(self.stage_widths) or not self.stage_blocks:
            problems.append(
                f"stage_blocks={self.stage_blocks} and stage_widths={self.stage_widths} must have "
                "one entry a stage, and at least one stage"
            )
        if any(value < 1 for value in (*self.stage_blocks, *self.stage_widths, self.stem_width)):
            problems.append("stage_blocks, stage_widths and stem_width must be at least 1")
        if not 0.0 <= self.drop_path < 1.0:
            problems.append(f"drop_path is a chance in [0, 1), got {self.drop_path}")
        if problems:
            raise ValueError("this ResNet cannot be built: " + "; ".join(problems))
        super().__post_init__()

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers from input to output."""
        return ("stem", *(f"stage_{i + 1}" for i in range(len(self.stage_blocks))))

    @property
    def feature_width(self) -> int:
        """Width of `Features.pooled`."""
        return self.stage_widths[-1] * _EXPANSION[self.block]

    def _style(self) -> dict[str, Any]:
        return {
            "norm": self.norm,
            "norm_groups": self.norm_groups,
            "norm_epsilon": self.norm_epsilon,
            "norm_momentum": self.norm_momentum,
            "padding": self.padding,
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
        check_channels("ResNet", image.shape[-1], self.in_channels)
        layers: dict[str, Array] = {}
        x = _Stem(kind=self.stem, width=self.stem_width, **self._style(), name="stem")(
            image.astype(self.dtype), trains(train, "stem")
        )
        layers["stem"] = x
        total = sum(self.stage_blocks)
        before = 0
        for i, (blocks, width) in enumerate(zip(self.stage_blocks, self.stage_widths, strict=True)):
            name = f"stage_{i + 1}"
            last = max(total - 1, 1)
            x = _Stage(
                rates=tuple(self.drop_path * (before + j) / last for j in range(blocks)),
                width=width,
                block=self.block,
                stride=1 if i == 0 else 2,
                shortcut=self.shortcut,
                zero_init_residual=self.zero_init_residual,
                remat=self.remat,
                **self._style(),
                name=name,
            )(x, trains(train, name))
            layers[name] = x
            before += blocks
        return Features(
            pooled=x.astype(jnp.float32).mean((1, 2)),
            maps=tuple(layers[name] for name in self.layer_names[1:]),
            layers=layers,
        )


class _Styled(nn.Module):
    """What all parts of one network share."""

    norm: str
    norm_groups: int
    norm_epsilon: float
    norm_momentum: float
    padding: str
    dtype: str

    def _conv(self, features: int, size: int, stride: int, name: str) -> Conv:
        return Conv(features, (size, size), stride, self.padding, dtype=self.dtype, name=name)

    def _norm(self, name: str, zero_scale: bool = False) -> BatchNorm | GroupNorm:
        if self.norm == "group":
            return GroupNorm(self.norm_groups, self.norm_epsilon, zero_scale, self.dtype, name=name)
        return BatchNorm(self.norm_epsilon, self.norm_momentum, zero_scale, self.dtype, name=name)


class _Stem(_Styled):
    kind: str
    width: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool
    ) -> Float[Array, "b h_out w_out c_out"]:
        size, stride = {"cifar": (3, 1), "small": (3, 2), "imagenet": (7, 2)}[self.kind]
        x = self._conv(self.width, size, stride, "conv")(x)
        x = nn.relu(self._norm("norm")(x, train))
        return max_pool(x, 3, 2, self.padding) if self.kind == "imagenet" else x


class _Stage(_Styled):
    rates: tuple[float, ...]
    width: int
    block: str
    stride: int
    shortcut: str
    zero_init_residual: bool
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
                bottleneck=self.block == "bottleneck",
                stride=self.stride if j == 0 else 1,
                shortcut=self.shortcut,
                zero_init_residual=self.zero_init_residual,
                rate=rate,
                norm=self.norm,
                norm_groups=self.norm_groups,
                norm_epsilon=self.norm_epsilon,
                norm_momentum=self.norm_momentum,
                padding=self.padding,
                dtype=self.dtype,
                name=f"block_{j + 1:02d}",
            )(x, train)
        return x


class _Block(_Styled):
    width: int
    bottleneck: bool
    stride: int
    shortcut: str
    zero_init_residual: bool
    rate: float

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool
    ) -> Float[Array, "b h_out w_out c_out"]:
        zero = self.zero_init_residual
        if self.bottleneck:
            out = 4 * self.width
            y = self._conv(self.width, 1, 1, "conv_1")(x)
            y = nn.relu(self._norm("norm_1")(y, train))
            y = self._conv(self.width, 3, self.stride, "conv_2")(y)
            y = nn.relu(self._norm("norm_2")(y, train))
            y = self._conv(out, 1, 1, "conv_3")(y)
            y = self._norm("norm_3", zero)(y, train)
        else:
            out = self.width
            y = self._conv(out, 3, self.stride, "conv_1")(x)
            y = nn.relu(self._norm("norm_1")(y, train))
            y = self._conv(out, 3, 1, "conv_2")(y)
            y = self._norm("norm_2", zero)(y, train)
        if self.stride != 1 or x.shape[-1] != out:
            if self.shortcut == "B":
                x = self._conv(out, 1, self.stride, "shortcut_conv")(x)
                x = self._norm("shortcut_norm")(x, train)
            else:
                x = _subsample(x, out, self.stride)
        return nn.relu(x + DropPath(self.rate, name="drop_path")(y, train))


def _subsample(x: Float[Array, "b h w c"], width: int, stride: int) -> Float[Array, "b _ _ _"]:
    """Takes every stride-th pixel and adds zero channels on both sides (option A)."""
    extra = width - x.shape[-1]
    if extra < 0:
        raise ValueError(
            f"shortcut 'A' can only add channels, but a block goes from {x.shape[-1]} to {width}: "
            "use shortcut='B'"
        )
    before = extra // 2
    x = x[:, ::stride, ::stride]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (before, extra - before)))


def _cifar(depth: int) -> dict[str, Any]:
    return {"stage_blocks": ((depth - 2) // 6,) * 3}


def _imagenet(blocks: tuple[int, ...], block: str) -> dict[str, Any]:
    return {
        "stage_blocks": blocks,
        "stage_widths": (64, 128, 256, 512),
        "block": block,
        "stem": "imagenet",
        "stem_width": 64,
        "shortcut": "B",
    }


VARIANTS: dict[str, dict[str, Any]] = {
    **{f"resnet{depth}": _cifar(depth) for depth in (20, 32, 44, 56, 110)},
    "resnet18": _imagenet((2, 2, 2, 2), "basic"),
    "resnet34": _imagenet((3, 4, 6, 3), "basic"),
    "resnet50": _imagenet((3, 4, 6, 3), "bottleneck"),
    "resnet101": _imagenet((3, 4, 23, 3), "bottleneck"),
    "resnet152": _imagenet((3, 8, 36, 3), "bottleneck"),
}
"""The published networks: fields that differ from `ResNet`'s defaults."""
