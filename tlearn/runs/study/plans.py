"""Plans of a study's arms in a few lines a layer, so that two can be laid side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from tlearn.transfer.plan import Plan


def layer_lines(plan: Plan | Mapping[str, Any]) -> tuple[str, ...]:
    """Says what a plan does with every layer, a line each, and how it pulls.

    Args:
        plan: A plan, or what its `to_json` gave.

    Example:
        ``stage_1: trains 5 of 6 parameters, rate ×0.385, decay 0, pull ×1, mode train``
    """
    values = plan.to_json() if isinstance(plan, Plan) else plan
    layers: dict[str, list[Mapping[str, Any]]] = {}
    for row in values["rows"]:
        layers.setdefault(row["layer"], []).append(row)
    lines = []
    modes = dict(values["modes"])
    order = [*modes, *(layer for layer in layers if layer not in modes)]
    for layer in (name for name in order if name in layers):
        rows = layers[layer]
        moving = [row for row in rows if row["trainable"]]
        parts = [f"{layer}: trains {len(moving)} of {len(rows)} parameters"]
        if all(row["init"] == "fresh" for row in rows):
            parts.append("drawn afresh")
        if moving:
            parts += [f"rate ×{_span(moving, 'rate')}", f"decay {_span(moving, 'decay')}"]
            parts.append(f"pull ×{_span(moving, 'pull')}")
        parts.append(f"mode {modes.get(layer, 'train')}")
        lines.append(", ".join(parts))
    pull = values["pull"]
    if pull["strength"] > 0:
        lines.append(f"pull: {pull['form']}, λ={pull['strength']:g}, as {pull['way']}")
    return tuple(lines)


def differences(lines: Sequence[str], reference: Sequence[str]) -> list[str]:
    """The lines that a plan has and the reference's has not, and what that has instead."""
    own, other = (dict(line.split(": ", 1) for line in given) for given in (lines, reference))
    found = []
    for name in [*own, *(name for name in other if name not in own)]:
        if own.get(name) != other.get(name):
            here, there = own.get(name, "nothing"), other.get(name, "nothing")
            found.append(f"{name}: {here} (reference: {there})")
    return found


def _span(rows: Sequence[Mapping[str, Any]], field: str) -> str:
    values = sorted({row[field] for row in rows})
    if len(values) == 1:
        return f"{values[0]:.3g}"
    return f"{values[0]:.3g}…{values[-1]:.3g}"
