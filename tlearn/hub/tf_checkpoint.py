"""TensorFlow checkpoints and SavedModel variables, read without TensorFlow.

A checkpoint is an index (a sorted table: name to type, shape and place) and shards of raw bytes
(tensorflow/core/protobuf/tensor_bundle.proto). Arrays are views of the mapped shards.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from tlearn.hub.errors import HubError, listed, quoted
from tlearn.hub.protobuf import fields, signed, varint
from tlearn.hub.raw import RawFile, mapped
from tlearn.hub.sorted_table import is_sorted_table, masked_crc32c, read_sorted_table
from tlearn.hub.tf_names import object_names, setting_aside, slice_key

_INDEX_LIMIT = 256 * 2**20
_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_STRING = 7
_DTYPES: dict[int, np.dtype] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.float64),
    3: np.dtype(np.int32),
    4: np.dtype(np.uint8),
    5: np.dtype(np.int16),
    6: np.dtype(np.int8),
    9: np.dtype(np.int64),
    10: np.dtype(np.bool_),
    14: np.dtype(ml_dtypes.bfloat16),
    17: np.dtype(np.uint16),
    19: np.dtype(np.float16),
    22: np.dtype(np.uint32),
    23: np.dtype(np.uint64),
}
# Arrays up to this many bytes are checked against their checksum; it would take minutes for all.
_CHECKED_BYTES = 4096


@dataclasses.dataclass(frozen=True)
class _Entry:
    """What the index says of one tensor."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc: int | None
    slices: tuple[tuple[tuple[int, int], ...], ...]


def find_checkpoint(place: str | Path) -> Path:
    """Finds the prefix of a checkpoint's files.

    Args:
        place: The prefix itself, its ``.index`` file, a SavedModel folder, or a folder with one
            checkpoint (or with TensorFlow's file ``checkpoint``, which names the last).

    Raises:
        HubError: If there is none, or more than one, or only one of the form before 2016.
    """
    path = Path(place).expanduser()
    if path.name.endswith(".index") and path.is_file():
        return path.with_name(path.name.removesuffix(".index"))
    if path.with_name(f"{path.name}.index").is_file():
        return path
    if path.is_file():
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 8))
            old = is_sorted_table(stream.read(8))
        if old:
            raise HubError(
                f"{path} is a checkpoint in one file, the form before TensorFlow 0.12, not "
                "read here; restore and save it once with any later TensorFlow"
            )
        raise HubError(f"{path} is no TensorFlow checkpoint: there is no {path.name}.index beside")
    if (path / "saved_model.pb").is_file():
        if (path / "variables" / "variables.index").is_file():
            return path / "variables" / "variables"
        raise HubError(
            f"{path} is a SavedModel without variables/variables.index: no weights in it"
        )
    found = sorted(path.glob("*.index")) if path.is_dir() else []
    if len(found) > 1 and (path / "checkpoint").is_file():
        last = (path / "checkpoint").read_bytes()[:4096].decode("utf-8", "replace")
        name = last.partition('model_checkpoint_path: "')[2].partition('"')[0].rpartition("/")[2]
        found = [file for file in found if file.name == f"{name}.index"] or found
    if len(found) == 1:
        return found[0].with_name(found[0].name.removesuffix(".index"))
    if found:
        names = [file.name.removesuffix(".index") for file in found][:10]
        raise HubError(f"{path} holds several checkpoints: {names}; name one, as {path / names[0]}")
    held = sorted(p.name for p in path.iterdir())[:10] if path.is_dir() else "nothing: it is absent"
    raise HubError(f"{path} holds no TensorFlow checkpoint (NAME.index, or saved_model.pb): {held}")


def read_tensorflow(place: str | Path) -> RawFile:
    """Reads a TF1 or TF2 checkpoint, or a SavedModel's variables.

    Args:
        place: As `find_checkpoint` takes it.

    Returns:
        Arrays by variable name (``bert/encoder/layer_0/...``, ``conv2d/kernel``); ``aside`` lists
        under ``skipped`` what is no weight: optimizer slots, counters, texts.

    Raises:
        HubError: If the index or a shard is torn or altered, naming every faulty tensor.
    """
    prefix = find_checkpoint(place)
    index = prefix.with_name(f"{prefix.name}.index")
    if index.stat().st_size > _INDEX_LIMIT:
        raise HubError(f"{index} has {index.stat().st_size} bytes: no index is so large")
    try:
        table = read_sorted_table(index.read_bytes())
        count = _shards(table.get(b""))
        entries = {key: _entry(value) for key, value in table.items() if key}
    except (HubError, TypeError, AttributeError) as error:
        raise HubError(f"{index} is no sound index of a checkpoint: {error}") from error
    shards = [prefix.with_name(f"{prefix.name}.data-{i:05d}-of-{count:05d}") for i in range(count)]
    problems = [f"the shard {file.name} is missing" for file in shards if not file.is_file()]
    if problems:
        raise HubError(f"{prefix} is not complete:\n{listed(problems)}")
    data = [mapped(file) if file.stat().st_size else np.zeros(0, np.uint8) for file in shards]
    arrays: dict[str, np.ndarray] = {}
    skipped: list[str] = []
    keys = [key for key in entries if not key.startswith(b"\0")]
    full = _full_names(entries.get(_GRAPH.encode()), data)
    for key in keys:
        name = key.decode("utf-8", "replace")
        entry = entries[key]
        shown = full.get(name, name)
        if entry.dtype not in _DTYPES or setting_aside(name, shown):
            skipped.append(name)
            continue
        try:
            arrays[shown] = _tensor(key, entry, entries, data)
        except HubError as error:
            problems.append(f"{quoted(name)} {error}")
    if problems:
        raise HubError(f"{prefix} is no sound checkpoint:\n{listed(problems)}")
    return RawFile(arrays, {"skipped": sorted(skipped)[:1000]}, "tensorflow")


