"""Pipelines: transforms in a row, as values that print, and the two that are used most."""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from tlearn.data.augment import ColorJitter, FlipLR, RandomCrop, RandomResizedCrop
from tlearn.data.erasing import RandomErasing
from tlearn.data.errors import DataError
from tlearn.data.randaugment import RandAugment
from tlearn.data.transforms import CenterCrop, Normalise, Resize, ToChannels, ToFloat, Transform

Floats: TypeAlias = Sequence[float] | Sequence[int] | np.ndarray


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """Transforms applied one after the other."""

    transforms: tuple[Transform, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "transforms", tuple(self.transforms))
        for transform in self.transforms:
            if not callable(transform) or not hasattr(transform, "random"):
                raise DataError(
                    f"{transform!r} is no transform: it must be callable with (example, rng) and "
                    "say whether it is `random`"
                )

    @property
    def random(self) -> bool:
        """Whether any transform draws random numbers."""
        return any(transform.random for transform in self.transforms)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of what the pipeline prints as: the same settings, the same digest."""
        return hashlib.sha256(repr(self.transforms).encode()).hexdigest()

    def __call__(
        self, example: dict[str, Any], rng: np.random.Generator | None = None
    ) -> dict[str, Any]:
        """Transforms one example; the one given is left alone.

        Raises:
            DataError: If the pipeline is random and no generator is given.
        """
        if rng is None:
            if self.random:
                raise DataError(f"this pipeline draws random numbers and needs a generator: {self}")
            rng = np.random.default_rng(0)
        for transform in self.transforms:
            example = transform(example, rng)
        return example

    def many(self, images: np.ndarray, rngs: list[np.random.Generator] | None) -> np.ndarray | None:
        """Transforms a batch [b h w c] at once, or returns None where it must go one by one.

        Bit for bit what `__call__` makes of each picture. Transforms that cannot do batches are
        found before anything is drawn only if they come first; so every generator must be opened
        anew when None is returned.
        """
        for transform in self.transforms:
            whole = getattr(transform, "many", None)
            done = None if whole is None else whole(images, rngs)
            if done is None:
                return None
            images = done
        return images

    def __str__(self) -> str:
        return " > ".join(map(repr, self.transforms)) or "(nothing)"


def eval_pipeline(
    *,
    mean: Floats,
    std: Floats,
    size: int,
    crop: float | int = 1.0,
    interpolation: str = "bilinear",
    channels: int | None = None,
) -> Pipeline:
    """Builds the pipeline for pictures that are judged: resize, cut the middle out, normalise.

    Args:
        mean: One number a channel, of pixels 0..1.
        std: The same.
        size: Side of the square that comes out, in pixels.
        crop: Share of the resized short side that ``size`` is: 0.875 resizes to size / 0.875.
        interpolation: "bilinear", "bicubic" or "nearest".
        channels: 1 or 3; by default as many as there are means.

    Raises:
        DataError: If a number makes no sense.
    """
    if not 0 < crop <= 1:
        raise DataError(f"crop {crop} is outside 0..1")
    return Pipeline(
        (
            Resize(math.floor(size / crop), interpolation),
            CenterCrop(size),
            *_numbers(mean, std, channels),
        )
    )


def train_pipeline(
    *,
    mean: Floats,
    std: Floats,
    size: int,
    crop: str = "resized",
    scale: tuple[float | int, float | int] = (0.08, 1.0),
    padding: int = 0,
    flip: bool = False,
    jitter: tuple[float | int, float | int, float | int] | None = None,
    randaugment: tuple[int, *tuple[float | int, ...]] | None = None,
    erase: float | int = 0.0,
    interpolation: str = "bilinear",
    channels: int | None = None,
) -> Pipeline:
    """Builds a pipeline for pictures that are learned from.

    Args:
        mean: One number a channel, of pixels 0..1.
        std: The same.
        size: Side of the square that comes out, in pixels.
        crop: "resized" for a window of random area and shape; "random" for the resized picture
            shifted, with ``padding``; "center" for no chance in it.
        scale: Area of the window, for "resized".
        padding: Border in pixels, for "random".
        flip: Mirror half of the pictures. Leave it off where left and right mean something: digits.
        jitter: Strengths for brightness, contrast and saturation.
        randaugment: Layers and magnitude, and the spread of magnitudes.
        erase: Chance of a window of noise.
        interpolation: "bilinear", "bicubic" or "nearest".
        channels: 1 or 3; by default as many as there are means.

    Raises:
        DataError: If ``crop`` is unknown or a number makes no sense.
    """
    if crop == "resized":
        cut: tuple[Transform, ...] = (RandomResizedCrop(size, scale, interpolation=interpolation),)
    elif crop == "random":
        cut = (Resize(size, interpolation), RandomCrop(size, padding))
    elif crop == "center":
        cut = (Resize(size, interpolation), CenterCrop(size))
    else:
        raise DataError(f"crop {crop!r} is none of 'resized', 'random', 'center'")
    if padding and crop != "random":
        raise DataError(f"padding {padding} has no effect with crop {crop!r}; use crop='random'")
    return Pipeline(
        (
            *cut,
            *([FlipLR()] if flip else []),
            *([RandAugment(*randaugment)] if randaugment else []),
            *([ColorJitter(*jitter)] if jitter else []),
            *_numbers(mean, std, channels),
            *([RandomErasing(erase)] if erase else []),
        )
    )


def _numbers(mean: Floats, std: Floats, channels: int | None) -> tuple[Transform, ...]:
    wanted = len(tuple(mean)) if channels is None else channels
    normalise = Normalise(tuple(mean), tuple(std))
    if wanted != len(normalise.mean):
        raise DataError(
            f"{wanted} channels, but mean and std have {len(normalise.mean)} numbers; give one a "
            "channel"
        )
    return (ToChannels(wanted), ToFloat(), normalise)
