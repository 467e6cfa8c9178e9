"""Parameters under their paths: nested trees to flat dictionaries and back."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

FlatParams = dict[str, Any]
"""Named arrays, ``{"body/stem/conv/kernel": Array}``: the names files, tables and errors use."""


def flatten(tree: Mapping[str, Any]) -> FlatParams:
    """Lists the leaves of nested mappings under ``/``-joined paths, sorted by path.

    Args:
        tree: Nested mappings with string keys. Empty mappings vanish.

    Raises:
        ValueError: If a key is no string, is empty, or contains ``/``.

    Example:
        >>> flatten({"body": {"stem": {"kernel": 1}}, "head": {"bias": 2}})
        {'body/stem/kernel': 1, 'head/bias': 2}
    """
    flat: FlatParams = {}
    _walk(tree, "", flat)
    return dict(sorted(flat.items()))


def _walk(tree: Mapping[str, Any], prefix: str, flat: FlatParams) -> None:
    for key, value in tree.items():
        if not isinstance(key, str) or not key or "/" in key:
            raise ValueError(
                f"parameter name {key!r} below {prefix or 'the top'!r} cannot be part of a path: "
                "names are non-empty strings without '/'"
            )
        if isinstance(value, Mapping):
            _walk(value, f"{prefix}{key}/", flat)
        else:
            flat[prefix + key] = value


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Builds the nested mappings that `flatten` came from; its exact inverse.

    Raises:
        ValueError: If one path is a prefix of another (a leaf cannot also be a folder).
    """
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *folders, name = path.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
            if not isinstance(node, dict):
                raise ValueError(f"{path!r} goes through {folder!r}, which is itself a parameter")
        if name in node:
            raise ValueError(f"{path!r} is both a parameter and a folder of parameters")
        node[name] = value
    return tree


def layer_of(path: str) -> str:
    """Names the layer a parameter belongs to: a body's direct child, or ``head``.

    Example:
        >>> layer_of("body/stage_1/block_01/conv_1/kernel"), layer_of("head/dense/bias")
        ('stage_1', 'head')
    """
    top, _, rest = path.partition("/")
    return rest.partition("/")[0] if top == "body" else top


def nearest(name: str, names: Iterable[str], n: int = 3) -> list[str]:
    """Finds up to ``n`` names that look most like ``name``, best first, for error messages."""
    return difflib.get_close_matches(name, list(names), n=n, cutoff=0.4)
