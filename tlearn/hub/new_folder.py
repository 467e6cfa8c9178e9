"""A folder written whole or not at all: beside its place, on disk, then renamed into it."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tlearn.data.whole_folder import to_disk
from tlearn.hub.errors import HubError


@contextlib.contextmanager
def new_folder(target: str | Path) -> Iterator[Path]:
    """Gives a folder to fill; it becomes ``target`` when the block ends without an error.

    An error, a full disk or a kill leaves nothing at the target: at worst a hidden folder
    ``.NAME-unfinished-...`` beside it.

    Args:
        target: A folder that is absent or empty.

    Yields:
        The folder to fill.

    Raises:
        HubError: If the target holds something, or cannot be written.
    """
    place = Path(target).expanduser().absolute()
    refuse_taken(place)
    fresh: Path | None = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{place.name}-unfinished-", dir=place.parent))
        yield fresh
        # Temporary folders, and weights written by way of a temporary file, are for their owner
        # only; what is exported is as readable as the folder it lies in.
        mode = place.parent.stat().st_mode
        for path in (*fresh.rglob("*"), fresh):
            path.chmod(mode & (0o777 if path.is_dir() else 0o666))
            to_disk(path)
        if place.exists():
            place.rmdir()  # Empty when we began; if something came in since, this says so.
        fresh.rename(place)
        # In place: a parent that cannot be synced is no reason to take it back.
        with contextlib.suppress(OSError):
            to_disk(place.parent)
    except OSError as error:
        raise HubError(f"{place} could not be written: {error}; nothing was left there") from error
    finally:
        if fresh is not None and fresh.exists():
            shutil.rmtree(fresh, ignore_errors=True)


def refuse_taken(target: str | Path) -> None:
    """Makes sure that a new folder may be written somewhere, before any work is done for it.

    Raises:
        HubError: If there is a file, or a folder that holds anything.
    """
    place = Path(target).expanduser()
    if place.is_dir():
        held = sorted(path.name for path in place.iterdir())
        if held:
            raise HubError(
                f"{place} is not empty ({', '.join(held[:5])}): nothing was written; choose a new "
                "folder, or clear this one"
            )
    elif place.exists() or place.is_symlink():
        raise HubError(f"{place} is a file, and a folder is to be written: choose another name")
