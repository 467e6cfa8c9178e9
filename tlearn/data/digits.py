"""The digits that come with scikit-learn: 1,797 grey pictures of 8 x 8, no download."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tlearn.data.dataset import ArrayDataset, ImageDataset
from tlearn.data.streams import permutation

_TEST_PER_CLASS = 50


def digits() -> ArrayDataset:
    """Reads all 1,797 digits: [8 8 1], grey levels 0..16 stretched to 0..255, labels "0".."9".

    Reference: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (the
    test part).
    """
    from sklearn.datasets import load_digits

    bundle: Any = load_digits()
    levels = np.asarray(bundle["images"], dtype=np.float64)
    pixels = np.rint(levels * (255 / 16)).astype(np.uint8)
    names = [str(number) for number in range(10)]
    return ArrayDataset(pixels, np.asarray(bundle["target"], np.int32), names, name="digits")


def digits_splits() -> dict[str, Callable[[], ImageDataset]]:
    """Offers ``train`` and ``test``: 50 of each class, drawn once and for all, are for testing."""

    def opener(test: bool) -> Callable[[], ImageDataset]:
        def read() -> ImageDataset:
            whole = digits()
            held = np.zeros(len(whole), dtype=bool)
            for label in range(10):
                where = np.flatnonzero(whole.labels == label)
                order = permutation(0, f"digits/test/{label}", len(where))
                held[where[order[:_TEST_PER_CLASS]]] = True
            return whole.subset(np.flatnonzero(held == test))

        return read

    return {"train": opener(False), "test": opener(True)}
