"""IDX files, the format of MNIST and its kin: strict about headers, sizes and what follows."""

import gzip
import math
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.data.dataset import ArrayDataset
from tlearn.data.errors import DataError, listing

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PAIR = re.compile(r"(?P<split>.+?)[-.]images[-.]idx3-ubyte(?P<gz>\.gz)?")
_SPLITS = {"t10k": "test"}
_CHUNK = 1 << 22


def read_idx(path: str | Path, *, max_bytes: int = 4 << 30) -> np.ndarray:
    """Reads an array from an IDX file, packed with gzip or not.

    Args:
        path: The file; ``.gz`` at its end means gzip.
        max_bytes: The largest array that is believed; a header promising more is an error.

    Raises:
        DataError: If the file is missing, its header is not an IDX header, the data are fewer or
            more than the header says, or the compression is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    opened: Any = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")
    try:
        with opened as file:
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES or not head[3]:
                raise DataError(
                    f"{path}: starts with {head.hex(' ') or 'nothing'}, which is no IDX header "
                    f"(00 00, a type of {', '.join(f'{code:02x}' for code in _TYPES)}, the rank)"
                )
            sizes = file.read(4 * head[3])
            if len(sizes) < 4 * head[3]:
                raise DataError(f"{path}: ends inside its header")
            shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
            kind = np.dtype(_TYPES[head[2]])
            expected = math.prod(shape) * kind.itemsize
            if expected > max_bytes:
                raise DataError(
                    f"{path}: the header promises an array of shape {shape}, {expected} bytes, "
                    f"more than max_bytes={max_bytes}"
                )
            data = _read(file, expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged ({error}); fetch the file again") from error
    if len(data) != expected:
        amount = "more" if len(data) > expected else f"only {len(data)}"
        raise DataError(
            f"{path}: the header promises shape {shape}, {expected} bytes, but {amount} follow"
        )
    return np.frombuffer(bytes(data), kind).reshape(shape).astype(kind.newbyteorder("="))


def _read(file: Any, count: int) -> bytearray:
    """Reads at most ``count`` bytes without reserving them first: the count came from the file."""
    data = bytearray()
    while len(data) < count:
        chunk = file.read(min(_CHUNK, count - len(data)))
        if not chunk:
            break
        data += chunk
    return data


def idx_dataset(
    images: str | Path,
    labels: str | Path,
    *,
    label_names: Sequence[str] | None = None,
    name: str | None = None,
) -> ArrayDataset:
    """Reads pictures and labels from two IDX files.

    Args:
        images: File of [n h w] or [n h w c] bytes.
        labels: File of [n] bytes.
        label_names: The classes; by default "0", "1", ... up to the largest label.
        name: What messages call the dataset.

    Raises:
        DataError: If a file is damaged or the two do not belong together.
    """
    pixels, numbers = read_idx(images), read_idx(labels)
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4):
        raise DataError(
            f"{images}: {pixels.dtype} of shape {pixels.shape}, expected bytes [n h w] or [n h w c]"
        )
    if numbers.dtype != np.uint8 or numbers.ndim != 1:
        raise DataError(f"{labels}: {numbers.dtype} of shape {numbers.shape}, expected bytes [n]")
    if len(pixels) != len(numbers):
        raise DataError(f"{images} holds {len(pixels)} pictures, {labels} {len(numbers)} labels")
    if not len(numbers):
        raise DataError(f"{images}: holds no picture")
    names = label_names or [str(number) for number in range(int(numbers.max()) + 1)]
    return ArrayDataset(pixels, numbers, names, name=name or Path(images).name)


def idx_splits(
    folder: Path, *, label_names: Sequence[str] | None = None
) -> dict[str, Callable[[], ArrayDataset]]:
    """Finds the pairs of ``<split>-images-idx3-ubyte[.gz]`` and ``<split>-labels-idx1-ubyte[.gz]``.

    MNIST's ``t10k`` is called ``test``. Without ``label_names``, every split's classes are "0" up
    to the largest label of any split.

    Raises:
        DataError: If there is no pair, or a file of a pair is missing.
    """
    pairs, missing = {}, []
    for images in sorted(folder.iterdir()):
        match = _PAIR.fullmatch(images.name)
        if match is None:
            continue
        tail = images.name.removeprefix(match["split"])
        labels = folder / (
            match["split"] + tail.replace("images", "labels").replace("idx3", "idx1")
        )
        if labels.is_file():
            pairs[_SPLITS.get(match["split"], match["split"])] = (images, labels)
        else:
            missing.append(f"{images.name} has no {labels.name} beside it")
    if missing:
        raise DataError(f"{folder}: IDX files without their labels:\n{listing(missing)}")
    if not pairs:
        raise DataError(
            f"{folder}: holds no pair of IDX files like train-images-idx3-ubyte.gz and "
            "train-labels-idx1-ubyte.gz"
        )

    def opener(split: str) -> Callable[[], ArrayDataset]:
        def read() -> ArrayDataset:
            names = label_names
            if names is None:
                largest = max(int(read_idx(labels).max(initial=0)) for _, labels in pairs.values())
                names = [str(number) for number in range(largest + 1)]
            images, labels = pairs[split]
            return idx_dataset(images, labels, label_names=names, name=f"{folder.name}/{split}")

        return read

    return {split: opener(split) for split in pairs}
