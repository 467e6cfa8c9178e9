"""Tells which family a checkpoint belongs to, from names and shapes alone; never by a guess."""

import importlib

from tlearn.hub.errors import HubError, listed, quoted
from tlearn.hub.tables.family import Family, Recognised, Shapes
from tlearn.params import nearest

_TABLES = (
    "resnet_cifar",
    "resnet_torchvision",
    "mobilenet_v2_torchvision",
    "bit_google",
    "awd_lstm_fastai",
    "awd_lstm_salesforce",
)


def families() -> dict[str, Family]:
    """Lists the known families of checkpoints by the name of their table."""
    return {name: importlib.import_module(f"tlearn.hub.tables.{name}").FAMILY for name in _TABLES}


def recognise(
    shapes: Shapes, family: str | None = None, *, advice: str = ""
) -> tuple[Family, Recognised]:
    """Finds the one family whose names these are, and the config its shapes imply.

    Args:
        shapes: Shapes by foreign name.
        family: The family, if the caller knows; then the head may be absent.
        advice: What to do about names that are those of no family at all.

    Raises:
        HubError: If no family or more than one has these names, with the nearest family and the
            names it misses; or if shapes contradict the family.
    """
    known = families()
    if family is not None:
        if family not in known:
            close = nearest(family, known, 1) or list(known)
            raise HubError(
                f"there is no mapping table {family!r}; nearest: {close[0]!r} "
                f"(known: {list(known)})"
            )
        return known[family], _inferred(known[family], shapes)
    fitting = [f for f in known.values() if all(name in shapes for name in f.signature)]
    if len(fitting) > 1:
        raise HubError(
            f"its names fit more than one family: {[f.name for f in fitting]}; "
            "say which with family=..."
        )
    if not fitting:
        raise HubError(_nobody(shapes, list(known.values()), advice))
    return fitting[0], _inferred(fitting[0], shapes)


def _inferred(family: Family, shapes: Shapes) -> Recognised:
    try:
        return family.recognise(shapes)
    except HubError as error:
        raise HubError(f"its names are those of {family.name}, but {error}") from error


def _nobody(shapes: Shapes, known: list[Family], other: str) -> str:
    best = max(known, key=lambda f: sum(name in shapes for name in f.signature) / len(f.signature))
    missing = [name for name in best.signature if name not in shapes]
    if len(missing) == len(best.signature):
        return (
            f"its {len(shapes)} names belong to no known family "
            f"({', '.join(f.name for f in known)}); it begins with "
            f"{', '.join(quoted(name) for name in list(shapes)[:5]) or 'nothing'}"
            f"{other and f'; {other}'}"
        )
    headless = all(name.startswith(best.head) for name in missing)
    advice = f"; if it has no head on purpose, say family={best.name!r}" if headless else ""
    return (
        f"its names are nearest to {best.name}, but these are missing:\n"
        f"{listed([repr(name) for name in missing])}{advice}"
    )
