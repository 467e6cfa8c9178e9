"""Finds the one state dict in what a training script saved, and keeps plain values aside."""

from pathlib import Path
from typing import Any

from tlearn.hub.errors import HubError, quoted
from tlearn.params import nearest

_DEEPEST = 4
_MOST = 200_000
# Training wrappers put these before every name.
_WRAPPERS = ("module.", "_orig_mod.")


def find_state_dict(
    path: Path, root: Any, key: str | None, tensor: type
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Finds the dictionary of tensors in a file's root value.

    Args:
        path: The file, for errors.
        root: What the pickle built.
        key: Which dictionary to take; ``/`` goes down a level.
        tensor: The class of tensors.

    Returns:
        Tensors by name, and the plain values (numbers, text) found beside them.

    Raises:
        HubError: If there is no such dictionary, or more than one and no key.
    """
    if not isinstance(root, dict):
        raise HubError(
            f"{path} holds a {type(root).__name__}, not a dictionary of tensors by name: "
            "save model.state_dict() there"
        )
    found: dict[str, dict[str, Any]] = {}
    aside: dict[str, Any] = {}
    _search(root, "", found, aside, tensor, [0])
    if not found:
        raise HubError(
            f"{path} holds no dictionary of tensors by name; its keys are "
            f"{[quoted(k, 40) for k in list(root)[:10]]}"
        )
    if key is None and len(found) > 1:
        raise HubError(
            f"{path} holds {len(found)} dictionaries of tensors: {sorted(found)[:10]}; "
            "say which with key=..."
        )
    chosen = next(iter(found)) if key is None else key
    if chosen not in found:
        raise HubError(
            f"{path} has no dictionary of tensors {quoted(key)}; it has {sorted(found)[:10]}"
            + (f"; nearest: {nearest(chosen, found)}" if nearest(chosen, found) else "")
        )
    return found[chosen], aside


def _search(
    node: dict[Any, Any],
    name: str,
    found: dict[str, dict[str, Any]],
    aside: dict[str, Any],
    tensor: type,
    visited: list[int],
) -> None:
    """Walks nested dictionaries, bounded in depth and number: a file may make them endless."""
    visited[0] += len(node) + 1
    if visited[0] > _MOST:
        raise HubError(f"more than {_MOST} values are nested in the file")
    tensors = {k: v for k, v in node.items() if isinstance(v, tensor) and isinstance(k, str)}
    if tensors:
        found[name] = tensors
    for key, value in node.items():
        if not isinstance(key, str):
            continue
        inner = f"{name}/{key}" if name else key
        if isinstance(value, dict) and inner.count("/") < _DEEPEST:
            _search(value, inner, found, aside, tensor, visited)
        elif isinstance(value, (str, int, float, bool)) and len(aside) < 100:
            if not isinstance(value, (str, int)) or len(quoted(value, 10**4)) < 10**3:
                aside[inner] = value


def strip_wrapper(names: list[str]) -> str:
    """Finds the prefix a training wrapper put before every name; empty if there is none.

    Example:
        >>> strip_wrapper(["module.conv1.weight", "module.bn1.bias"])
        'module.'
    """
    prefix = ""
    while names:
        more = next(
            (w for w in _WRAPPERS if all(name.startswith(prefix + w) for name in names)), None
        )
        if more is None:
            return prefix
        prefix += more
    return prefix
