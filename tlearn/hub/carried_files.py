"""Tokenizer and preprocessor files that travel with weights: written, and read by their digests."""

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tlearn.hub.errors import HubError, listed, quoted

_LIMIT = 64 * 2**20
_MOST = 100


def inside(name: str) -> bool:
    """Whether a name from outside stays within the folder it is said to lie in."""
    pure = PurePosixPath(name.replace("\\", "/"))
    plain = bool(pure.parts) and not pure.is_absolute() and ".." not in pure.parts
    return plain and ":" not in name and "\0" not in name and len(name) <= 200


def write_files(folder: Path, files: Mapping[str, bytes]) -> dict[str, str]:
    """Writes files under a folder, which is made if there are any.

    Returns:
        SHA-256 by name.

    Raises:
        HubError: If a name leads out of the folder.
        OSError: If one cannot be written.
    """
    digests: dict[str, str] = {}
    for name, content in sorted(files.items()):
        if not inside(name):
            raise HubError(f"the file {quoted(name)} would lie outside the folder")
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        digests[name] = hashlib.sha256(content).hexdigest()
    return digests


def read_files(folder: Path, digests: Any) -> dict[str, bytes]:
    """Reads what `write_files` wrote.

    Raises:
        HubError: Naming every file that is absent, altered, too large, or outside the folder.
    """
    sound = isinstance(digests, dict) and all(isinstance(v, str) for v in digests.values())
    if not sound or len(digests) > _MOST:
        raise HubError(f"files must map at most {_MOST} names to digests")
    found: dict[str, bytes] = {}
    problems: list[str] = []
    for name, digest in digests.items():
        place = folder / name
        try:
            if not inside(name):
                problems.append(f"the file {quoted(name)} lies outside the folder")
            elif not place.is_file():
                problems.append(f"the file {quoted(name)} is missing")
            elif place.stat().st_size > _LIMIT:
                problems.append(f"the file {quoted(name)} has more than {_LIMIT} bytes")
            else:
                found[name] = place.read_bytes()
                if hashlib.sha256(found[name]).hexdigest() != digest:
                    problems.append(f"the file {quoted(name)} is not the one that was saved")
        except OSError as error:
            problems.append(f"the file {quoted(name)} cannot be read: {error}")
    if problems:
        raise HubError(f"{folder} is not as it was saved:\n{listed(problems)}")
    return found
