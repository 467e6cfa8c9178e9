"""The folder of features on disk: what it is of, how it opens, how it appears whole or not at all.

A store holds ``features.npy`` (views, examples, ...), ``labels.npy`` (examples, ...) where the
data has labels, and ``meta.json`` with what the features are of. Row i is example i of the data
set; rows that only fill a batch are not stored.
"""

import dataclasses
import errno
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np

DType = Literal["float32", "bfloat16", "float16"]
_DTYPES = ("float32", "bfloat16", "float16")
FORMAT = 1
_FILES = frozenset({"features.npy", "labels.npy", "meta.json"})


class StoreError(ValueError):
    """A feature store cannot be written or opened; the message says why and what to do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoreKey:
    """What stored features are of; any difference means they are of something else.

    Attributes:
        weights: Digest of the body's weights and statistics.
        preprocessing: The pipeline that prepared the inputs, as text.
        data: Digest of the examples.
        views: Augmented copies of every example.
        dtype: How the features are stored.
        output: What of the body they are: ``pooled``, or the output of the layer named.
    """

    weights: str
    preprocessing: str
    data: str
    views: int = 1
    dtype: DType = "float32"
    output: str = "pooled"

    def __post_init__(self):
        problems = [
            f"{name} is empty"
            for name in ("weights", "preprocessing", "data", "output")
            if not getattr(self, name)
        ]
        if self.views < 1:
            problems.append(f"views is {self.views}; it must be at least 1")
        if self.dtype not in _DTYPES:
            problems.append(f"dtype is {self.dtype!r}; use one of {', '.join(_DTYPES)}")
        if problems:
            raise StoreError("features cannot be stored under this key: " + "; ".join(problems))

    def differences(self, other: "StoreKey") -> list[str]:
        """Says in which fields ``other`` differs from this."""
        mine, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        return [
            f"{name} {_short(theirs[name])} is now {_short(value)}"
            for name, value in mine.items()
            if theirs[name] != value
        ]


@dataclasses.dataclass(frozen=True)
class FeatureStore:
    """Features on disk, opened read-only.

    Attributes:
        folder: Where they lie.
        key: What they are of.
        features: [views, examples, ...], memory-mapped, in the stored dtype.
        labels: [examples, ...], or None where the data has none.
        origin: ``"reopened"``, ``"written"``, or ``"recomputed: "`` and the reason.
    """

    folder: Path
    key: StoreKey
    features: np.ndarray
    labels: np.ndarray | None
    origin: str

    def __len__(self) -> int:
        """The number of examples."""
        return self.features.shape[1]

    @property
    def width(self) -> int:
        """How many numbers an example has."""
        return math.prod(self.features.shape[2:])

    def rows(self, indices: Any, view: int = 0) -> np.ndarray:
        """Reads the features of some examples as float32."""
        return np.asarray(self.features[view, indices], np.float32)


def open_store(folder: str | Path) -> FeatureStore:
    """Opens a store.

    Raises:
        StoreError: If there is none, or its files do not fit each other.
    """
    folder = Path(folder)
    try:
        meta = json.loads((folder / "meta.json").read_text())
        if meta["format"] != FORMAT:
            raise StoreError(f"{folder} has store format {meta['format']}, not {FORMAT}")
        key = StoreKey(**meta["key"])
        features = np.load(folder / "features.npy", mmap_mode="r", allow_pickle=False)
        labels = None
        if meta["labels"]:
            labels = np.load(folder / "labels.npy", allow_pickle=False)
        # Stores of vectors alone, as older versions wrote them, say a width.
        one = meta["shape"] if "shape" in meta else [meta["width"]]
        shape = (key.views, meta["examples"], *one)
    except FileNotFoundError as error:
        name = Path(str(error.filename)).name
        raise StoreError(f"{folder} is no feature store: {name} is missing") from error
    except StoreError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder} is no readable feature store: {error}") from error
    if features.shape != shape or features.dtype != stored_dtype(key.dtype):
        found = f"{features.shape} of {features.dtype}"
        raise StoreError(f"{folder} holds features {found}, its meta.json says {shape}")
    if labels is not None and len(labels) != shape[1]:
        raise StoreError(f"{folder} holds {len(labels)} labels for {shape[1]} examples")
    return FeatureStore(folder, key, features.view(numpy_dtype(key.dtype)), labels, "reopened")


def numpy_dtype(dtype: str) -> np.dtype:
    """The dtype of the features themselves."""
    if dtype == "bfloat16":
        import jax.numpy as jnp

        return np.dtype(jnp.bfloat16)
    return np.dtype(dtype)


def stored_dtype(dtype: str) -> np.dtype:
    """The dtype in the file: npy has no bfloat16, so its bits are kept."""
    return np.dtype(np.uint16 if dtype == "bfloat16" else dtype)


def allocate(path: Path, shape: tuple[int, ...], dtype: str) -> np.memmap:
    """Makes the file with its blocks: a sparse one on a full disk would kill the process later."""
    need = int(np.prod(shape)) * stored_dtype(dtype).itemsize
    free = shutil.disk_usage(path.parent).free
    if need > free:
        raise OSError(
            errno.ENOSPC,
            f"features need {need / 2**20:.0f} MiB, the disk has {free / 2**20:.0f} MiB free; "
            "store them elsewhere or as bfloat16",
            str(path),
        )
    array = np.lib.format.open_memmap(path, mode="w+", dtype=stored_dtype(dtype), shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def refuse_foreign(folder: Path) -> None:
    """Raises if a folder holds anything but a store: it would be lost with the replaced store."""
    if not folder.is_dir():
        raise StoreError(f"{folder} is a file; name a folder for the features")
    others = sorted(p.name for p in folder.iterdir() if p.name not in _FILES)
    if others:
        raise StoreError(
            f"{folder} holds other files ({', '.join(others[:5])}); name a folder of its own"
        )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
