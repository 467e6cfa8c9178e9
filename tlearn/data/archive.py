"""Archives (tar, packed or not) of class folders, read into memory once, never unpacked to disk."""

import bz2
import gzip
import lzma
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.data.dataset import ArrayDataset, ImageDataset
from tlearn.data.decode import decode_pixels
from tlearn.data.errors import DataError, listing
from tlearn.data.files import PictureFiles, Progress

ARCHIVE = re.compile(r"(?P<stem>.+)\.(tar|tar\.xz|tar\.gz|tar\.bz2|tgz|txz)")
_Member = tuple[str, bytes]
# Two empty blocks end an archive.
_END = 1024


def tar_splits(
    path: Path,
    *,
    channels: int = 3,
    max_bytes: int = 8 << 30,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
) -> dict[str, Callable[[], ImageDataset]]:
    """Opens an archive of ``[<split>/]<class>/<picture>``, or a folder of archives.

    In a folder, each archive is a split named after the file. Pictures of one size are kept
    decoded; of mixed sizes, as they are in the archive.

    Args:
        path: The archive, or the folder.
        channels: 3 or 1, see `decode_image`.
        max_bytes: The most that is unpacked into memory.
        skip_unreadable: Leave out members that are no pictures, and list them in `skipped`.
        progress: Called with the number of members read.

    Raises:
        DataError: Naming every member that lies outside its archive, is a link or device, has no
            class folder, or is no picture; or if the archive is damaged or too large.
    """
    if path.is_dir():
        archives = {}
        for entry in sorted(path.iterdir()):
            match = ARCHIVE.fullmatch(entry.name)
            if match is not None and entry.is_file():
                archives[match["stem"]] = entry
        if not archives:
            raise DataError(f"{path}: holds no archive such as train.tar.xz")

        def opener(split: str) -> Callable[[], ImageDataset]:
            def read() -> ImageDataset:
                groups = _read(archives[split], max_bytes, progress)
                if len(groups) > 1:
                    raise DataError(
                        f"{archives[split]}: holds several sets ({', '.join(groups)}); open the "
                        "archive itself and name one as the split"
                    )
                members = next(iter(groups.values()))
                return _dataset(members, f"{path.name}/{split}", channels, skip_unreadable)

            return read

        return {split: opener(split) for split in archives}
    if not path.is_file():
        raise DataError(f"{path}: no such archive")
    groups = _read(path, max_bytes, progress)

    def grouped(split: str) -> Callable[[], ImageDataset]:
        return lambda: _dataset(groups[split], f"{path.name}/{split}", channels, skip_unreadable)

    return {split: grouped(split) for split in groups}


class _Whole:
    """Reads an unpacked archive, not past a limit, and knows whether it came to its proper end."""

    def __init__(self, file: Any, path: Path, limit: int):
        self._file, self._path, self._limit = file, path, limit
        self._count, self._last = 0, b""

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._count += len(data)
        self._last = (self._last + data)[-_END:]
        self.allow(0)
        return data

    def allow(self, size: int) -> None:
        """Raises unless so many bytes more may still be read."""
        if self._count + size > self._limit:
            raise DataError(
                f"{self._path}: unpacks to more than max_bytes={self._limit}; unpack it into a "
                "folder and open that, or raise max_bytes"
            )

    def finish(self) -> None:
        """Reads what is left. An archive that was cut short ends otherwise than with empty blocks.

        tarfile takes the end of the file for the end of the archive, so that a cut between two
        members would go unseen.
        """
        while self.read(1 << 20):
            pass
        if self._last != bytes(_END):
            raise EOFError("it ends without its end mark: cut short?")


def _unpacked(path: Path) -> Any:
    """Opens an archive for reading its plain bytes, by what the file starts with."""
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"\xfd7zXZ\0"):
        return lzma.open(path)
    if start.startswith(b"\x1f\x8b"):
        return gzip.open(path)
    return bz2.open(path) if start.startswith(b"BZh") else path.open("rb")


def _read(path: Path, max_bytes: int, progress: Progress | None) -> dict[str, list[_Member]]:
    """Reads all members into memory, grouped by the folder that holds the class folders."""
    groups: dict[str, list[_Member]] = {}
    problems: list[str] = []
    try:
        with _unpacked(path) as raw:
            whole = _Whole(raw, path, max_bytes)
            stream: Any = whole
            # As a stream: packed archives can only be read from front to back.
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for count, member in enumerate(archive, start=1):
                    parts = tuple(part for part in member.name.split("/") if part not in ("", "."))
                    wrong = _problem(member, parts)
                    if wrong:
                        problems.append(f"{member.name} {wrong}")
                    elif not member.isdir():
                        whole.allow(member.size)
                        file = archive.extractfile(member)
                        data = b"" if file is None else file.read()
                        group = groups.setdefault("/".join(parts[:-2]), [])
                        group.append(("/".join(parts), data))
                    if progress is not None:
                        progress(count, 0)
            whole.finish()
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise DataError(f"{path}: no archive, or a damaged one ({error})") from error
    counts = Counter(name for members in groups.values() for name, _ in members)
    problems += [f"{name} occurs twice" for name, times in counts.items() if times > 1]
    if problems:
        raise DataError(f"{path}: members that cannot be used:\n{listing(problems)}")
    if not groups:
        raise DataError(f"{path}: holds no pictures in class folders")
    if len(groups) == 1:
        only = next(iter(groups.values()))
        match = ARCHIVE.fullmatch(path.name)
        return {match["stem"] if match else path.name: only}
    short = {group: group.rpartition("/")[2] or "top" for group in groups}
    names = short if len(set(short.values())) == len(groups) else {group: group for group in groups}
    return {names[group]: members for group, members in groups.items()}


def _problem(member: tarfile.TarInfo, parts: tuple[str, ...]) -> str:
    """Says why a member cannot be a picture of a class; empty when it can, or is a folder."""
    if member.name.startswith("/") or ".." in parts:
        return "lies outside the archive"
    if member.isdir():
        return ""
    if not member.isfile() or member.issparse():
        return "is a link, device or sparse file, expected a plain file"
    return "lies in no class folder" if len(parts) < 2 else ""


def _dataset(
    members: list[_Member], name: str, channels: int, skip_unreadable: bool
) -> ImageDataset:
    """Decodes pictures of one size once; keeps pictures of mixed sizes as they came."""
    members = sorted(members)
    label_names = sorted({path.split("/")[-2] for path, _ in members})
    code = {label: index for index, label in enumerate(label_names)}
    labels = np.array([code[path.split("/")[-2]] for path, _ in members], dtype=np.int32)
    ids = [path for path, _ in members]
    pixels: np.ndarray | None = None
    for index, (_, data) in enumerate(members):
        try:
            image = decode_pixels(data, channels=channels)
        except DataError:
            break
        if pixels is None:
            pixels = np.empty((len(members), *image.shape), np.uint8)
        if image.shape != pixels.shape[1:]:
            break
        pixels[index] = image
    else:
        if pixels is not None:
            return ArrayDataset(pixels, labels, label_names, name=name, ids=ids)
    # Mixed sizes, or a picture that cannot be decoded: the full check names every one of those.
    return PictureFiles(
        [data for _, data in members],
        labels,
        label_names,
        ids=ids,
        name=name,
        channels=channels,
        check="full",
        skip_unreadable=skip_unreadable,
    )
