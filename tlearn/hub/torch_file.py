"""PyTorch files, zip (since 1.6) and legacy, read without torch and without executing a pickle."""

import dataclasses
import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from tlearn.hub.archive import open_archive
from tlearn.hub.errors import HubError, listed, quoted
from tlearn.hub.pickle_machine import run_pickle
from tlearn.hub.raw import RawFile, existing_file, mapped
from tlearn.hub.state_dict import find_state_dict

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_STORAGES: dict[str, np.dtype] = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}


@dataclasses.dataclass(frozen=True)
class _Name:
    """Stands for a global name; nothing but `_Builder.call` gives it a meaning."""

    name: str


@dataclasses.dataclass(frozen=True, eq=False)
class _Storage:
    key: str
    dtype: np.dtype
    count: int
    begin: int
    length: int


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor as the pickle claims it: not one byte of it is read yet."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Builder:
    """The whitelist: these names, and no others, mean something."""

    def __init__(self) -> None:
        self.storages: dict[str, _Storage] = {}
        self.calls: dict[str, Callable[[tuple[Any, ...]], Any]] = {
            "torch._utils._rebuild_tensor": self._tensor,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_parameter": self._parameter,
            "collections.OrderedDict": self._ordered_dict,
            "torch.Size": self._size,
            "torch.device": self._device,
        }

    def find(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return _Name(f"torch.{name}")
        full = f"{module}.{name}"
        # Both parts are compared whole: no dotted path is ever followed.
        if "." not in name and full in self.calls:
            return _Name(full)
        raise HubError(
            f"the file asks for {quoted(full, 120)}, which builds no tensor; it was not imported. "
            "If you trust the file's maker, load it where it was made and save only its state "
            "dict of tensors, best as safetensors"
        )

    def call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        if not isinstance(function, _Name) or function.name not in self.calls:
            what = function.name if isinstance(function, _Name) else type(function).__name__
            raise HubError(f"the file calls {what}, which is no function that builds tensors")
        return self.calls[function.name](arguments)

    def set_state(self, value: Any, state: Any) -> None:
        # torch hangs version numbers on its ordered dicts; they say nothing about the weights.
        if not isinstance(value, dict) or not isinstance(state, dict):
            raise HubError(f"the file sets the state of a {type(value).__name__}")

    def persistent(self, identity: Any) -> _Storage:
        fits = isinstance(identity, tuple) and len(identity) in (5, 6) and identity[0] == "storage"
        if not fits:
            raise HubError("an outside object is no storage of numbers")
        _, kind, key, _, count, *view = identity
        dtype = _STORAGES.get(kind.name.removeprefix("torch.")) if isinstance(kind, _Name) else None
        if dtype is None or not isinstance(key, str) or not _count(count):
            raise HubError("a storage needs a known type, a name and a size")
        known = self.storages.setdefault(key, _Storage(key, dtype, count, 0, count))
        if (known.dtype, known.count) != (dtype, count):
            raise HubError(f"storage {quoted(key)} is described in two ways")
        if not view or view[0] is None:
            return known
        if not isinstance(view[0], tuple) or len(view[0]) != 3:
            raise HubError(f"storage {quoted(key)} has a broken view")
        _, begin, length = view[0]
        if not _count(begin) or not _count(length) or begin + length > count:
            raise HubError(f"a view of storage {quoted(key)} leaves its {count} elements")
        return dataclasses.replace(known, begin=begin, length=length)

    def _tensor(self, arguments: tuple[Any, ...]) -> Tensor:
        if not 4 <= len(arguments) <= 7:
            raise HubError(f"a tensor is described by 4 to 7 values, not {len(arguments)}")
        storage, offset, shape, strides = arguments[:4]
        if not isinstance(storage, _Storage):
            raise HubError("a tensor has no storage")
        if not _count(offset) or not _counts(shape) or not _counts(strides):
            raise HubError("a tensor's offset, shape or strides are no whole numbers from 0")
        if len(shape) != len(strides) or len(shape) > 32:
            raise HubError(f"a tensor has {len(shape)} sizes and {len(strides)} strides")
        numbers = math.prod(shape)
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if numbers and last >= storage.length:
            raise HubError(
                f"a tensor reaches element {quoted(last)} of storage {quoted(storage.key)}, "
                f"which has {storage.length}"
            )
        if numbers > storage.length:
            raise HubError(
                f"a tensor claims {quoted(numbers)} elements of storage {quoted(storage.key)}, "
                f"which has {storage.length}: expanded tensors must be saved as plain ones"
            )
        return Tensor(storage, storage.begin + offset, tuple(shape), tuple(strides))

    def _parameter(self, arguments: tuple[Any, ...]) -> Tensor:
        if not arguments or not isinstance(arguments[0], Tensor):
            raise HubError("a parameter is made of something that is no tensor")
        return arguments[0]

    def _ordered_dict(self, arguments: tuple[Any, ...]) -> dict[Any, Any]:
        if not arguments:
            return {}
        pairs = arguments[0]
        flat = isinstance(pairs, (list, tuple)) and all(
            isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], (str, int))
            for pair in pairs
        )
        if len(arguments) != 1 or not flat:
            raise HubError("an ordered dict is made of something else than pairs")
        return dict(pairs)

    def _size(self, arguments: tuple[Any, ...]) -> tuple[int, ...]:
        if len(arguments) != 1 or not _counts(arguments[0]):
            raise HubError("a torch.Size is no tuple of whole numbers")
        return tuple(arguments[0])

    def _device(self, arguments: tuple[Any, ...]) -> str:
        return ":".join(quoted(part, 20).strip("'") for part in arguments[:2])


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _counts(values: Any) -> bool:
    return isinstance(values, (tuple, list)) and all(_count(value) for value in values)


