"""Whether a name is that of a file or folder, which split is behind it, and what is nearest."""

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


def place_of(name: str) -> Path | None:
    """The file or folder behind a name and its kinds, as in ``dataset:text:DIR``; None if none."""
    own = name.removeprefix("dataset:")
    kind, _, rest = own.partition(":")
    # Of several names joined by +, the last may be a place.
    for text in (rest if kind.isidentifier() else "", own):
        if is_place(text):
            return Path(text).expanduser()
    return None


def named_split(name: str) -> tuple[str, str]:
    """Cuts the split behind ``@`` off a name; empty for none.

    Paths may hold an ``@`` too: what is there by its whole name has no split, and a split no ``/``.
    """
    before, _, split = name.rpartition("@")
    return (name, "") if not before or "/" in split or place_of(name) else (before, split)


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
