"""NumPy archives (.npz), read without pickle and without believing their sizes."""

import math
import re
from pathlib import Path

import numpy as np

from tlearn.hub.archive import Member, open_archive
from tlearn.hub.errors import HubError, listed, quoted
from tlearn.hub.raw import RawFile, existing_file

_HEADER_LIMIT = 10_000
# The one form numpy writes for plain arrays. Its own reader evaluates the text as Python.
_HEADER = re.compile(
    r"\{'descr': '([<>|=]?[a-zA-Z]\d{0,9})', 'fortran_order': (True|False), "
    r"'shape': \(((?:\d{1,18}, ?)*\d{0,18})\),? ?\}\s*"
)


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
    # One text beside the arrays is what our own export says of them.
    aside = {n: str(a[()]) for n, a in arrays.items() if a.ndim == 0 and a.dtype.kind == "U"}
    kept = {name: array for name, array in arrays.items() if name not in aside}
    return RawFile(kept, aside, "npz")


def _array(member: Member) -> np.ndarray:
    where = f"member {quoted(member.name)}"
    content = member.read()
    head = content[:12].tobytes()
    lengths = {b"\x01\x00": (8, 10), b"\x02\x00": (8, 12), b"\x03\x00": (8, 12)}
    if head[:6] != b"\x93NUMPY" or head[6:8] not in lengths:
        raise HubError(f"{where} is no array: it begins with {quoted(head[:8])}")
    begin, end = lengths[head[6:8]]
    start = end + int.from_bytes(head[begin:end], "little")
    if start > min(len(content), _HEADER_LIMIT):
        raise HubError(f"{where}: its header claims to end at byte {start} of {len(content)}")
    text = content[end:start].tobytes().decode("latin-1")
    match = _HEADER.fullmatch(text)
    if match is None:
        raise HubError(f"{where} has no header of a plain array: {quoted(text)}")
    shape = tuple(int(size) for size in re.findall(r"\d+", match[3]))
    if match[1].lstrip("<>|=")[0] not in "biufcSU":
        raise HubError(
            f"{where} has the type {quoted(match[1])}, not numbers or text: Python objects, which "
            "only a pickle can bring back, are never read"
        )
    try:
        dtype = np.dtype(match[1])
    except (TypeError, ValueError) as error:
        raise HubError(f"{where} has the unknown type {quoted(match[1])}") from error
    claimed, there = math.prod(shape) * dtype.itemsize, len(content) - start
    if claimed != there or not dtype.itemsize or len(shape) > 32:
        raise HubError(
            f"{where}: {len(shape)} axes of {dtype} make {quoted(claimed)} bytes, "
            f"but {there} follow the header"
        )
    flat = content[start:].view(dtype)
    return flat.reshape(shape[::-1]).T if match[2] == "True" else flat.reshape(shape)
