"""Parameters are float32 masters: what a file stores in another type is cast, and says so."""

from typing import Any

import numpy as np

from tlearn.hub.errors import HubError, listed

_FLOATS = ("float16", "bfloat16", "float64")


def to_float32(arrays: dict[str, Any]) -> dict[str, str]:
    """Casts floats to float32 in place of the old arrays; leaves are cast when they are read.

    Returns:
        The stored type of everything that is cast, by path.

    Raises:
        HubError: Naming every array that holds no floats.
    """
    casts, problems = casts_of(arrays)
    if problems:
        raise HubError(listed(problems).strip())
    return casts


def casts_of(arrays: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Casts as `to_float32` does, and lists what holds no floats."""
    casts: dict[str, str] = {}
    problems: list[str] = []
    for path, array in arrays.items():
        name = np.dtype(array.dtype).name
        if name == "float32":
            continue
        if name not in _FLOATS:
            problems.append(
                f"{path!r} has the type {name}: parameters are float16, 32, 64 or bfloat16"
            )
            continue
        with np.errstate(over="ignore"):
            arrays[path] = array.astype(np.float32)
        casts[path] = name
    return casts, problems
