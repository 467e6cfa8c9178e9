"""Plain convolutional networks: a row of steps, as in a Keras Sequential model.

Shapes: b batch, h w pixels, c channels.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from tlearn.bodies.activations import ACTIVATIONS
from tlearn.bodies.checks import check_channels, check_choices
from tlearn.bodies.convolution import Conv
from tlearn.bodies.features import Features, trains
from tlearn.bodies.norm import BatchNorm
from tlearn.bodies.pool import max_pool

Step = tuple[Any, ...]

STEPS: dict[str, tuple[type, ...]] = {
    "conv": (int, int, int, str),
    "norm": (float,),
    "dense": (int,),
    "activation": (str,),
    "max_pool": (int, int, str),
    "mean_pool": (int, int),
    "global_mean": (),
    "flatten": (),
    "dropout": (float,),
}
"""What a step may be, and its arguments: conv (width, side, stride, padding), norm (epsilon), dense
(width), activation (name), max_pool (side, stride, padding), mean_pool (side, stride), dropout
(rate)."""

_WITH_PARAMETERS = ("conv", "norm", "dense")


class ConvNet(nn.Module):
    """A row of steps. Each step with parameters begins a layer: ``layer_01``, ``layer_02``, ...

    Attributes:
        steps: ``(kind, *arguments)`` as in `STEPS`; the last must leave one vector an example.
        image_size: Rows and columns of the pictures: the width after ``flatten`` depends on it.
        in_channels: Channels of a picture.
        dtype: What to compute in: ``float32`` or ``bfloat16``. Parameters stay float32.
    """

    steps: tuple[Step, ...]
    image_size: tuple[int, int]
    in_channels: int = 3
    dtype: str = "float32"

    family: ClassVar[str] = "convnet"
    inputs: ClassVar[tuple[str, ...]] = ("image",)

    def __post_init__(self) -> None:
        problems = check_choices(self, dtype=("float32", "bfloat16"))
        if len(self.image_size) != 2 or min(self.image_size) < 1 or self.in_channels < 1:
            problems.append(
                f"image_size is (rows, columns) and in_channels a number, got {self.image_size} "
                f"and {self.in_channels}"
            )
        for place, step in enumerate(self.steps):
            problems += [f"step {place}, {step!r}, {fault}" for fault in _faults(step)]
        if not any(step and step[0] in _WITH_PARAMETERS for step in self.steps):
            problems.append("no step has parameters")
        if problems:
            raise ValueError("this convolutional network cannot be built: " + "; ".join(problems))
        super().__post_init__()

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The layers from input to output."""
        return tuple(name for name, _ in grouped(self.steps))

    @property
    def feature_width(self) -> int:
        """Width of `Features.pooled`."""
        width, (rows, columns) = self.in_channels, self.image_size
        for kind, *arguments in self.steps:
            if kind in ("conv", "dense"):
                width = arguments[0]
            if kind in ("conv", "max_pool", "mean_pool"):
                side, stride = arguments[-3:-1] if kind != "mean_pool" else arguments
                valid = kind == "mean_pool" or arguments[-1] == "valid"
                rows, columns = (
                    -(-(n - (side - 1 if valid else 0)) // stride) for n in (rows, columns)
                )
            if kind == "flatten":
                width *= rows * columns
        return width

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], *, train: bool | frozenset[str] = False
    ) -> Features:
        """Computes the features of pictures of the body's size.

        Args:
            image: Pictures, channels last.
            train: True, False, or the names of the layers that run in training mode.

        Raises:
            ValueError: If the pictures have other channels or another size than the body.
        """
        check_channels("ConvNet", image.shape[-1], self.in_channels)
        if image.shape[1:3] != tuple(self.image_size):
            raise ValueError(
                f"pictures of {image.shape[1]}x{image.shape[2]} pixels, but this network is for "
                f"{self.image_size[0]}x{self.image_size[1]}: say size={self.image_size[0]}"
            )
        layers: dict[str, Array] = {}
        x: Any = image.astype(self.dtype)
        for name, steps in grouped(self.steps):
            x = _Layer(steps, self.dtype, name=name)(x, trains(train, name))
            layers[name] = x
        return Features(pooled=x.astype(jnp.float32), layers=layers)


class _Layer(nn.Module):
    """One step with parameters, and those without that follow it."""

    steps: tuple[Step, ...]
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "..."], train: bool) -> Float[Array, "..."]:
        for place, (kind, *arguments) in enumerate(self.steps):
            if kind == "conv":
                width, side, stride, padding = arguments
                x = Conv(width, (side, side), stride, padding, 1, True, self.dtype, name="conv")(x)
            elif kind == "norm":
                x = BatchNorm(arguments[0], 0.99, dtype=self.dtype, name="norm")(x, train)
            elif kind == "dense":
                x = nn.Dense(arguments[0], dtype=self.dtype, name="dense")(x)
            elif kind == "activation":
                x = ACTIVATIONS[arguments[0]](x)
            elif kind == "max_pool":
                x = max_pool(x, *arguments)
            elif kind == "mean_pool":
                side, stride = arguments
                x = nn.avg_pool(x, (side, side), (stride, stride))
            elif kind == "global_mean":
                x = x.mean((1, 2))
            elif kind == "flatten":
                x = x.reshape(len(x), -1)
            else:
                x = nn.Dropout(arguments[0], name=f"dropout_{place}")(x, deterministic=not train)
        return x


def grouped(steps: tuple[Step, ...]) -> list[tuple[str, tuple[Step, ...]]]:
    """Parts a row of steps into layers, each with at most one step that has parameters."""
    groups: list[list[Step]] = [[]]
    for step in steps:
        if step[0] in _WITH_PARAMETERS and any(s[0] in _WITH_PARAMETERS for s in groups[-1]):
            groups.append([])
        groups[-1].append(step)
    return [(f"layer_{i + 1:02d}", tuple(group)) for i, group in enumerate(groups)]


def _faults(step: Any) -> list[str]:
    if not isinstance(step, tuple) or not step or step[0] not in STEPS:
        return [f"is none of {list(STEPS)}"]
    kind, *arguments = step
    wanted = STEPS[kind]
    if len(arguments) != len(wanted) or any(
        not isinstance(value, (int, float) if t is float else t)
        for value, t in zip(arguments, wanted, strict=True)
    ):
        return [f"takes {[t.__name__ for t in wanted]}"]
    numbers = [value for value in arguments if isinstance(value, int)]
    if any(value < 1 for value in numbers) and kind not in ("dropout", "norm"):
        return ["has a size below 1"]
    if kind in ("conv", "max_pool") and arguments[-1] not in ("same", "valid"):
        return ["has a padding that is neither 'same' nor 'valid'"]
    if kind == "activation" and arguments[0] not in ACTIVATIONS:
        return [f"is no activation of {list(ACTIVATIONS)}"]
    if kind == "dropout" and not 0 <= arguments[0] < 1:
        return ["drops a share outside [0, 1)"]
    return []
