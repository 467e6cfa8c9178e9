"""RandAugment: a few operations out of a fixed set, all at one strength.

Cubuk, Zoph, Shlens and Le, RandAugment: practical automated data augmentation, 2020
(arXiv:1909.13719): 14 operations, ``layers`` of them a picture, drawn uniformly with replacement;
``magnitude`` 0..30 sets all strengths. The ranges are those of AutoAugment (Cubuk et al., 2019).
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from tlearn.data.augment import from_pil, to_pil
from tlearn.data.errors import DataError
from tlearn.data.transforms import ImageTransform, make_floats

_TOP = 30.0
_FILL = 128


@dataclasses.dataclass(frozen=True)
class RandAugment(ImageTransform):
    """Applies ``layers`` random operations at strength ``magnitude`` of 30, on bytes.

    Operations with two directions (turns, shears, shifts, colours) take either with equal chance.
    What moves in from outside is mid-grey. With a ``spread``, each operation's magnitude is drawn
    from a normal distribution of that standard deviation, and kept in 0..30.
    """

    random: ClassVar[bool] = True
    layers: int = 2
    magnitude: float | int = 9.0
    spread: float | int = 0.0

    def __post_init__(self) -> None:
        make_floats(self, "magnitude", "spread")
        if self.layers < 0 or not 0 <= self.magnitude <= _TOP or not 0 <= self.spread <= _TOP:
            raise DataError(f"{self}: layers is 0 or more, magnitude and spread lie in 0..30")

    def image(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Applies the operations to one picture."""
        picture = to_pil(image, self)
        strength = self.magnitude / _TOP
        names = list(OPERATIONS)
        for _ in range(self.layers):
            name = names[int(rng.integers(len(names)))]
            sign = 1.0 if rng.random() < 0.5 else -1.0
            if self.spread:
                drawn = rng.normal(self.magnitude, self.spread)
                strength = min(max(drawn, 0.0), _TOP) / _TOP
            picture = OPERATIONS[name](picture, strength, sign)
        return from_pil(picture)


def _ops() -> Any:
    from PIL import ImageOps

    return ImageOps


def _enhance(kind: str) -> Callable[[Any, float, float], Any]:
    def apply(picture: Any, strength: float, sign: float) -> Any:
        from PIL import ImageEnhance

        # Factors from 0.1 to 1.9; 1 leaves the picture alone.
        return getattr(ImageEnhance, kind)(picture).enhance(1 + sign * 0.9 * strength)

    return apply


def _affine(picture: Any, matrix: tuple[float | int, ...]) -> Any:
    from PIL import Image

    fill: Any = _FILL if picture.mode == "L" else (_FILL,) * 3
    return picture.transform(
        picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=fill
    )


def _rotate(picture: Any, strength: float, sign: float) -> Any:
    from PIL import Image

    fill: Any = _FILL if picture.mode == "L" else (_FILL,) * 3
    return picture.rotate(sign * 30 * strength, Image.Resampling.BILINEAR, fillcolor=fill)


def _shear_x(picture: Any, strength: float, sign: float) -> Any:
    # About the middle row, so that a shear does not also shift.
    slope = sign * 0.3 * strength
    return _affine(picture, (1, slope, -slope * picture.height / 2, 0, 1, 0))


def _shear_y(picture: Any, strength: float, sign: float) -> Any:
    slope = sign * 0.3 * strength
    return _affine(picture, (1, 0, 0, slope, 1, -slope * picture.width / 2))


# AutoAugment shifts by up to 150 of ImageNet's 331 pixels; here by that share of the side.
_SHIFT = 150 / 331


def _translate_x(picture: Any, strength: float, sign: float) -> Any:
    return _affine(picture, (1, 0, sign * strength * _SHIFT * picture.width, 0, 1, 0))


def _translate_y(picture: Any, strength: float, sign: float) -> Any:
    return _affine(picture, (1, 0, 0, 0, 1, sign * strength * _SHIFT * picture.height))


def _solarize(picture: Any, strength: float, sign: float) -> Any:
    return _ops().solarize(picture, round(256 * (1 - strength)))


def _posterize(picture: Any, strength: float, sign: float) -> Any:
    return _ops().posterize(picture, 8 - round(4 * strength))


OPERATIONS: dict[str, Callable[[Any, float, float], Any]] = {
    "identity": lambda picture, strength, sign: picture,
    "auto_contrast": lambda picture, strength, sign: _ops().autocontrast(picture),
    "equalize": lambda picture, strength, sign: _ops().equalize(picture),
    "rotate": _rotate,
    "solarize": _solarize,
    "posterize": _posterize,
    "color": _enhance("Color"),
    "contrast": _enhance("Contrast"),
    "brightness": _enhance("Brightness"),
    "sharpness": _enhance("Sharpness"),
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
}
"""Operations by name: (PIL picture, strength 0..1, sign) to PIL picture."""
