"""Settings out of a file: every key known, every value of its type, or one list of what is not."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from tlearn.params.paths import nearest


def build_group(cls: Any, values: Mapping[str, Any], where: str, problems: list[str]) -> Any:
    """Builds a frozen dataclass of settings out of nested values read from a file.

    Args:
        cls: The class; its fields are numbers, texts, tuples, Literals or such classes.
        values: Its fields by name.
        where: What stands before the names in messages.
        problems: Told everything that does not fit.

    Returns:
        The config; None with any problem found in its values.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    given: dict[str, Any] = {}
    before = len(problems)
    for name, value in values.items():
        kind: Any = fields[name].type if name in fields else None
        if kind is None:
            close = nearest(name, fields)
            problems.append(f"unknown key {where + name!r}; closest: {close}")
        elif dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
            given[name] = build_group(kind, value, f"{where}{name}.", problems)
        else:
            given[name] = tuple(value) if isinstance(value, list) else value
            if kind is float and type(value) is int:
                given[name] = float(value)
            if not _fits(given[name], kind):
                wanted = get_args(kind) if get_origin(kind) is Literal else kind
                problems.append(f"{where}{name} is {value!r}; it must be {_spelt(wanted)}")
    for name, field in fields.items():
        if name not in values and field.default is dataclasses.MISSING:
            problems.append(f"{where}{name} is missing")
    if len(problems) > before:
        return None
    try:
        return cls(**given)
    except ValueError as error:
        problems.append(str(error))
        return None


def _fits(value: Any, kind: Any) -> bool:
    """Tells whether a value read from a file is of a field's type."""
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_fits(v, get_args(kind)[0]) for v in value)
    if kind in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if kind is float else kind)


def _spelt(kind: Any) -> str:
    """Names a type, or lists what may be chosen."""
    if isinstance(kind, tuple):
        return " or ".join(map(repr, kind))
    if dataclasses.is_dataclass(kind):
        return "a group of settings"
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(kind, "a list")