def _shards(header: bytes | None) -> int:
    if header is None:
        raise HubError("it has no header")
    said = dict(fields(header))
    if said.get(2, 0) != 0:
        raise HubError("it was written big-endian; save it on a common machine")
    count = said.get(1, 0)
    if not isinstance(count, int) or not 0 < count <= 100_000:
        raise HubError(f"it claims {quoted(count)} shards")
    return count


def _entry(value: bytes) -> _Entry:
    single: dict[int, Any] = {}
    slices = []
    for number, found in fields(value):
        if number == 7:
            extents = [dict(fields(extent)) for n, extent in fields(found) if n == 1]
            slices.append(
                tuple((signed(e.get(1, 0)), signed(e[2]) if 2 in e else -1) for e in extents)
            )
        else:
            single[number] = found
    dims = [dict(fields(dim)) for n, dim in fields(single.get(2, b"")) if n == 2]
    return _Entry(
        dtype=single.get(1, 0),
        shape=tuple(signed(dim.get(1, 0)) for dim in dims),
        shard=single.get(3, 0),
        offset=signed(single.get(4, 0)),
        size=signed(single.get(5, 0)),
        crc=single.get(6),
        slices=tuple(slices),
    )


def _tensor(
    key: bytes, entry: _Entry, entries: Mapping[bytes, _Entry], data: list[np.ndarray]
) -> np.ndarray:
    """One variable: a view of its shard, or joined from the slices of a partitioned variable."""
    if not entry.slices:
        return _view(entry, data)
    if any(size < 0 for size in entry.shape) or len(entry.shape) > 32:
        raise HubError(f"claims the shape {entry.shape}")
    stored = sum(len(shard) for shard in data)
    if math.prod(entry.shape) * _DTYPES[entry.dtype].itemsize > stored:
        raise HubError(f"claims the shape {entry.shape}, more than the {stored} bytes stored")
    whole = np.zeros(entry.shape, _DTYPES[entry.dtype])
    filled = 0
    for extents in entry.slices:
        part = entries.get(slice_key(key, extents))
        if part is None:
            raise HubError(f"lacks its slice {extents}")
        box = tuple(
            slice(None) if length < 0 else slice(start, start + length) for start, length in extents
        )
        piece = _view(part, data)
        if len(box) != whole.ndim or whole[box].shape != piece.shape:
            raise HubError(f"has a slice {extents} of the shape {piece.shape}")
        whole[box] = piece
        filled += piece.size
    if filled != whole.size:
        raise HubError(
            f"is covered by {filled} of {whole.size} numbers: slices are lost or overlap"
        )
    return whole


def _view(entry: _Entry, data: list[np.ndarray]) -> np.ndarray:
    if not 0 <= entry.shard < len(data):
        raise HubError(f"lies in shard {entry.shard} of {len(data)}")
    shard, dtype = data[entry.shard], _DTYPES.get(entry.dtype)
    end = entry.offset + entry.size
    if not 0 <= entry.offset <= end <= len(shard):
        raise HubError(
            f"claims bytes {entry.offset} to {end} of a shard of {len(shard)}: it is truncated"
        )
    if any(size < 0 for size in entry.shape) or len(entry.shape) > 32 or dtype is None:
        raise HubError(f"claims the shape {entry.shape} and the type {entry.dtype}")
    if math.prod(entry.shape) * dtype.itemsize != entry.size:
        raise HubError(f"has {entry.size} bytes for the shape {entry.shape} of {dtype}")
    raw = shard[entry.offset : end]
    if entry.crc is not None and entry.size <= _CHECKED_BYTES:
        if masked_crc32c(raw.tobytes()) != entry.crc:
            raise HubError("has a wrong checksum: the file is damaged")
    if entry.offset % dtype.itemsize:
        # Shards are packed without padding; NumPy copes with odd places, other code may not.
        raw = raw.copy()
    return raw.view(dtype).reshape(entry.shape)


def _full_names(graph: _Entry | None, data: list[np.ndarray]) -> dict[str, str]:
    """Names of a TF2 checkpoint's variables by the key each is stored under."""
    if graph is None or graph.dtype != _STRING or graph.shard >= len(data):
        return {}
    raw = data[graph.shard][graph.offset : graph.offset + graph.size].tobytes()
    length, at = varint(raw, 0)
    # Four bytes of checksum follow the length.
    return object_names(raw[at + 4 : at + 4 + length])
