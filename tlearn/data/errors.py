"""What every message of this room is made of: one error class, cut lists and near misses."""

import difflib
from collections.abc import Iterable, Sequence

_SHOWN = 20


class DataError(ValueError):
    """A dataset, split, picture or transform that cannot be used; the message names the fix."""


def listing(items: Sequence[object], *, indent: str = "  ") -> str:
    """Puts items on lines of their own; more than 20 are cut with a count."""
    lines = [f"{indent}{item}" for item in items[:_SHOWN]]
    if len(items) > _SHOWN:
        lines.append(f"{indent}... and {len(items) - _SHOWN} more")
    return "\n".join(lines)


def closest(name: str, names: Iterable[str]) -> str:
    """Says which known name looks most like ``name``, and all names when they are few.

    Example:
        >>> closest("trian", ["train", "test"])
        "did you mean 'train'? (there is: train, test)"
    """
    known = [str(item) for item in names]
    if not known:
        return "there is none"
    lowered = {item.lower(): item for item in known}
    near = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.5)
    guess = f"did you mean {lowered[near[0]]!r}? " if near else ""
    shown = ", ".join(known[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
    return f"{guess}(there is: {shown})"
