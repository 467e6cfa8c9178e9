"""Mapping tables as data, and the one engine that applies them, strictly and both ways.

A table says which foreign name is which of our paths. Its rows are pairs of templates; a field such
as ``{at}`` in both stands for one of a fixed list of spellings, so a table spells out every name it
knows: nothing is matched by chance, and what is missing is known by name.
"""

import dataclasses
import itertools
import string
from collections.abc import Mapping
from typing import Any

import numpy as np

from tlearn.hub.errors import HubError, listed
from tlearn.hub.leaf import Leaf
from tlearn.hub.transforms import TRANSFORMS
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
        part: ``(i, n)``: our array is the i-th of n equal parts of the foreign one along its
            output axis, our last; rows that share a source must cover it together.
        tied: Of what is dropped: the foreign name whose array it repeats. If both are present they
            must be equal bit for bit; if only this one is, it stands in.
        plus: A further foreign name, whose array is added to the first: two biases that only ever
            act as their sum. Written back it is zero.
    """

    source: str
    target: str
    transform: str = "identity"
    reason: str = ""
    part: tuple[int, int] | None = None
    tied: str = ""
    plus: str = ""


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
class Pair:
    """One foreign name and what becomes of it (or of one part of it)."""

    source: str
    target: str
    transform: str
    reason: str
    part: tuple[int, int] | None = None
    tied: str = ""
    plus: str = ""


def expand(table: Table) -> tuple[Pair, ...]:
    """Spells out every name of a table.

    Raises:
        HubError: If the table itself is faulty: unknown transforms or fields, a name that two
            rows produce on either side, parts that do not make a whole, or ties to nothing.
    """
    problems: list[str] = []
    pairs: list[Pair] = []
    for row in table.rows:
        names, there, tied = (_fields(text) for text in (row.source, row.target, row.tied))
        if row.plus and (not row.target or row.part or _fields(row.plus) != names):
            problems.append(
                f"row {row.source!r} adds: it needs a target, no part, and equal fields"
            )
            continue
        if row.transform == "drop":
            if row.target or not row.reason or row.part:
                problems.append(f"row {row.source!r} drops: it needs a reason, no target, no part")
        elif row.transform not in TRANSFORMS:
            problems.append(f"row {row.source!r} has the unknown transform {row.transform!r}")
        elif there != names:
            problems.append(f"row {row.source!r} and its target have different fields")
        if row.tied and (row.transform != "drop" or not tied <= names):
            problems.append(f"row {row.source!r} is tied: it must drop, and have its twin's fields")
        unknown = names - table.fields.keys()
        if unknown:
            problems.append(f"row {row.source!r} uses the unknown fields {sorted(unknown)}")
            continue
        for spellings in itertools.product(*(table.fields[name] for name in sorted(names))):
            chosen = list(zip(sorted(names), spellings, strict=True))
            source = {name: pair[0] for name, pair in chosen}
            target = {name: pair[1] for name, pair in chosen}
            pairs.append(
                Pair(
                    row.source.format(**source),
                    row.target.format(**target),
                    row.transform,
                    row.reason,
                    row.part,
                    row.tied.format(**source) if tied <= names else "",
                    row.plus.format(**source),
                )
            )
    problems += _twins(pairs)
    if problems:
        raise HubError(f"the mapping table {table.name!r} is faulty:\n{listed(problems)}")
    return tuple(pairs)


def _fields(template: str) -> set[str]:
    return {field for _, field, _, _ in string.Formatter().parse(template) if field}


def _twins(pairs: list[Pair]) -> list[str]:
    """Lists names that occur twice, parts that make no whole, and ties that lead nowhere."""
    problems: list[str] = []
    seen: set[str] = set()
    for pair in pairs:
        if pair.target and pair.target in seen:
            problems.append(f"two rows produce the target {pair.target!r}")
        seen.add(pair.target)
    grouped = _by_source(pairs)
    for name, group in grouped.items():
        parts = [pair.part for pair in group]
        if parts == [None]:
            continue
        if None in parts:
            problems.append(f"two rows produce the source {name!r}")
            continue
        places = sorted(part[0] for part in parts if part)
        counts = {part[1] for part in parts if part}
        alike = len({pair.transform for pair in group}) == 1
        if len(counts) != 1 or places != list(range(max(counts))) or not alike:
            problems.append(f"the parts {parts} of {name!r} do not make one whole")
    for pair in pairs:
        if pair.tied and not any(twin.target for twin in grouped.get(pair.tied, ())):
            problems.append(f"{pair.source!r} is tied to {pair.tied!r}, which is not loaded")
    return problems


def _by_source(pairs: Any) -> dict[str, list[Pair]]:
    grouped: dict[str, list[Pair]] = {}
    for pair in pairs:
        grouped.setdefault(pair.source, []).append(pair)
    return grouped


def lazily(table: Table, arrays: Mapping[str, Any]) -> dict[str, Leaf]:
    """Maps foreign arrays to ours without reading one number: names and shapes decide.

    `matched` does the same and returns the problems, for callers that look for more of them.

    Args:
        table: What is what.
        arrays: Arrays by foreign name.

    Returns:
        Leaves in our layout and names, sorted by name; dtypes as they were. Ties are checked when
        a leaf is read.

    Raises:
        HubError: Naming every array the table does not know, every name it misses, every array
            of the wrong rank or that cannot be parted, and every tie between unlike shapes.
    """
    mapped, problems = matched(table, arrays)
    if problems:
        raise HubError(f"the arrays do not fit the table {table.name!r}:\n{listed(problems)}")
    return mapped


def matched(table: Table, arrays: Mapping[str, Any]) -> tuple[dict[str, Leaf], list[str]]:
    """Maps what can be mapped, and lists what cannot.

    Raises:
        HubError: If the table itself is faulty.
    """
    grouped = _by_source(expand(table))
    ties: dict[str, list[str]] = {}
    for name, group in grouped.items():
        if group[0].tied and name in arrays:
            ties.setdefault(group[0].tied, []).append(name)
    wanted = [name for name, group in grouped.items() if group[0].target]
    added = [group[0].plus for group in grouped.values() if group[0].plus]
    spare = [name for name in arrays if name not in grouped and name not in added]
    absent = [name for name in (*wanted, *added) if name not in arrays and name not in ties]
    problems = [f"{name!r} is missing{_closest(name, spare)}" for name in absent]
    problems += [
        f"{name!r} is not in the table{_closest(name, absent or wanted)}" for name in spare
    ]
    mapped: dict[str, Leaf] = {}
    for name in wanted:
        present = [other for other in (name, *ties.get(name, ())) if other in arrays]
        if not present:
            continue
        array, twins = np.asanyarray(arrays[present[0]]), []
        for other in present[1:]:
            repeated = np.asanyarray(arrays[other])
            if (repeated.shape, repeated.dtype) != (array.shape, array.dtype):
                problems.append(
                    f"{other!r} is tied to {present[0]!r}, but has the shape {repeated.shape} "
                    f"of {repeated.dtype}, not {array.shape} of {array.dtype}"
                )
            else:
                twins.append((f"{other!r} must equal {present[0]!r}", array, repeated))
        for pair in grouped[name]:
            try:
                view = _part(TRANSFORMS[pair.transform].view(array), pair.part)
                plus = _summand(pair, arrays, view)
                mapped[pair.target] = Leaf(view, tuple(twins), plus=plus)
            except HubError as error:
                problems.append(f"{name!r} {error}")
    return dict(sorted(mapped.items())), problems


def _summand(pair: Pair, arrays: Mapping[str, Any], view: np.ndarray) -> np.ndarray | None:
    if pair.plus not in arrays:
        return None
    other = TRANSFORMS[pair.transform].view(np.asanyarray(arrays[pair.plus]))
    if (other.shape, other.dtype) != (view.shape, view.dtype):
        raise HubError(
            f"has the shape {view.shape} of {view.dtype}, but {pair.plus!r}, which is added to it, "
            f"has {other.shape} of {other.dtype}"
        )
    return other


def _part(array: np.ndarray, part: tuple[int, int] | None) -> np.ndarray:
    if part is None:
        return array
    place, count = part
    if array.ndim == 0 or array.shape[-1] % count:
        raise HubError(f"has the shape {array.shape}, which does not part into {count}")
    width = array.shape[-1] // count
    return array[..., place * width : (place + 1) * width]


def apply(table: Table, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Maps foreign arrays to ours: every array is used, every parameter is found, or it raises.

    Args:
        table: What is what.
        arrays: Arrays by foreign name.

    Returns:
        Copies in our layout and names, sorted by name; dtypes as they were.

    Raises:
        HubError: As `lazily` does, and naming every tie whose values differ.
    """
    problems: dict[str, None] = {}
    mapped: dict[str, np.ndarray] = {}
    for path, leaf in lazily(table, arrays).items():
        try:
            mapped[path] = leaf.read()
        except HubError as error:
            problems[str(error)] = None
    if problems:
        raise HubError(f"the arrays do not fit the table {table.name!r}:\n{listed([*problems])}")
    return mapped