def read_torch(file: str | Path, key: str | None = None) -> RawFile:
    """Reads the tensors of a file that ``torch.save`` wrote; they are views of the mapped file.

    Args:
        file: A ``.pt``, ``.pth``, ``.th``, ``.bin`` file of either format.
        key: Which of several state dicts to take, as in ``"model_ema"``; a path with ``/`` for
            nested ones. Without it the file must hold exactly one.

    Returns:
        The tensors by name, and the plain values found beside them.

    Raises:
        HubError: If the file is torn, asks for anything but tensors, or claims bytes it does not
            have. No global of the file is imported, nothing it names is called.
    """
    path = existing_file(file)
    builder = _Builder()
    if zipfile.is_zipfile(path):
        root, contents = _read_zip(path, builder)
    else:
        root, contents = _read_legacy(path, builder)
    tensors, aside = find_state_dict(path, root, key, Tensor)
    return RawFile(_view(path, tensors, contents), aside, "torch")


def _read_zip(path: Path, builder: _Builder) -> tuple[Any, dict[str, np.ndarray]]:
    members = open_archive(path)
    pickles = [name for name in members if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise HubError(
            f"{path} is a zip archive with {len(pickles)} members data.pkl, not one: it was not "
            f"written by torch.save; it holds {sorted(members)[:5]}"
        )
    folder = pickles[0].removesuffix("data.pkl")
    order = members.get(f"{folder}byteorder")
    if order is not None and order.size < 16 and bytes(order.read()) != b"little":
        raise HubError(f"{path} was written on a big-endian machine: save it again on a common one")
    root, _ = run_pickle(members[pickles[0]].read(), 0, builder, f"{path}, {pickles[0]}")
    problems: list[str] = []
    contents: dict[str, np.ndarray] = {}
    for key, storage in builder.storages.items():
        name, wanted = f"{folder}data/{key}", storage.count * storage.dtype.itemsize
        if name not in members:
            problems.append(f"storage {quoted(key)} has no member {quoted(name)}")
        elif members[name].size != wanted:
            problems.append(
                f"storage {quoted(key)} claims {wanted} bytes, its member has {members[name].size}"
            )
        else:
            contents[key] = members[name].read().view(storage.dtype)
    if problems:
        raise HubError(f"{path} is no sound PyTorch file:\n{listed(problems)}")
    return root, contents


def _read_legacy(path: Path, builder: _Builder) -> tuple[Any, dict[str, np.ndarray]]:
    data = mapped(path)
    if data[0] != 0x80:
        raise HubError(
            f"{path} is neither of torch's formats: it begins with {bytes(data[:8])!r}, not with a "
            "zip archive or a pickle"
        )
    magic, position = run_pickle(data, 0, builder, str(path))
    if magic != _LEGACY_MAGIC:
        raise HubError(
            f"{path} is a pickle, but not one that torch.save wrote: it does not begin with "
            "torch's number"
        )
    protocol, position = run_pickle(data, position, builder, str(path))
    system, position = run_pickle(data, position, builder, str(path))
    if protocol != _LEGACY_PROTOCOL or not isinstance(system, dict):
        raise HubError(
            f"{path}: torch's legacy format {quoted(protocol)} is unknown (1001 is known)"
        )
    if system.get("little_endian") is not True:
        raise HubError(f"{path} was written on a big-endian machine: save it again on a common one")
    root, position = run_pickle(data, position, builder, str(path))
    keys, position = run_pickle(data, position, builder, str(path))
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise HubError(f"{path}: the list of storages is no list of names")
    contents: dict[str, np.ndarray] = {}
    for key in keys:
        storage = builder.storages.get(key)
        if storage is None or key in contents:
            raise HubError(f"{path}: storage {quoted(key)} is listed twice or used by no tensor")
        end = position + 8 + storage.count * storage.dtype.itemsize
        if end > len(data):
            raise HubError(
                f"{path} is truncated: storage {quoted(key)} ends at byte {quoted(end)}, the file "
                f"at {len(data)}"
            )
        count = int.from_bytes(data[position : position + 8].tobytes(), "little")
        if count != storage.count:
            raise HubError(
                f"{path}: storage {quoted(key)} has {count} elements, the pickle says "
                f"{storage.count}"
            )
        contents[key] = data[position + 8 : end].view(storage.dtype)
        position = end
    absent = sorted(builder.storages.keys() - contents.keys())
    if absent:
        raise HubError(f"{path}: the storages {absent[:10]} are missing: the file is truncated")
    return root, contents


def _view(
    path: Path, tensors: Mapping[str, Tensor], contents: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Turns claims into strided views; their bounds were checked when they were built."""
    views: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        numbers = contents[tensor.storage.key][tensor.offset :]
        strides = tuple(stride * numbers.itemsize for stride in tensor.strides)
        view = np.lib.stride_tricks.as_strided(numbers, tensor.shape, strides, writeable=False)
        views[name] = view if view.size else np.empty(tensor.shape, numbers.dtype)
    held = sum(content.nbytes for content in contents.values())
    claimed = sum(view.nbytes for view in views.values())
    # Tied weights share a storage; a thousand views of one storage are an attack on memory.
    if claimed > 8 * held + 2**20:
        raise HubError(
            f"{path}: its tensors claim {claimed} bytes out of storages of {held} bytes: "
            "too many share one"
        )
    return views
