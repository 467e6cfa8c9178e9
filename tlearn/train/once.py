"""Weights that never change during a run, kept a single time beside its checkpoints."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.params import FlatParams, digest

# What safetensors' numpy reader knows by name; anything else travels as unsigned integers.
_NATIVE = frozenset(
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()
)


def write(folder: Path, name: str, flat: Mapping[str, Any]) -> str:
    """Writes named arrays to ``folder`` unless the same bytes are there already.

    The file is named after its content, so that an older checkpoint keeps what it refers to.

    Returns:
        The digest of the arrays.

    Raises:
        OSError: If the file cannot be written; nothing half-written stays.
    """
    from safetensors.numpy import save

    arrays = {path: np.array(value, order="C") for path, value in flat.items()}
    fingerprint = digest(arrays)
    path = _path(folder, name, fingerprint)
    if path.is_file() and _intact(path, fingerprint):
        return fingerprint
    dtypes = json.dumps({p: array.dtype.name for p, array in arrays.items()})
    content = save(
        {p: array if array.dtype.name in _NATIVE else _bits(array) for p, array in arrays.items()},
        metadata={"digest": fingerprint, "dtypes": dtypes},
    )
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    return fingerprint


def read(folder: Path, name: str, fingerprint: str) -> FlatParams:
    """Reads what `write` wrote, verified.

    Raises:
        ValueError: If the file is absent, unreadable or not bit-equal to what was written.
    """
    import jax.numpy as jnp
    from safetensors import SafetensorError, safe_open

    path = _path(folder, name, fingerprint)
    if not path.is_file():
        raise ValueError(f"{path.name} is missing")
    flat: FlatParams = {}
    try:
        with safe_open(path, framework="numpy") as file:
            dtypes = json.loads((file.metadata() or {}).get("dtypes", "{}"))
            for key in file.keys():
                array = file.get_tensor(key)
                dtype = dtypes.get(key, array.dtype.name)
                flat[key] = array if dtype in _NATIVE else array.view(jnp.dtype(dtype))
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path.name} cannot be read ({error})") from error
    if digest(flat) != fingerprint:
        raise ValueError(f"{path.name} has other bytes than were saved")
    return dict(sorted(flat.items()))


def _bits(array: np.ndarray) -> np.ndarray:
    return array.view(f"u{array.dtype.itemsize}")


def _path(folder: Path, name: str, fingerprint: str) -> Path:
    return folder / f"{name}-{fingerprint[:16]}.safetensors"


def _intact(path: Path, fingerprint: str) -> bool:
    try:
        read(path.parent, path.name.rpartition("-")[0], fingerprint)
    except ValueError:
        return False
    return True
