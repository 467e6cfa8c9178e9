"""What every reader of foreign files returns: named arrays, and what else lay beside them."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.hub.errors import HubError


@dataclasses.dataclass(frozen=True, eq=False)
class RawFile:
    """Arrays under the names a file gives them, without any knowledge of models.

    Attributes:
        arrays: Read-only arrays by name; views of the mapped file where its layout allows.
        aside: Plain values beside the arrays: metadata, epochs, best accuracies.
        format: What kind of file it was.
    """

    arrays: Mapping[str, np.ndarray]
    aside: Mapping[str, Any]
    format: str


def existing_file(file: str | Path) -> Path:
    """Finds a file that can be read.

    Raises:
        HubError: If there is none, saying what is there instead.
    """
    path = Path(file).expanduser()
    if path.is_dir():
        raise HubError(
            f"{path} is a folder, not a weight file; a run folder is read by 'run:{path}'"
        )
    if not path.is_file():
        beside = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
        there = f"; its folder holds {beside[:10]}" if beside else "; its folder is absent or empty"
        raise HubError(f"there is no weight file {path}{there}")
    return path


def mapped(path: Path) -> np.ndarray:
    """Maps a file's bytes into memory, read-only; nothing is read until it is touched.

    Raises:
        HubError: If the file is empty or unreadable.
    """
    try:
        if path.stat().st_size == 0:
            raise HubError(f"{path} is empty (0 bytes): the download or copy did not happen")
        return np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
    except OSError as error:
        raise HubError(f"{path} cannot be read: {error}") from error


def file_sha256(path: Path) -> str:
    """Computes the SHA-256 of a file, for provenance."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
