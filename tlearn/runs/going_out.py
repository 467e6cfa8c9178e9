"""Whether what a run makes can go back to the library that its source is from."""

from typing import Any

from tlearn import bodies, heads, hub
from tlearn.hub.descent import came_by, descent
from tlearn.hub.foreign_classes import holds, options_of_a_run
from tlearn.model import Model
from tlearn.tasks import Task


def no_way_back(model: Model, task: Task, source: hub.Source) -> str:
    """Says so if the source is of transformers, and what is made of it will not be.

    Args:
        model: Body and head of the run.
        task: Its data.
        source: What it starts from.

    Returns:
        A line to print; empty if there is nothing to say.
    """
    table = str(came_by(source.provenance).get("table"))
    body: Any = model.body
    head: dict[str, Any] = heads.describe(model.head)
    if not table.startswith("hf_") or "classes" not in head:
        return ""
    made = hub.Source(
        params={},
        collections={},
        body=bodies.describe(body),
        head=head,
        label_names=task.label_names or None,
        facts=task.facts,
        provenance={"origin": descent(source.provenance)},
    )
    if holds(made, "hf"):
        return ""
    options = options_of_a_run(made)
    return "transformers has no class for this body under this head: export --format hf will " + (
        f"refuse it, unless the run is made with {options}" if options else "refuse it"
    )
