"""Options that a run would never read: refused by name, before anything is."""

import dataclasses
from typing import Any

_MASKED = ("masked_tokens", "next_sentence", "sentence_order", "replaced_tokens")
_SPANS = ("span_corruption", "prefix_lm")
_CORPORA = ("next_tokens", *_MASKED, *_SPANS)
_OBJECTIVE: dict[str, tuple[str, ...]] = {
    "row_length": _CORPORA,
    "rows": ("next_tokens",),
    "direction": ("labels", "next_tokens"),
    "mask_rate": (*_MASKED, "span_corruption"),
    "mask_unit": _MASKED,
    "masks": _MASKED,
    "span_length": ("span_corruption",),
    "generator": ("replaced_tokens",),
    "activation_penalty": ("next_tokens",),
    "change_penalty": ("next_tokens",),
    "language_loss": ("labels",),
    "consistency": ("labels",),
    "replay": _CORPORA,
    "replay_share": _CORPORA,
    "held_out": _CORPORA,
    "stores": _CORPORA,
}
"""The objectives that read an option; what is not here all of them do."""
_LABELS = {
    "data": (
        "classes",
        "per_class",
        "labelled",
        "pair_column",
        "label_column",
        "labels",
        "header",
        "metrics",
        "max_length",
        "widths",
    ),
    "head": ("head", "head_init", "head_dropout", "smoothing"),
}
"""What says how labelled examples are read and told apart: a corpus has none, and its objective
brings its own head."""


def unread(config: Any) -> list[str]:
    """Lists the options of a run's config that are set and would change nothing.

    Args:
        config: A `RunConfig`, whose fields are all there already.
    """
    objective = config.objective.objective
    asked = {objective, config.objective.also}
    found = [
        f"{name} is for {' or '.join(readers)}, and objective is {objective}"
        for name, readers in _OBJECTIVE.items()
        if not asked & set(readers) and _set(config.objective, name)
        if not (name == "stores" and config.objective.remember)
    ]
    if objective == "labels" and config.objective.remember:
        found += _unremembered(config)
    if objective == "labels" and _set(config.data, "errors"):
        found.append("errors says how a corpus is read, and objective is labels")
    if objective != "labels":
        found += [
            f"{name} is for labels, and objective is {objective}"
            for group, names in _LABELS.items()
            for name in names
            if _set(getattr(config, group), name)
        ]
    if _set(config.objective, "replay_share") and objective != "labels":
        if not config.objective.replay:
            found.append("replay_share is a share of replay, and replay names no corpus")
    if _set(config.objective, "also_share") and not config.objective.also:
        found.append("also_share is a share of also, and also names no objective")
    if config.objective.vocabulary == "remap" and not config.source:
        found.append("vocabulary=remap carries a source's embeddings over; give a source")
    if config.train.views and config.train.features != "once":
        found.append("views are drawn for features=once, and features is each-step")
    return found


def _unremembered(config: Any) -> list[str]:
    """Why nothing can be remembered beside labels, where that shows in the config alone."""
    what = f"remember={config.objective.remember} beside labels asks the source's own head"
    if not config.source:
        return [f"{what}, and there is no source"]
    if config.objective.vocabulary == "remap":
        return [f"{what}, which knows no other vocabulary: leave vocabulary=remap or remember out"]
    return []


def _set(group: Any, name: str) -> bool:
    """Whether a field of a group is other than what it is when nobody says anything."""
    usual = {field.name: field.default for field in dataclasses.fields(group)}
    return getattr(group, name) != usual[name]
