"""Lays MNIST and scikit-learn's digits beside each other, as two domains of one task.

Writes IDX files: ``train`` are the first 5,000 training pictures of MNIST, ``test`` are all 1,797
digits of scikit-learn (8 pixels, another scanner, other writers), enlarged to 28 pixels. What
learns from ``train`` and is reported on ``test`` is reported out of its distribution.

    python experiments/studies/shifted_pictures.py --data DIR --out SHIFTED
"""

import argparse
import os
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from tlearn.data import open_dataset

TRAIN = 5000


def write(place: Path, split: str, images: np.ndarray, labels: np.ndarray) -> None:
    """Writes a split as IDX files."""
    for name, array in (("images", images), ("labels", labels)):
        array = array.astype(np.uint8)
        head = bytes((0, 0, 8, array.ndim)) + np.asarray(array.shape, ">u4").tobytes()
        (place / f"{split}-{name}-idx{array.ndim}-ubyte").write_bytes(head + array.tobytes())


def main() -> None:
    """Reads both, writes both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = os.environ.get("TLEARN_DATA")
    parser.add_argument("--data", type=Path, default=data, required=data is None)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    mnist = open_dataset(f"mnist:{asked.data}/mnist", f"train[:{TRAIN}]")
    rows = [mnist[i] for i in range(len(mnist))]
    images = np.stack([np.asarray(row["image"]).squeeze() for row in rows])
    write(asked.out, "train", images, np.asarray([row["label"] for row in rows]))
    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    grey = np.clip(pixels.reshape(-1, 8, 8) * (255 / 16), 0, 255).astype(np.uint8)
    # A MNIST digit fills the middle 20 of 28 pixels; so do these.
    large = [
        Image.fromarray(picture).resize((20, 20), Image.Resampling.BICUBIC) for picture in grey
    ]
    framed = np.pad(np.stack([np.asarray(p) for p in large]), ((0, 0), (4, 4), (4, 4)))
    write(asked.out, "t10k", framed, labels)


if __name__ == "__main__":
    main()
