"""Safetensors files: read after checking the whole header, written by the reference package.

Format: 8 bytes header length, a JSON header of names, dtypes, shapes and offsets, then the bytes.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from tlearn.hub.errors import HubError, listed, quoted
from tlearn.hub.raw import RawFile, existing_file, mapped

_HEADER_LIMIT = 100_000_000
_DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}


def read_safetensors(file: str | Path) -> RawFile:
    """Reads a safetensors file: arrays are views of the mapped file, nothing is copied.

    Raises:
        HubError: If the header lies in any way, or claims more than the file holds; names all
            faulty tensors. Nothing is allocated on the header's word.
    """
    path = existing_file(file)
    data = mapped(path)
    header, start = _header(path, data)
    metadata = header.pop("__metadata__", {})
    problems: list[str] = []
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        problems.append("__metadata__ must map names to strings")
    room = len(data) - start
    spans: list[tuple[int, int, str]] = []
    arrays: dict[str, np.ndarray] = {}
    for name, entry in header.items():
        checked = _entry(name, entry, room, problems)
        if checked is not None:
            dtype, shape, begin, end = checked
            spans.append((begin, end, name))
            arrays[name] = data[start + begin : start + end].view(dtype).reshape(shape)
    _check_cover(spans, room, problems)
    if problems:
        raise HubError(f"{path} is no sound safetensors file:\n{listed(problems)}")
    return RawFile(arrays, dict(metadata), "safetensors")


def _header(path: Path, data: np.ndarray) -> tuple[dict[str, Any], int]:
    if len(data) < 8:
        raise HubError(f"{path} is no safetensors file: it has {len(data)} bytes, fewer than 8")
    length = int.from_bytes(data[:8].tobytes(), "little")
    if length > len(data) - 8 or length > _HEADER_LIMIT:
        raise HubError(
            f"{path} is no sound safetensors file: its header claims {length} bytes, the file has "
            f"{len(data) - 8} after the length field (and headers end at {_HEADER_LIMIT}): "
            "it is truncated, or of another format"
        )
    try:
        header = json.loads(data[8 : 8 + length].tobytes(), object_pairs_hook=_no_twins)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise HubError(f"{path}: the safetensors header is no JSON: {reason}") from error
    if not isinstance(header, dict):
        raise HubError(f"{path}: the safetensors header is no JSON object")
    return header, 8 + length


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {quoted(twin)} occurs twice")
    return found


def _entry(
    name: str, entry: Any, room: int, problems: list[str]
) -> tuple[np.dtype, tuple[int, ...], int, int] | None:
    """Checks one tensor's claims; adds to the problems and returns None if they do not hold."""
    where = f"tensor {quoted(name)}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        problems.append(f"{where}: needs exactly dtype, shape and data_offsets")
        return None
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        problems.append(f"{where}: unknown dtype {quoted(dtype)}; known: {', '.join(_DTYPES)}")
        return None
    if not _whole_numbers(shape) or len(shape) > 32:
        problems.append(f"{where}: shape must be a list of at most 32 whole numbers from 0")
        return None
    if not _whole_numbers(offsets) or len(offsets) != 2:
        problems.append(f"{where}: data_offsets must be two whole numbers from 0")
        return None
    begin, end = offsets
    if not begin <= end <= room:
        problems.append(
            f"{where}: bytes {quoted(begin)} to {quoted(end)} lie outside the {room} bytes of data"
        )
        return None
    claimed = math.prod(shape) * _DTYPES[dtype].itemsize
    if claimed != end - begin:
        problems.append(
            f"{where}: shape and {dtype} make {quoted(claimed)} bytes, its offsets {end - begin}"
        )
        return None
    return _DTYPES[dtype], tuple(shape), begin, end


def _whole_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value < 2**63 for value in values
    )


def _check_cover(spans: list[tuple[int, int, str]], room: int, problems: list[str]) -> None:
    """Checks that the tensors cover the data without overlap or gap."""
    if problems:
        return
    position, before = 0, "the header"
    for begin, end, name in sorted(spans):
        if begin < position:
            problems.append(f"tensors {quoted(before)} and {quoted(name)} overlap at byte {begin}")
        elif begin > position:
            problems.append(f"{begin - position} bytes before tensor {quoted(name)} belong to none")
        position, before = max(position, end), name
    if position != room and not problems:
        problems.append(f"{room - position} bytes after the last tensor belong to none")


def write_safetensors(
    file: str | Path, arrays: Mapping[str, Any], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes named arrays in name order; `read_safetensors` gives them back bit for bit.

    Raises:
        HubError: If the file cannot be written, the disk being full for example.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    # The package writes the buffer as it lies: a transposed view would come out scrambled.
    laid_out = {
        name: np.ascontiguousarray(arrays[name]).reshape(np.shape(arrays[name]))
        for name in sorted(arrays)
    }
    try:
        save_file(laid_out, str(file), dict(metadata) if metadata else None)
    except (OSError, SafetensorError) as error:
        raise HubError(f"cannot write {file}: {error}") from error
