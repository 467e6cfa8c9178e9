"""What the tables of vision folders share: squares, labels, and refusals by name."""

import re
from collections.abc import Mapping
from typing import Any

from tlearn.bodies.activations import ACTIVATIONS
from tlearn.hub.errors import HubError, listed, quoted
from tlearn.hub.tables.folder_family import Shapes
from tlearn.params import nearest

_GENERIC = re.compile(r"LABEL_\d+")


def side(config: Mapping[str, Any], key: str, default: int, problems: list[str]) -> int:
    """Reads a side in pixels: a number, or a pair of equal ones."""
    value = config.get(key, default)
    pair = list(value) if isinstance(value, (list, tuple)) else [value, value]
    if len(pair) != 2 or not all(isinstance(x, int) and x > 0 for x in pair):
        problems.append(f"{key}={quoted(value)} is no size in pixels")
        return default
    if pair[0] != pair[1]:
        problems.append(f"{key}={pair[0]}x{pair[1]}: only squares are known here")
    return pair[0]


def whole(
    config: Mapping[str, Any], key: str, default: int | None, problems: list[str], least: int = 1
) -> int:
    """Reads a whole number."""
    value = config.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        problems.append(f"{key} must be a whole number of at least {least}, got {quoted(value)}")
        return least if default is None else default
    return value


def number(config: Mapping[str, Any], key: str, default: float, problems: list[str]) -> float:
    """Reads a number that is not negative."""
    value = config.get(key, default)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not value >= 0:
        problems.append(f"{key} must be a number of at least 0, got {quoted(value)}")
        return default
    return float(value)


def activation(config: Mapping[str, Any], key: str, default: str, problems: list[str]) -> str:
    """Reads the name of an activation."""
    value = config.get(key, default)
    if value not in ACTIVATIONS:
        close = nearest(str(value), ACTIVATIONS, 1)
        problems.append(
            f"{key}={quoted(value)} is no activation known here"
            + (f"; nearest: {close[0]!r}" if close else "")
        )
        return default
    return value


def labels_of(
    config: Mapping[str, Any], classes: int | None, problems: list[str]
) -> tuple[str, ...] | None:
    """Reads ``id2label``; names such as LABEL_0 say nothing."""
    given = config.get("id2label")
    if classes is None or not isinstance(given, Mapping) or not given:
        return None
    names = {str(key): str(value) for key, value in given.items()}
    if all(_GENERIC.fullmatch(name) for name in names.values()):
        return None
    if set(names) != {str(i) for i in range(classes)}:
        problems.append(f"id2label names {len(names)} labels, but the head has {classes} outputs")
        return None
    ordered = tuple(names[str(i)] for i in range(classes))
    return ordered if len(set(ordered)) == len(ordered) else None


def labels_to(names: tuple[str, ...] | None, classes: int) -> dict[str, Any]:
    """Writes ``id2label`` and ``label2id``."""
    known = names or tuple(f"LABEL_{i}" for i in range(classes))
    return {
        "id2label": {str(i): name for i, name in enumerate(known)},
        "label2id": {name: i for i, name in enumerate(known)},
    }


def counted(pattern: str, shapes: Shapes, problems: list[str], what: str) -> int:
    """Counts numbered parts by their names: 0, 1, 2... without a gap."""
    expression = re.compile(pattern)
    found = {int(match[1]) for name in shapes if (match := expression.match(name))}
    if found != set(range(len(found))) or not found:
        problems.append(f"its {what} are numbered {sorted(found)[:10]}, not 0, 1, 2...")
    return max(len(found), 1)


def size_of(shapes: Shapes, name: str, axis: int, problems: list[str]) -> int:
    """Reads one side of an array's shape."""
    shape = shapes.get(name)
    if shape is None:
        problems.append(f"{name!r} is missing")
        return 1
    if not -len(shape) <= axis < len(shape):
        problems.append(f"{name!r} has the shape {shape}")
        return 1
    return shape[axis]


def refuse(name: str, problems: list[str]) -> None:
    """Raises all problems at once, if there are any.

    Raises:
        HubError: With every problem.
    """
    if problems:
        raise HubError(f"this is no {name} model that tlearn knows:\n{listed(problems)}")


def wanted_fields(body: Mapping[str, Any], wanted: Mapping[str, Any], problems: list[str]) -> None:
    """Lists the fields of a body whose value a foreign layout cannot hold."""
    problems += [
        f"{field} must be {value!r}, not {body.get(field)!r}"
        for field, value in wanted.items()
        if body.get(field) != value
    ]
