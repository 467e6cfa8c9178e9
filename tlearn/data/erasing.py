"""Random erasing: a window of noise over a training picture."""

import dataclasses
import math
from typing import ClassVar

import numpy as np

from tlearn.data.errors import DataError
from tlearn.data.transforms import Generators, ImageTransform, make_floats

_TRIES = 10


@dataclasses.dataclass(frozen=True)
class RandomErasing(ImageTransform):
    """Puts standard normal noise over a window, on normalised pixels, with a probability.

    Zhong et al., Random erasing data augmentation, 2020: the window has a share of the area drawn
    from ``area`` and a height to width ratio drawn log-uniformly from ``ratio`` to its inverse. A
    window that does not fit is drawn again, up to ten times; then the picture stays as it is. Put
    it after `Normalise`: the noise has the mean and the spread of a picture.
    """

    random: ClassVar[bool] = True
    probability: float | int = 0.25
    area: tuple[float | int, float | int] = (0.02, 1 / 3)
    ratio: float | int = 0.3

    def __post_init__(self) -> None:
        make_floats(self, "probability", "ratio")
        object.__setattr__(self, "area", (float(self.area[0]), float(self.area[1])))
        if not 0 <= self.probability <= 1:
            raise DataError(f"{self}: a probability lies in 0..1")
        if not 0 < self.area[0] <= self.area[1] <= 1 or not 0 < self.ratio <= 1:
            raise DataError(f"{self}: area is a range inside 0..1, ratio lies in 0..1")

    def window(
        self, height: int, width: int, rng: np.random.Generator
    ) -> tuple[int, int, int, int] | None:
        """Draws a window: top, left, height, width; None if none of ten fits."""
        widest = math.log(1 / self.ratio)
        for _ in range(_TRIES):
            area = height * width * rng.uniform(*self.area)
            ratio = math.exp(rng.uniform(-widest, widest))
            tall, wide = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < tall <= height and 0 < wide <= width:
                top = int(rng.integers(height - tall + 1))
                return top, int(rng.integers(width - wide + 1)), tall, wide
        return None

    def image(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Perhaps puts a window of noise over one picture."""
        if image.dtype != np.float32:
            raise DataError(f"{self} of {image.dtype} pixels: put it after Normalise")
        if rng.random() >= self.probability:
            return image
        window = self.window(image.shape[0], image.shape[1], rng)
        if window is None:
            return image
        top, left, tall, wide = window
        out = image.copy()
        noise = rng.standard_normal((tall, wide, image.shape[2]), np.float32)
        out[top : top + tall, left : left + wide] = noise
        return out

    def many(self, images: np.ndarray, rngs: Generators) -> np.ndarray:
        """Does so to every picture of a batch."""
        each = zip(images, rngs or [], strict=True)
        return np.stack([self.image(image, rng) for image, rng in each])
