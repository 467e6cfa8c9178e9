"""Names of a package that resolve on first use, so that importing it imports nothing heavy."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Makes a package's ``__getattr__`` and ``__dir__`` (PEP 562).

    No module may bear the name of something else it offers: importing it would hide that.

    Args:
        package: The package's ``__name__``.
        homes: Public name to the module of the package that holds it.

    Example:
        >>> get, names = lazy("tlearn.params", {"digest": "digest"})
        >>> names(), callable(get("digest"))
        (['digest'], True)
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return get, lambda: sorted(homes)
