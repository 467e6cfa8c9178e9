"""How pictures are framed for a body: size, crop, channels, and the scale of pixels."""

import dataclasses
from typing import Any

import numpy as np

from tlearn.bodies.facts import ImageFacts
from tlearn.data import DataError

PIXELS = {
    "half": ((0.5,), (0.5,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Mean and standard deviation of a channel by name: -1 to 1, and ImageNet's own as published
weights have them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Framing:
    """What is asked of the pictures that a body sees; the empty values leave it to the source.

    Attributes:
        size: Pixels of a side; 0 for the source's, or the first picture's.
        crop: Middle that pictures are judged by, as a share of the resized short side: 0.875 takes
            224 of 256 pixels. 0 for the source's, or all.
        interpolation: ``bilinear``, ``bicubic`` or ``nearest``; empty for the source's, or
            bilinear.
        pixels: ``half`` (-1 to 1) or ``imagenet`` (ImageNet's mean and deviation) for a body
            without a source; ``auto`` for the source's, or half.
        channels: ``strict`` refuses pictures with other channels than the source's, ``convert``
            converts them, ``adapt`` changes the facts (the body must be adapted too).
    """

    size: int = 0
    crop: float | int = 0.0
    interpolation: str = ""
    pixels: str = "auto"
    channels: str = "strict"

    def facts(self, source: ImageFacts | None, shape: tuple[int, ...]) -> ImageFacts:
        """Settles how pictures are prepared.

        Args:
            source: How the body's pictures were prepared; None for a new body.
            shape: Height, width and channels of a picture.

        Raises:
            DataError: If pictures and source have different channels, or the scale of pixels is
                asked for beside a source, whose own travels with its weights.
        """
        has = shape[-1]
        changes: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("size", "crop", "interpolation")
            if getattr(self, name)
        }
        if source is None:
            mean, std = PIXELS["half" if self.pixels == "auto" else self.pixels]
            if len(mean) not in (1, has):
                raise DataError(
                    f"pixels={self.pixels} is for pictures of {len(mean)} channels, these have "
                    f"{has}; say pixels=half"
                )
            mean, std = ((*values, *values, *values)[:has] for values in (mean, std))
            fresh: dict[str, Any] = {"size": min(shape[:2])} | changes
            return ImageFacts(mean=mean, std=std, channels=has, **fresh)
        if self.pixels != "auto":
            raise DataError(
                f"pixels={self.pixels}: the source's own mean and deviation travel with its "
                "weights; leave pixels out"
            )
        facts = source
        if has != facts.channels and self.channels == "strict":
            raise DataError(
                f"the pictures have {has} channels, the body was trained on {facts.channels}; say "
                "channels=convert to convert the pictures or channels=adapt to adapt the body"
            )
        if has != facts.channels and self.channels == "adapt":
            changes["mean"] = (float(np.mean(facts.mean)),) * has
            changes["std"] = (float(np.mean(facts.std)),) * has
            changes["channels"] = has
        return dataclasses.replace(facts, **changes)
