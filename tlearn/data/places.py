"""Whether a name is that of a file or folder."""

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
