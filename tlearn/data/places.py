"""Whether a name is that of a file or folder, and which one is nearest if not."""

import difflib
from pathlib import Path


def is_place(name: str) -> bool:
    """Whether there is a file or folder of this name; ``~`` is the home folder.

    A name that none can have, empty, too long or with a NUL in it, is that of none: a dataset's
    name may list many modules.
    """
    try:
        return bool(name) and Path(name).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False


def nearest_place(name: str) -> str | None:
    """The file or folder whose name is nearest to a missing one, where that would lie.

    None if no name there is near, or if nothing can be looked up.
    """
    try:
        path = Path(name).expanduser()
        beside = [entry.name for entry in path.parent.iterdir()]
    except (OSError, ValueError, RuntimeError):
        return None
    near = difflib.get_close_matches(path.name, beside, n=1)
    return str(path.parent / near[0]) if near else None
