"""Where weights come from, run after run, back to the checkpoint they began as."""

from collections.abc import Iterator, Mapping
from typing import Any

_KEPT = ("spec", "from", "table", "architecture", "extra", "licence")


def descent(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Cuts a provenance down to what those who come after must know: names, table, licence.

    Args:
        provenance: Of a source; what a run was made from lies under ``origin``.
    """
    chain = [{key: step[key] for key in _KEPT if key in step} for step in steps(provenance)]
    whole: dict[str, Any] = {}
    for step in reversed(chain):
        whole = {**step, "origin": whole} if whole else step
    return whole


def steps(provenance: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Walks from weights to what they were made from, and on."""
    held: Any = provenance
    # A chain that somebody wrote by hand may be endless.
    for _ in range(100):
        if not isinstance(held, Mapping):
            return
        yield held
        held = held.get("origin")


def came_by(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    """Finds the step at which a foreign checkpoint was read; empty if there was none."""
    return next((step for step in steps(provenance) if isinstance(step.get("table"), str)), {})
