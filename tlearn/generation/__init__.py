"""Texts out of models: decoding with keys and values kept.

Names resolve on first use, so that building a command line imports no JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tlearn.generation.greedily import Generated as Generated
    from tlearn.generation.greedily import greedy as greedy

# No module here may bear the name of a function: importing it would hide the function.
_LAZY = {"Generated": "greedily", "greedy": "greedily"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_LAZY)
