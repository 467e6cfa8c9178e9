"""A folder of files made once and kept: there whole or not at all, whatever is killed."""

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_folder(folder: Path, *, replace: bool) -> Iterator[Path]:
    """Yields a folder that becomes ``folder`` on success and vanishes on failure.

    What a killed process left behind is removed by the next one on the same machine.

    Args:
        folder: Where it goes; its parent is made.
        replace: Take the place of a folder that is there. Otherwise that one stays: what another
            process has made in the meantime is as good.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{folder.name}.partial-{socket.gethostname()}-"
    for left in folder.parent.iterdir():
        if left.name.startswith(prefix) and not _alive(left.name.removeprefix(prefix)):
            shutil.rmtree(left, ignore_errors=True)
    partial = folder.parent / f"{prefix}{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        for path in (*partial.iterdir(), partial):
            to_disk(path)
        old = partial.with_name(partial.name + "-old")
        if replace and folder.exists():
            folder.rename(old)
        with contextlib.nullcontext() if replace else contextlib.suppress(OSError):
            partial.rename(folder)
        to_disk(folder.parent)
        # Not before its successor is sure to outlive a power cut.
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def to_disk(path: Path) -> None:
    """Makes sure that a file's or folder's content outlives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
