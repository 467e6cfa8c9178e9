"""What data is, in one digest: files by their contents, installed packages by their versions."""

import functools
import hashlib
from importlib import metadata
from pathlib import Path
from sys import version

from tlearn.data import embedded
from tlearn.data.places import is_place


def fingerprint(spec: str) -> str:
    """SHA-256 of what a dataset's or corpus's name stands for.

    Several names joined by ``+`` are taken one by one; a split behind ``@`` is part of the name.

    Args:
        spec: As `tlearn.data.open_texts`, `open_dataset` and `open_corpus` take it.
    """
    code = hashlib.sha256(spec.encode())
    names = [spec] if _place(spec) is not None else spec.split("+")
    for name in names:
        place = _place(name.rpartition("@")[0] or name)
        if place is not None:
            code.update(_files(place).encode())
        elif name.startswith("embedded:"):
            code.update(_package(name.partition(":")[2].rpartition("@")[0] or name).encode())
    return code.hexdigest()


def _place(spec: str) -> Path | None:
    """The file or folder of a name; None if it names none."""
    for text in (spec.partition(":")[2], spec):
        if is_place(text):
            return Path(text).expanduser()
    return None


def _files(place: Path) -> str:
    files = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file())
    return " ".join(
        f"{file.relative_to(place)} {_file(file, file.stat().st_size, file.stat().st_mtime_ns)}"
        for file in files
    )


# Several stages read one file.
@functools.lru_cache(maxsize=4096)
def _file(file: Path, size: int, changed: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _package(name: str) -> str:
    """Versions of the packages that a documentation is read of, and of how it is read.

    Python's own is always among them.
    """
    found = [version, f"rules {embedded.RULES}"]
    for part in name.replace("embedded:", "").replace(",", "+").split("+"):
        package = part.partition(".")[0].strip()
        try:
            found.append(f"{package} {metadata.version(_DISTRIBUTIONS.get(package, package))}")
        except metadata.PackageNotFoundError:
            found.append(package)
    return " ".join(found)


_DISTRIBUTIONS = {"sklearn": "scikit-learn"}
