"""Split named arrays in two and merge them again: exact inverses."""

from collections.abc import Collection, Mapping
from typing import Any

from tlearn.params.paths import FlatParams, nearest


def split(flat: Mapping[str, Any], chosen: Collection[str]) -> tuple[FlatParams, FlatParams]:
    """Splits named arrays into the chosen ones and the others; `merge` undoes it exactly.

    Raises:
        KeyError: If a chosen path is not there.
    """
    wanted = set(chosen)
    absent = sorted(wanted - flat.keys())
    if absent:
        raise KeyError(
            f"cannot split off parameters that do not exist: {absent[:20]}; "
            f"closest: {nearest(absent[0], flat)}"
        )
    inside = {path: value for path, value in flat.items() if path in wanted}
    outside = {path: value for path, value in flat.items() if path not in wanted}
    return inside, outside


def merge(*parts: Mapping[str, Any]) -> FlatParams:
    """Joins disjoint named arrays, sorted by path.

    Raises:
        ValueError: If a path occurs twice.
    """
    flat: FlatParams = {}
    for part in parts:
        twice = flat.keys() & part.keys()
        if twice:
            raise ValueError(f"the parts to merge share parameters: {sorted(twice)[:20]}")
        flat.update(part)
    return dict(sorted(flat.items()))