def invert(table: Table, flat: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Maps our arrays to foreign names and layout: the exact inverse of `apply`.

    Dropped names are not written, tied ones among them.

    Raises:
        HubError: Naming every parameter the table does not know, every one it misses, and parts
            of unlike shapes.
    """
    pairs = [pair for pair in expand(table) if pair.target]
    known = {pair.target: pair for pair in pairs}
    spare = [path for path in flat if path not in known]
    problems = [f"{path!r} is missing{_closest(path, spare)}" for path in known if path not in flat]
    problems += [f"{path!r} is not in the table{_closest(path, known)}" for path in spare]
    mapped: dict[str, np.ndarray] = {}
    for name, group in _by_source(pairs).items():
        paths = [p.target for p in sorted(group, key=lambda p: p.part or (0, 1))]
        if any(path not in flat for path in paths):
            continue
        try:
            whole = _joined([np.asarray(flat[path]) for path in paths])
            mapped[name] = TRANSFORMS[group[0].transform].backward(whole)
            if group[0].plus:
                # Adding minus zero changes no number, not even a minus zero.
                mapped[group[0].plus] = np.full_like(mapped[name], -0.0)
        except HubError as error:
            problems.append(f"{', '.join(map(repr, paths))} {error}")
    if problems:
        raise HubError(f"the parameters do not fit the table {table.name!r}:\n{listed(problems)}")
    return dict(sorted(mapped.items()))


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    if len(parts) == 1:
        return parts[0]
    if len({(part.shape, part.dtype) for part in parts}) > 1 or parts[0].ndim == 0:
        raise HubError(f"have the shapes {[part.shape for part in parts]}: equal parts are wanted")
    return np.concatenate(parts, axis=-1)


def _closest(name: str, names: Any) -> str:
    close = nearest(name, names, 1)
    return f" (nearest: {close[0]!r})" if close else ""
