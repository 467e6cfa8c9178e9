"""Datasets that are opened again and again in one place are read once there."""

import contextlib
import contextvars
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

from tlearn.data.dataset import Examples

_KEPT: contextvars.ContextVar[dict[Hashable, Any] | None] = contextvars.ContextVar(
    "_KEPT", default=None
)


@contextlib.contextmanager
def reading_once() -> Iterator[None]:
    """Within this, what `open_dataset` and `open_texts` have opened is not read again.

    Many runs of one study differ in a subset only: their data is read, and held, once. Files are
    taken not to change meanwhile; nothing is kept afterwards.
    """
    before = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(before)


def read_once(key: Hashable, read: Callable[[], Examples]) -> Examples:
    """Reads, or gives what was read under the same key; always reads outside of `reading_once`."""
    kept = _KEPT.get()
    if kept is None:
        return read()
    if key not in kept:
        kept[key] = read()
    return kept[key]


def splits_once(
    key: Hashable, splits: Mapping[str, Callable[[], Examples]]
) -> Mapping[str, Callable[[], Examples]]:
    """The same splits, each read once within `reading_once`."""

    def once(name: str) -> Callable[[], Examples]:
        return lambda: read_once((key, name), splits[name])

    return splits if _KEPT.get() is None else {name: once(name) for name in splits}
