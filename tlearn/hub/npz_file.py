"""NumPy archives (.npz), read without pickle and without believing their sizes."""

import io
import math
from pathlib import Path

import numpy as np

from tlearn.hub.archive import Member, open_archive
from tlearn.hub.errors import HubError, listed, quoted
from tlearn.hub.raw import RawFile, existing_file

_HEADER_LIMIT = 10_000


def read_npz(file: str | Path) -> RawFile:
    """Reads a NumPy archive; members stored without compression are views of the mapped file.

    Raises:
        HubError: If the archive is unsound, or a member is no plain array: Python objects are
            refused, and so is any member whose header claims another size than it has.
    """
    path = existing_file(file)
    problems: list[str] = []
    arrays: dict[str, np.ndarray] = {}
    for name, member in open_archive(path).items():
        try:
            if not name.endswith(".npy"):
                raise HubError(f"member {quoted(name)} is no array: its name must end in .npy")
            arrays[name.removesuffix(".npy")] = _array(member)
        except HubError as error:
            problems.append(str(error))
    if problems:
        raise HubError(f"{path} is no sound NumPy archive:\n{listed(problems)}")
    return RawFile(arrays, {}, "npz")


def _array(member: Member) -> np.ndarray:
    where = f"member {quoted(member.name)}"
    content = member.read()
    stream = io.BytesIO(content[: _HEADER_LIMIT + 16].tobytes())
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(stream, max_header_size=_HEADER_LIMIT)
    except (ValueError, KeyError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise HubError(f"{where} has no readable array header: {reason}") from error
    if dtype.hasobject:
        raise HubError(
            f"{where} holds Python objects, which only a pickle can bring back: "
            "save plain arrays instead"
        )
    if dtype.kind not in "biufcSU" or not dtype.itemsize:
        raise HubError(f"{where} has the dtype {quoted(str(dtype))}: plain numbers or text only")
    if any(type(n) is not int or n < 0 for n in shape):
        raise HubError(f"{where} has an impossible shape")
    claimed, there = math.prod(shape) * dtype.itemsize, len(content) - stream.tell()
    if claimed != there:
        raise HubError(
            f"{where}: shape {quoted(str(shape))} of {dtype} makes {quoted(claimed)} bytes, "
            f"but {there} follow the header"
        )
    flat = content[stream.tell() :].view(dtype)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
