"""Transforms by chance: crops, flips and colour. All they draw comes from the generator given."""

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np

from tlearn.data.errors import DataError
from tlearn.data.transforms import (
    Generators,
    ImageTransform,
    check_interpolation,
    check_size,
    make_floats,
    pair,
    resize,
)


@dataclasses.dataclass(frozen=True)
class RandomCrop(ImageTransform):
    """Cuts a window out at random, after a border of ``padding`` pixels was added on every side.

    ``border`` says what the border holds: "zeros", or "reflect" for the picture mirrored.
    """

    random: ClassVar[bool] = True
    size: int | tuple[int, int]
    padding: int = 0
    border: str = "zeros"

    def __post_init__(self) -> None:
        check_size(self, self.size)
        if self.padding < 0 or self.border not in ("zeros", "reflect"):
            raise DataError(f"{self}: padding is 0 or more pixels of 'zeros' or 'reflect'")

    def image(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Cuts a window out of one picture."""
        return self.many(image[None], [rng])[0]

    def many(self, images: np.ndarray, rngs: Generators) -> np.ndarray:
        """Cuts a window out of every picture, each at a place of its own."""
        height, width = pair(self.size)
        if self.padding:
            edge = (self.padding, self.padding)
            mode: Any = {"zeros": "constant", "reflect": "reflect"}[self.border]
            images = np.pad(images, ((0, 0), edge, edge, (0, 0)), mode=mode)
        high, wide = images.shape[1:3]
        if high < height or wide < width:
            raise DataError(
                f"{self} of a picture of {high} x {wide}, border included: put Resize before it, "
                "or pad more"
            )
        out = np.empty((len(images), height, width, images.shape[3]), images.dtype)
        for row, rng in enumerate(rngs or []):
            top = int(rng.integers(high - height + 1))
            left = int(rng.integers(wide - width + 1))
            out[row] = images[row, top : top + height, left : left + width]
        return out


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop(ImageTransform):
    """Cuts a window of random area and shape out and resizes it to ``size``.

    Szegedy et al., Going deeper with convolutions, 2015: the window has ``scale`` of the area and
    a width to height ratio drawn log-uniformly from ``ratio``. A window that does not fit is drawn
    again, up to ten times; then the largest one in the middle with an allowed ratio is taken.
    """

    random: ClassVar[bool] = True
    size: int | tuple[int, int]
    scale: tuple[float | int, float | int] = (0.08, 1.0)
    ratio: tuple[float | int, float | int] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        for field in ("scale", "ratio"):
            low, high = getattr(self, field)
            object.__setattr__(self, field, (float(low), float(high)))
        check_size(self, self.size)
        check_interpolation(self, self.interpolation)
        if not 0 < self.scale[0] <= self.scale[1] <= 1 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise DataError(f"{self}: scale is a range inside 0..1, ratio a range above 0")

    def window(
        self, height: int, width: int, rng: np.random.Generator
    ) -> tuple[int, int, int, int]:
        """Draws a window: top, left, height, width."""
        low, high = (math.log(bound) for bound in self.ratio)
        for _ in range(10):
            area = height * width * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(low, high))
            wide, tall = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < wide <= width and 0 < tall <= height:
                top = int(rng.integers(height - tall + 1))
                return top, int(rng.integers(width - wide + 1)), tall, wide
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        wide = max(1, min(width, round(height * ratio)))
        tall = max(1, min(height, round(wide / ratio)))
        return (height - tall) // 2, (width - wide) // 2, tall, wide

    def image(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Cuts and resizes one picture."""
        top, left, tall, wide = self.window(image.shape[0], image.shape[1], rng)
        cut = image[top : top + tall, left : left + wide]
        return resize(cut, pair(self.size), self.interpolation)


@dataclasses.dataclass(frozen=True)
class FlipLR(ImageTransform):
    """Mirrors left and right with a probability."""

    random: ClassVar[bool] = True
    probability: float | int = 0.5

    def __post_init__(self) -> None:
        make_floats(self, "probability")
        if not 0 <= self.probability <= 1:
            raise DataError(f"{self}: a probability lies in 0..1")

    def image(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Perhaps mirrors one picture."""
        return image[:, ::-1] if rng.random() < self.probability else image

    def many(self, images: np.ndarray, rngs: Generators) -> np.ndarray:
        """Mirrors some of the pictures."""
        flip = np.array([rng.random() < self.probability for rng in rngs or []], dtype=bool)
        out = images.copy()
        out[flip] = images[flip, :, ::-1]
        return out


@dataclasses.dataclass(frozen=True)
class ColorJitter(ImageTransform):
    """Changes brightness, contrast and saturation in random order, by factors from 1 - x to 1 + x.

    On bytes, before `ToFloat`. Grey pictures have no saturation to change.
    """

    random: ClassVar[bool] = True
    brightness: float | int = 0.0
    contrast: float | int = 0.0
    saturation: float | int = 0.0

    def __post_init__(self) -> None:
        make_floats(self, "brightness", "contrast", "saturation")
        if min(self.brightness, self.contrast, self.saturation) < 0:
            raise DataError(f"{self}: strengths are 0 or more")

    def image(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Changes the colours of one picture."""
        from PIL import ImageEnhance

        picture = to_pil(image, self)
        changes = (
            (ImageEnhance.Brightness, self.brightness),
            (ImageEnhance.Contrast, self.contrast),
            (ImageEnhance.Color, self.saturation),
        )
        for place in rng.permutation(len(changes)):
            enhance, strength = changes[place]
            factor = rng.uniform(max(0.0, 1 - strength), 1 + strength)
            if strength:
                picture = enhance(picture).enhance(factor)
        return from_pil(picture)


def to_pil(image: np.ndarray, transform: object) -> Any:
    """Makes a PIL picture of bytes with 1 or 3 channels; anything else is an error."""
    from PIL import Image

    if image.dtype != np.uint8:
        raise DataError(
            f"{transform} needs uint8 pixels, got {image.dtype}: put it before ToFloat()"
        )
    if image.shape[-1] not in (1, 3):
        raise DataError(f"{transform} needs 1 or 3 channels, got {image.shape[-1]}")
    flat = image[..., 0] if image.shape[-1] == 1 else image
    return Image.fromarray(np.ascontiguousarray(flat))


def from_pil(picture: Any) -> np.ndarray:
    """Makes an array [h w c] of a PIL picture."""
    pixels = np.array(picture, dtype=np.uint8)
    return pixels if pixels.ndim == 3 else pixels[..., None]
