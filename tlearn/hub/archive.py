"""Zip archives from outside, opened with every claim checked; nothing is ever unpacked to disk."""

import dataclasses
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

from tlearn.hub.errors import HubError, listed, quoted
from tlearn.hub.raw import mapped

_LOCAL_HEADER = struct.Struct("<4sHHHHHIIIHH")
# Trained weights hardly compress; a file that promises more than this is made to fill a disk.
_EXPANSION = 100
_FREE_BYTES = 64 * 2**20


@dataclasses.dataclass(frozen=True, eq=False)
class Member:
    """One entry of an archive.

    Attributes:
        name: Its name in the archive.
        size: Its bytes once inflated, as declared and enforced.
        stored: Its bytes as they lie in the file.
        deflated: Whether these are compressed.
    """

    name: str
    size: int
    stored: np.ndarray
    deflated: bool

    def read(self) -> np.ndarray:
        """Gives the bytes: a view of the mapped file, or inflated up to the declared size.

        Raises:
            HubError: If it does not inflate to exactly the declared size.
        """
        if not self.deflated:
            return self.stored
        inflater = zlib.decompressobj(-15)
        try:
            # One byte more than declared: a stream that lies is caught without being followed.
            content = inflater.decompress(self.stored.tobytes(), self.size + 1)
        except zlib.error as error:
            raise HubError(f"member {quoted(self.name)} does not inflate: {error}") from error
        if len(content) != self.size:
            more = "more than" if len(content) > self.size else f"{len(content)} bytes, not"
            raise HubError(
                f"member {quoted(self.name)} inflates to {more} the declared {self.size}"
            )
        return np.frombuffer(content, np.uint8)


def open_archive(path: Path) -> dict[str, Member]:
    """Lists the members of a zip archive.

    Raises:
        HubError: If the archive is torn, encrypted, names files outside itself, has members that
            overlap or share a name, or would inflate to absurd size; names all such members.
    """
    data = mapped(path)
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, struct.error) as error:
        raise HubError(
            f"{path} is a torn zip archive, or none: {error}; fetch the file again"
        ) from error
    problems: list[str] = []
    members: dict[str, Member] = {}
    spans: list[tuple[int, int, str]] = []
    for info in infos:
        begin = _data_start(info, data, problems)
        if begin is None:
            continue
        end = begin + info.compress_size
        deflated = info.compress_type == zipfile.ZIP_DEFLATED
        if end > len(data):
            problems.append(f"member {quoted(info.filename)} ends at byte {end}, after the file")
        elif info.filename in members:
            problems.append(f"the name {quoted(info.filename)} occurs twice")
        elif not deflated and info.file_size != info.compress_size:
            problems.append(f"member {quoted(info.filename)} declares two sizes but is stored")
        else:
            members[info.filename] = Member(
                info.filename, info.file_size, data[begin:end], deflated
            )
            spans.append((info.header_offset, end, info.filename))
    position, before = 0, ""
    for begin, end, name in sorted(spans):
        if begin < position:
            problems.append(f"members {quoted(before)} and {quoted(name)} overlap")
        position, before = end, name
    inflated = sum(member.size for member in members.values())
    limit = max(_FREE_BYTES, _EXPANSION * len(data))
    if inflated > limit:
        problems.append(
            f"its {len(data)} bytes claim to inflate to {inflated}: a bomb, or no weights"
        )
    if problems:
        raise HubError(f"{path} is no sound archive:\n{listed(problems)}")
    return members


def _data_start(info: zipfile.ZipInfo, data: np.ndarray, problems: list[str]) -> int | None:
    """Finds where a member's bytes begin; adds to the problems and returns None if it is unfit."""
    where = f"member {quoted(info.filename)}"
    pure = PurePosixPath(info.filename.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or ":" in info.filename:
        problems.append(f"{where} names a file outside the archive")
        return None
    if info.flag_bits & 0x1:
        problems.append(f"{where} is encrypted")
        return None
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        problems.append(f"{where} uses the compression method {info.compress_type}, not deflate")
        return None
    head = data[info.header_offset : info.header_offset + _LOCAL_HEADER.size].tobytes()
    if len(head) < _LOCAL_HEADER.size or head[:4] != b"PK\x03\x04":
        problems.append(f"{where} has no local header at byte {info.header_offset}")
        return None
    *_, name_length, extra_length = _LOCAL_HEADER.unpack(head)
    return info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
