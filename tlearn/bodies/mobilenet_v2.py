"""MobileNetV2: inverted residuals with depthwise convolutions.

Shapes: b batch, h w pixels, c channels, d width.

Reference: Sandler et al. 2018; block layout and rounding as in the published torch weights.
"""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from tlearn.bodies.checks import check_channels, check_choices
from tlearn.bodies.convolution import Conv
from tlearn.bodies.features import Features, trains
from tlearn.bodies.norm import BatchNorm, DropPath

# Expansion, width, blocks, stride: table 2 of the paper.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def round_width(width: float | int, multiple: int = 8) -> int:
    """Rounds a channel count to a multiple, never losing more than a tenth of it.

    Example:
        >>> round_width(32 * 0.75), round_width(16 * 0.35), round_width(24 * 0.5)
        (24, 8, 16)
    """
    rounded = max(multiple, int(width + multiple / 2) // multiple * multiple)
    return rounded + multiple if rounded < 0.9 * width else rounded


class MobileNetV2(nn.Module):
    """MobileNetV2 of any width.

    Attributes:
        width_multiplier: Scales the channels of every layer; the last one never shrinks below
            ``final_width``.
        stages: Per stage: expansion, width, blocks, stride.
        stem_width: Channels after the stem, before scaling.
        final_width: Channels after the last 1x1 convolution, before scaling.
        in_channels: Channels of the pictures.
        norm_epsilon: Added to variances.
        norm_momentum: Share of the running statistics that a step keeps.
        drop_path: Chance of dropping the last block's branch; grows linearly from 0 at the first.
        padding: ``torch`` (half the kernel on each side) or ``same`` (TensorFlow's).
        dtype: What to compute in: ``float32`` or ``bfloat16``. Parameters stay float32.
        remat: Recompute each block in the backward pass instead of keeping its activations.
    """

    width_multiplier: float = 1.0
    stages: tuple[tuple[int, int, int, int], ...] = _STAGES
    stem_width: int = 32
    final_width: int = 1280
    in_channels: int = 3
    norm_epsilon: float = 1e-5
    norm_momentum: float = 0.9
    drop_path: float = 0.0
    padding: str = "torch"
    dtype: str = "float32"
    remat: bool = False

    family: ClassVar[str] = "mobilenet_v2"
    inputs: ClassVar[tuple[str, ...]] = ("image",)

    def __post_init__(self) -> None:
        problems = check_choices(self, padding=("torch", "same"), dtype=("float32", "bfloat16"))
        if self.width_multiplier <= 0:
            problems.append(f"width_multiplier must be positive, got {self.width_multiplier}")
        if not self.stages or any(len(s) != 4 or min(s) < 1 for s in self.stages):
            problems.append(
                "stages holds (expansion, width, blocks, stride), each at least 1, "
                f"got {self.stages}"
            )
        if not 0.0 <= self.drop_path < 1.0:
            problems.append(f"drop_path is a chance in [0, 1), got {self.drop_path}")
        if problems:
            raise ValueError("this MobileNetV2 cannot be built: " + "; ".join(problems))
        super().__post_init__()

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers from input to output."""
        return ("stem", *(f"stage_{i + 1}" for i in range(len(self.stages))), "final")

    @property
    def feature_width(self) -> int:
        """Width of `Features.pooled`."""
        return round_width(self.final_width * max(1.0, self.width_multiplier))

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
        check_channels("MobileNetV2", image.shape[-1], self.in_channels)
        style = {
            "norm_epsilon": self.norm_epsilon,
            "norm_momentum": self.norm_momentum,
            "padding": self.padding,
            "dtype": self.dtype,
        }
        layers: dict[str, Array] = {}
        x = _Single(
            width=round_width(self.stem_width * self.width_multiplier),
            size=3,
            stride=2,
            **style,
            name="stem",
        )(image.astype(self.dtype), trains(train, "stem"))
        layers["stem"] = x
        last = max(sum(blocks for _, _, blocks, _ in self.stages) - 1, 1)
        before = 0
        for i, (expansion, width, blocks, stride) in enumerate(self.stages):
            name = f"stage_{i + 1}"
            x = _Stage(
                expansion=expansion,
                width=round_width(width * self.width_multiplier),
                stride=stride,
                rates=tuple(self.drop_path * (before + j) / last for j in range(blocks)),
                remat=self.remat,
                **style,
                name=name,
            )(x, trains(train, name))
            layers[name] = x
            before += blocks
        x = _Single(width=self.feature_width, size=1, stride=1, **style, name="final")(
            x, trains(train, "final")
        )
        layers["final"] = x
        return Features(
            pooled=x.astype(jnp.float32).mean((1, 2)),
            maps=self._maps(layers),
            layers=layers,
        )

    def _maps(self, layers: dict[str, Array]) -> tuple[Array, ...]:
        """Picks the deepest output of every resolution."""
        by_rows: dict[int, Array] = {}
        for name in self.layer_names:
            by_rows[layers[name].shape[1]] = layers[name]
        return tuple(by_rows.values())


class _Styled(nn.Module):
    """What all parts of one network share."""

    norm_epsilon: float
    norm_momentum: float
    padding: str
    dtype: str

    def _conv_norm(
        self,
        x: Float[Array, "b h w c"],
        train: bool,
        width: int,
        size: int = 1,
        stride: int = 1,
        groups: int = 1,
        prefix: str = "",
    ) -> Float[Array, "b _ _ _"]:
        x = Conv(
            width,
            (size, size),
            stride,
            self.padding,
            groups,
            dtype=self.dtype,
            name=f"{prefix}conv",
        )(x)
        return BatchNorm(
            self.norm_epsilon, self.norm_momentum, dtype=self.dtype, name=f"{prefix}norm"
        )(x, train)


class _Single(_Styled):
    """One convolution, normalised and clipped: stem and final layer."""

    width: int
    size: int
    stride: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool
    ) -> Float[Array, "b h_out w_out c_out"]:
        return nn.relu6(self._conv_norm(x, train, self.width, self.size, self.stride))


class _Stage(_Styled):
    expansion: int
    width: int
    stride: int
    rates: tuple[float, ...]
    remat: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool
    ) -> Float[Array, "b h_out w_out c_out"]:
        # Argument 2 is `train`, which decides what is traced.
        block_class = nn.remat(_Block, static_argnums=(2,)) if self.remat else _Block
        for j, rate in enumerate(self.rates):
            x = block_class(
                expansion=self.expansion,
                width=self.width,
                stride=self.stride if j == 0 else 1,
                rate=rate,
                norm_epsilon=self.norm_epsilon,
                norm_momentum=self.norm_momentum,
                padding=self.padding,
                dtype=self.dtype,
                name=f"block_{j + 1:02d}",
            )(x, train)
        return x


class _Block(_Styled):
    """Expand, filter by channel, project; the projection has no ReLU."""

    expansion: int
    width: int
    stride: int
    rate: float

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool
    ) -> Float[Array, "b h_out w_out c_out"]:
        y = x
        hidden = x.shape[-1] * self.expansion
        if self.expansion != 1:
            y = nn.relu6(self._conv_norm(y, train, hidden, prefix="expand_"))
        y = self._conv_norm(y, train, hidden, 3, self.stride, hidden, prefix="depthwise_")
        y = self._conv_norm(nn.relu6(y), train, self.width, prefix="project_")
        if self.stride == 1 and x.shape[-1] == self.width:
            return x + DropPath(self.rate, name="drop_path")(y, train)
        return y
