"""Mixup and CutMix: batches whose pictures and labels are blends of two examples.

Partners are a rotation of the batch: row ``i`` meets row ``i + shift``. The order of the batch is
random already, and a host that reads only a block of the batch needs only one other block.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float32, Int

from tlearn.data.errors import DataError
from tlearn.data.transforms import make_floats


@dataclasses.dataclass(frozen=True)
class Blend:
    """What was drawn for one batch: where partners stand, their weight, and where they show."""

    shift: int
    weight: float
    """Share of the row's own example, 0..1."""
    window: tuple[float, float] | None = None
    """Middle of the pasted window as shares of height and width; None blends all pixels."""


@dataclasses.dataclass(frozen=True)
class Mixup:
    """Blends pixels and labels with a weight from Beta(alpha, alpha), one for the whole batch.

    Zhang, Cisse, Dauphin and Lopez-Paz, mixup: beyond empirical risk minimization, 2018. A batch is
    left as it is with chance ``1 - probability``.
    """

    alpha: float | int = 0.2
    probability: float | int = 1.0

    def __post_init__(self) -> None:
        _check(self)

    def draw(self, rng: np.random.Generator, count: int) -> Blend:
        """Draws a blend for a batch of ``count`` examples."""
        return _draw(self, rng, count, cut=False)


@dataclasses.dataclass(frozen=True)
class CutMix:
    """Pastes a window of the partner in; labels are weighted by area.

    Yun et al., CutMix: regularization strategy to train strong classifiers with localizable
    features, 2019: the window keeps the picture's proportions and has a share 1 - λ of its area,
    λ from Beta(alpha, alpha); where it hangs over the edge, the labels go by what is seen.
    """

    alpha: float | int = 1.0
    probability: float | int = 1.0

    def __post_init__(self) -> None:
        _check(self)

    def draw(self, rng: np.random.Generator, count: int) -> Blend:
        """Draws a blend for a batch of ``count`` examples."""
        return _draw(self, rng, count, cut=True)


Mix = Mixup | CutMix


def _check(mix: Any) -> None:
    make_floats(mix, "alpha", "probability")
    if mix.alpha <= 0 or not 0 <= mix.probability <= 1:
        raise DataError(f"{mix}: alpha is above 0, a probability lies in 0..1")


def _draw(mix: Any, rng: np.random.Generator, count: int, *, cut: bool) -> Blend:
    # Everything is always drawn, so that one setting does not shift what another sees.
    applied = rng.random() < mix.probability
    weight = float(rng.beta(mix.alpha, mix.alpha))
    shift = 1 + int(rng.integers(max(1, count - 1)))
    window = (float(rng.random()), float(rng.random()))
    if not applied or count < 2:
        return Blend(0, 1.0)
    return Blend(shift, weight, window if cut else None)


def blend(
    images: Float32[np.ndarray, "b h w c"],
    labels: Int[np.ndarray, " b"],
    partner_images: Float32[np.ndarray, "b h w c"],
    partner_labels: Int[np.ndarray, " b"],
    drawn: Blend,
    classes: int,
) -> tuple[Float32[np.ndarray, "b h w c"], Float32[np.ndarray, "b k"]]:
    """Blends rows with their partners.

    Returns:
        New pictures, and the weight of every class in every row; the weights of a row sum to one.
    """
    weight = np.float32(drawn.weight)
    if drawn.window is None:
        mixed = images * weight + partner_images * (1 - weight)
    else:
        height, width = images.shape[1:3]
        side = float(np.sqrt(1 - drawn.weight))
        top, bottom = _stretch(drawn.window[0], side, height)
        left, right = _stretch(drawn.window[1], side, width)
        mixed = images.copy()
        mixed[:, top:bottom, left:right] = partner_images[:, top:bottom, left:right]
        weight = np.float32(1 - (bottom - top) * (right - left) / (height * width))
    weights = np.zeros((len(images), classes), dtype=np.float32)
    rows = np.arange(len(images))
    weights[rows, labels] += weight
    weights[rows, partner_labels] += np.float32(1) - weight
    return mixed, weights


def _stretch(middle: float, share: float, length: int) -> tuple[int, int]:
    """Places a window of a share of the length around a middle, cut off at the edges."""
    size = round(share * length)
    start = int(middle * length) - size // 2
    return max(0, start), min(length, start + size)


def partners(real: int, rows: np.ndarray, shift: int) -> np.ndarray:
    """Names the partner of each row of a batch with ``real`` examples; padding partners itself."""
    return np.where(rows < real, (rows + shift) % max(1, real), rows)


def mix_batch(
    batch: dict[str, np.ndarray], mix: Mix, rng: np.random.Generator, classes: int
) -> dict[str, np.ndarray]:
    """Mixes a whole batch: new ``image`` [b h w c], and ``label_weights`` [b k] beside ``label``.

    Masked rows are never blended into others.
    """
    real = int(np.sum(batch["mask"] > 0)) if "mask" in batch else len(batch["label"])
    drawn = mix.draw(rng, real)
    other = partners(real, np.arange(len(batch["label"])), drawn.shift)
    images, weights = blend(
        batch["image"], batch["label"], batch["image"][other], batch["label"][other], drawn, classes
    )
    return {**batch, "image": images, "label_weights": weights}
