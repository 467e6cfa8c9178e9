"""The source's own head on a run's labels: only where each output is known to mean its label."""

from typing import Any

from tlearn import heads, hub
from tlearn.heads.registry import CLASSIFIERS
from tlearn.runs.config import HeadConfig, RunConfig
from tlearn.tasks import Task


def kept_head(config: RunConfig, task: Task, source: hub.Source | None) -> Any:
    """Builds the source's head for a run.

    Args:
        config: The run; its ``head_weights`` is source.
        task: Its data.
        source: What it starts from.

    Raises:
        ValueError: If there is none, if it is of another kind or has other labels, or if options
            are given that only a new head would read; names all reasons.
    """
    if source is None or source.head is None:
        raise ValueError(f"head_weights=source, but {config.source!r} carries no head")
    kind = str(source.head.get("family"))
    problems = _unread(config.head)
    if kind in CLASSIFIERS:
        problems += _unlike(config, task, source)
    else:
        problems.append(
            f"{config.source} carries a head of the kind {kind!r}, which does not give a whole "
            f"example one label, as {', '.join(CLASSIFIERS)} do"
        )
    if problems:
        raise ValueError(
            "the source's head cannot be kept; mend this, or use head_weights=fresh:\n  "
            + "\n  ".join(problems)
        )
    # Its own dropout was published, or chosen, with it: only another one that is asked for counts.
    asked = {"dropout": config.head.head_dropout} if config.head.head_dropout else {}
    return heads.build(dict(source.head) | asked)


def _unread(asked: HeadConfig) -> list[str]:
    """Options of a new head, which a kept one has no use for."""
    usual = HeadConfig()
    given = [
        f"{name}={getattr(asked, name)} (the default is {getattr(usual, name)})"
        for name in ("head", "head_init")
        if getattr(asked, name) != getattr(usual, name)
    ]
    return [f"a kept head is as it is: leave out {', '.join(given)}"] if given else []


def _unlike(config: RunConfig, task: Task, source: hub.Source) -> list[str]:
    """What its outputs and the data's labels have against each other."""
    outputs = int((source.head or {}).get("classes", 0))
    numbered = tuple(map(str, range(outputs)))
    known, wanted = source.label_names or numbered, task.label_names
    ours = _some(wanted) or "numbers"
    if source.label_names not in (None, wanted) or outputs != task.outputs:
        return [
            f"it needs the source's {outputs} labels in their order: {_some(known)}; the data has "
            f"{task.outputs}: {ours}. Name them by classes"
        ]
    # Data of numbers has one output, and names in their order are what a bare number means.
    if source.label_names is None and wanted and wanted not in (numbered, config.data.classes):
        return [
            f"the outputs of {config.source} have no names, so that their order would be assumed "
            f"to be the data's: {ours}. If it is, say so: --classes {' '.join(wanted[:20])}"
            + (" ..." if len(wanted) > 20 else "")
        ]
    return []


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
