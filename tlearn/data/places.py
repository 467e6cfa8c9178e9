"""Whether a name is that of a file or folder, and which split is named behind it."""

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
