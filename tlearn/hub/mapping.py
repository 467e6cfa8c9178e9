"""Mapping tables as data, and the one engine that applies them, strictly and both ways.

A table says which foreign name is which of our paths. Its rows are pairs of templates; a field such
as ``{at}`` in both stands for one of a fixed list of spellings, so a table spells out every name it
knows: nothing is matched by chance, and what is missing is known by name.
"""

import dataclasses
import itertools
import string
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tlearn.hub.errors import HubError, listed
from tlearn.params import nearest


@dataclasses.dataclass(frozen=True)
class Row:
    """One kind of parameter, there and here.

    Attributes:
        source: Foreign name, with fields.
        target: Our path with the collection first (``params/body/...``), with the same fields;
            empty for what is dropped.
        transform: A name of `TRANSFORMS`, or ``drop``.
        reason: Why it is dropped.
    """

    source: str
    target: str
    transform: str = "identity"
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """All names of one checkpoint.

    Attributes:
        name: The table's name, as in provenance and errors.
        rows: Its rows.
        fields: For every field, the pairs (spelling there, spelling here).
    """

    name: str
    rows: tuple[Row, ...]
    fields: Mapping[str, tuple[tuple[str, str], ...]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Transform:
    """How an array's layout changes; the inverse is exact.

    Attributes:
        rank: How many axes the array has; None for any number.
        axes: Where each axis of our array lies in the foreign one; empty for no change.
        single: An axis of the foreign array that must have size 1, or None.
    """

    rank: int | None
    axes: tuple[int, ...]
    single: int | None = None

    def forward(self, array: np.ndarray) -> np.ndarray:
        """Turns the foreign layout into ours, always as a copy of its own."""
        if self.rank is not None and array.ndim != self.rank:
            raise HubError(f"has the shape {array.shape}, but {self.rank} axes are wanted")
        if self.single is not None and array.shape[self.single] != 1:
            raise HubError(f"has the shape {array.shape}, but axis {self.single} must be 1")
        return np.array(array.transpose(self.axes) if self.axes else array, order="C", copy=True)

    def backward(self, array: np.ndarray) -> np.ndarray:
        """Turns our layout into the foreign one; `forward` undoes it bit for bit."""
        if self.rank is not None and array.ndim != self.rank:
            raise HubError(f"has the shape {array.shape}, but {self.rank} axes are wanted")
        there = array.transpose(tuple(np.argsort(self.axes))) if self.axes else array
        return np.array(there, order="C", copy=True)


TRANSFORMS: dict[str, Transform] = {
    "identity": Transform(None, ()),
    # torch keeps [out, in, rows, columns], we [rows, columns, in, out].
    "conv": Transform(4, (2, 3, 1, 0)),
    "depthwise": Transform(4, (2, 3, 1, 0), single=1),
    # torch keeps [out, in], we [in, out].
    "linear": Transform(2, (1, 0)),
    "vector": Transform(1, ()),
}
"""The changes of layout a table may name."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """One foreign name and what becomes of it."""

    source: str
    target: str
    transform: str
    reason: str


def expand(table: Table) -> tuple[Pair, ...]:
    """Spells out every name of a table.

    Raises:
        HubError: If the table itself is faulty: unknown transforms or fields, or a name that two
            rows produce on either side.
    """
    problems: list[str] = []
    pairs: list[Pair] = []
    for row in table.rows:
        names = [field for _, field, _, _ in string.Formatter().parse(row.source) if field]
        there = {field for _, field, _, _ in string.Formatter().parse(row.target) if field}
        if row.transform == "drop":
            if row.target or not row.reason:
                problems.append(f"row {row.source!r} drops: it needs a reason and no target")
        elif row.transform not in TRANSFORMS:
            problems.append(f"row {row.source!r} has the unknown transform {row.transform!r}")
        elif there != set(names):
            problems.append(f"row {row.source!r} and its target have different fields")
        unknown = set(names) - table.fields.keys()
        if unknown:
            problems.append(f"row {row.source!r} uses the unknown fields {sorted(unknown)}")
            continue
        for spellings in itertools.product(*(table.fields[name] for name in names)):
            source = {name: pair[0] for name, pair in zip(names, spellings, strict=True)}
            target = {name: pair[1] for name, pair in zip(names, spellings, strict=True)}
            pairs.append(
                Pair(
                    row.source.format(**source),
                    row.target.format(**target),
                    row.transform,
                    row.reason,
                )
            )
    for side in ("source", "target"):
        seen: set[str] = set()
        for pair in pairs:
            name = getattr(pair, side)
            if name and name in seen:
                problems.append(f"two rows produce the {side} {name!r}")
            seen.add(name)
    if problems:
        raise HubError(f"the mapping table {table.name!r} is faulty:\n{listed(problems)}")
    return tuple(pairs)


def apply(table: Table, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Maps foreign arrays to ours: every array is used, every parameter is found, or it raises.

    Args:
        table: What is what.
        arrays: Arrays by foreign name.

    Returns:
        Copies in our layout and names, sorted by name; dtypes as they were.

    Raises:
        HubError: Naming every array the table does not know, every name it misses, and every array
            of the wrong rank.
    """
    pairs = {pair.source: pair for pair in expand(table)}
    wanted = [pair.source for pair in pairs.values() if pair.target]
    spare = [name for name in arrays if name not in pairs]
    problems = [
        f"{name!r} is missing{_closest(name, spare)}" for name in wanted if name not in arrays
    ]
    absent = [name for name in wanted if name not in arrays]
    problems += [
        f"{name!r} is not in the table{_closest(name, absent or wanted)}" for name in spare
    ]
    mapped: dict[str, np.ndarray] = {}
    for name, pair in pairs.items():
        if pair.target and name in arrays:
            try:
                mapped[pair.target] = TRANSFORMS[pair.transform].forward(np.asarray(arrays[name]))
            except HubError as error:
                problems.append(f"{name!r} {error}")
    if problems:
        raise HubError(f"the arrays do not fit the table {table.name!r}:\n{listed(problems)}")
    return dict(sorted(mapped.items()))


def invert(table: Table, flat: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Maps our arrays to foreign names and layout: the exact inverse of `apply`.

    Dropped names are not written.

    Raises:
        HubError: Naming every parameter the table does not know and every one it misses.
    """
    pairs = {pair.target: pair for pair in expand(table) if pair.target}
    spare = [path for path in flat if path not in pairs]
    problems = [f"{path!r} is missing{_closest(path, spare)}" for path in pairs if path not in flat]
    problems += [f"{path!r} is not in the table{_closest(path, pairs)}" for path in spare]
    mapped: dict[str, np.ndarray] = {}
    for path, pair in pairs.items():
        if path in flat:
            try:
                transform: Callable[[np.ndarray], np.ndarray] = TRANSFORMS[pair.transform].backward
                mapped[pair.source] = transform(np.asarray(flat[path]))
            except HubError as error:
                problems.append(f"{path!r} {error}")
    if problems:
        raise HubError(f"the parameters do not fit the table {table.name!r}:\n{listed(problems)}")
    return dict(sorted(mapped.items()))


def _closest(name: str, names: Any) -> str:
    close = nearest(name, names, 1)
    return f" (nearest: {close[0]!r})" if close else ""
