"""The digits that come with scikit-learn: 1,797 grey pictures of 8 x 8, no download."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.data.dataset import ArrayDataset, Examples
from tlearn.data.streams import permutation
from tlearn.data.view import View

_TEST_PER_CLASS = 50


def digits() -> ArrayDataset:
    """Reads all 1,797 digits: [8 8 1], grey levels 0..16 stretched to 0..255, labels "0".."9".

    Reference: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (the
    test part).
    """
    table = _table()
    pixels = np.rint(table[:, :64].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    names = [str(number) for number in range(10)]
    return ArrayDataset(pixels, table[:, 64].astype(np.int32), names, name="digits")


def _table() -> np.ndarray:
    """Reads 64 levels and a label in each of 1,797 rows.

    Straight from scikit-learn's file where it lies as it always has: importing scikit-learn takes
    longer than all else a small run does before its first step.
    """
    spec = importlib.util.find_spec("sklearn")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(place) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    bundle: Any = load_digits()
    return np.concatenate([bundle["data"], bundle["target"][:, None]], axis=1)


def digits_splits() -> dict[str, Callable[[], Examples]]:
    """Offers ``train`` and ``test``: 50 of each class, drawn once and for all, are for testing."""

    def opener(test: bool) -> Callable[[], Examples]:
        def read() -> Examples:
            whole = digits()
            held = np.zeros(len(whole), dtype=bool)
            for label in range(10):
                where = np.flatnonzero(whole.labels == label)
                order = permutation(0, f"digits/test/{label}", len(where))
                held[where[order[:_TEST_PER_CLASS]]] = True
            name = "digits/test" if test else "digits/train"
            return View(whole, np.flatnonzero(held == test), name=name)

        return read

    return {"train": opener(False), "test": opener(True)}
