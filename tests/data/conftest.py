"""Small datasets that the tests of the data room share."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlearn.data import ArrayDataset


def picture(seed: int, height: int = 12, width: int = 10, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, channels), dtype=np.uint8)


def encode(pixels: np.ndarray, form: str = "png") -> bytes:
    stream = io.BytesIO()
    flat = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    Image.fromarray(flat).save(stream, form)
    return stream.getvalue()


@pytest.fixture
def arrays() -> ArrayDataset:
    """37 RGB pictures of 8 x 8 in three uneven classes."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (37, 8, 8, 3), dtype=np.uint8)
    labels = np.array([0] * 20 + [1] * 10 + [2] * 7)[rng.permutation(37)]
    return ArrayDataset(images, labels, ("ant", "bee", "wasp"), name="insects")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``pets/{train,test}/{cat,dog}`` with 4 and 2 pictures each, of mixed sizes and formats."""
    root = tmp_path / "pets"
    seed = 0
    for split, count in (("train", 4), ("test", 2)):
        for label in ("cat", "dog"):
            place = root / split / label
            place.mkdir(parents=True)
            for number in range(count):
                form = ("png", "jpeg")[number % 2]
                pixels = picture(seed, 12 + number, 10)
                (place / f"{number}.{form}").write_bytes(encode(pixels, form))
                seed += 1
    return root


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Bit equality of two batches."""
    return one.keys() == other.keys() and all(
        one[key].dtype == other[key].dtype
        and one[key].shape == other[key].shape
        and one[key].tobytes() == other[key].tobytes()
        for key in one
    )


@pytest.fixture
def make_picture():
    return picture


@pytest.fixture
def make_encoded():
    return encode


@pytest.fixture
def bit_equal():
    return same
