"""Transforms without chance: sizes, channels and numbers. Frozen values that print.

A transform takes an example (a dictionary with ``image`` [h w c]) and a generator, and returns a
new example. One that also has ``many`` does whole batches [b h w c] at once, bit for bit the same;
it may return None where it cannot.
"""

import dataclasses
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from tlearn.data.errors import DataError

Generators = list[np.random.Generator] | None
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
# ITU-R BT.601, what JPEG and PIL mean by luma.
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@runtime_checkable
class Transform(Protocol):
    """Anything that turns an example into another; frozen dataclasses print and compare well."""

    random: ClassVar[bool]
    """Whether it draws from the generator."""

    def __call__(self, example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Transforms one example; never changes the one it was given."""
        ...


class ImageTransform:
    """A transform of the pixels alone."""

    random: ClassVar[bool] = False

    def __call__(self, example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Transforms the image of one example."""
        return {**example, "image": self.image(example["image"], rng)}

    def image(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Transforms one picture [h w c]."""
        raise TypeError(f"{type(self).__name__} does not say what it does to a picture")

    def many(self, images: np.ndarray, rngs: Generators) -> np.ndarray | None:
        """Transforms a batch [b h w c], or returns None when it must go one by one."""
        return None


@dataclasses.dataclass(frozen=True)
class Resize(ImageTransform):
    """Resizes with PIL's anti-aliasing filters, as torchvision does to PIL pictures.

    A single ``size`` is the short side, in pixels; the other follows in proportion, rounded down. A
    pair is the exact (height, width).
    """

    size: int | tuple[int, int]
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        check_size(self, self.size)
        check_interpolation(self, self.interpolation)

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Computes the size that a picture of this size gets."""
        if isinstance(self.size, tuple):
            return self.size
        short, long = min(height, width), max(height, width)
        other = int(self.size * long / short)
        return (self.size, other) if height <= width else (other, self.size)

    def image(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Resizes one picture."""
        return resize(image, self.target(*image.shape[:2]), self.interpolation)

    def many(self, images: np.ndarray, rngs: Generators) -> np.ndarray | None:
        """Passes a batch that already has the size."""
        height, width = images.shape[1:3]
        return images if self.target(height, width) == (height, width) else None


@dataclasses.dataclass(frozen=True)
class CenterCrop(ImageTransform):
    """Cuts the middle out; of an odd rest the smaller half is cut off first (top and left)."""

    size: int | tuple[int, int]

    def __post_init__(self) -> None:
        check_size(self, self.size)

    def image(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Cuts the middle out of one picture."""
        return self.many(image[None], None)[0]

    def many(self, images: np.ndarray, rngs: Generators) -> np.ndarray:
        """Cuts the middle out of all pictures."""
        height, width = pair(self.size)
        high, wide = images.shape[1:3]
        if high < height or wide < width:
            raise DataError(
                f"{self} of a picture of {high} x {wide}: put Resize before it, or crop less"
            )
        top, left = (high - height) // 2, (wide - width) // 2
        return images[:, top : top + height, left : left + width]


@dataclasses.dataclass(frozen=True)
class ToChannels(ImageTransform):
    """Makes 1 or 3 channels: grey is repeated three times, colours become their luma (BT.601)."""

    channels: int

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise DataError(f"{self}: pictures become 1 or 3 channels")

    def image(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Changes the channels of one picture."""
        return self.many(image[None], None)[0]

    def many(self, images: np.ndarray, rngs: Generators) -> np.ndarray:
        """Changes the channels of all pictures."""
        have = images.shape[-1]
        if have == self.channels:
            return images
        if have == 1:
            return np.repeat(images, 3, axis=-1)
        if have != 3:
            raise DataError(f"{self} of a picture with {have} channels; expected 1 or 3")
        scaled = images.astype(np.float32) * _LUMA
        # Added one by one: a matrix product may sum in another order for another batch size.
        luma = (scaled[..., 0:1] + scaled[..., 1:2]) + scaled[..., 2:3]
        return np.rint(luma).astype(np.uint8) if images.dtype == np.uint8 else luma


@dataclasses.dataclass(frozen=True)
class ToFloat(ImageTransform):
    """Makes float32: bytes 0..255 become 0..1, pixels that are float32 already stay as they are."""

    def image(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Converts one picture."""
        return self.many(image, None)

    def many(self, images: np.ndarray, rngs: Generators) -> np.ndarray:
        """Converts all pictures."""
        if images.dtype == np.float32:
            return images
        if images.dtype != np.uint8:
            raise DataError(f"{self} of {images.dtype} pixels; expected uint8 or float32")
        return images.astype(np.float32) / np.float32(255)


@dataclasses.dataclass(frozen=True)
class Normalise(ImageTransform):
    """Takes ``(image - mean) / std`` for every channel, on pixels 0..1 (after `ToFloat`)."""

    mean: tuple[float | int, ...]
    std: tuple[float | int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))
        if len(self.mean) != len(self.std) or not self.mean:
            raise DataError(f"{self}: mean and std must have one number a channel each")
        if min(self.std) <= 0:
            raise DataError(f"{self}: standard deviations must be above 0")

    def image(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Normalises one picture."""
        return self.many(image, None)

    def many(self, images: np.ndarray, rngs: Generators) -> np.ndarray:
        """Normalises all pictures."""
        if images.dtype != np.float32:
            raise DataError(f"{self} of {images.dtype} pixels: put ToFloat() before it")
        if images.shape[-1] != len(self.mean):
            raise DataError(
                f"{self} of a {images.shape[-1]}-channel picture: put "
                f"ToChannels({len(self.mean)}) before it, or give one mean and std for each channel"
            )
        shifted = images - np.array(self.mean, dtype=np.float32)
        shifted /= np.array(self.std, dtype=np.float32)
        return shifted


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """Reads a size as (height, width); a single number is a square."""
    return size if isinstance(size, tuple) else (size, size)


def make_floats(transform: object, *fields: str) -> None:
    """Makes fields floats, so that 9 and 9.0 are one setting with one digest."""
    for field in fields:
        object.__setattr__(transform, field, float(getattr(transform, field)))


def check_size(transform: object, size: int | tuple[int, int]) -> None:
    """Raises unless a size is one or two whole numbers from 1 up."""
    sides = size if isinstance(size, tuple) else (size,)
    if len(sides) > 2 or not all(isinstance(side, int) and side >= 1 for side in sides):
        raise DataError(f"{transform}: size {size!r} is no number of pixels, nor a pair of them")


def check_interpolation(transform: object, interpolation: str) -> None:
    """Raises unless an interpolation is known."""
    if interpolation not in _INTERPOLATIONS:
        raise DataError(
            f"{transform}: interpolation {interpolation!r} is none of {', '.join(_INTERPOLATIONS)}"
        )


def resize(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """Resizes one picture [h w c] to an exact (height, width) with PIL."""
    if image.shape[:2] == size:
        return image
    from PIL import Image

    method = Image.Resampling[interpolation.upper()]
    swapped = (size[1], size[0])
    if image.dtype == np.uint8 and image.shape[-1] == 3:
        return np.array(Image.fromarray(image).resize(swapped, method), dtype=np.uint8)
    planes = [
        np.array(Image.fromarray(np.ascontiguousarray(plane)).resize(swapped, method), image.dtype)
        for plane in np.moveaxis(image, -1, 0)
    ]
    return np.stack(planes, axis=-1)
