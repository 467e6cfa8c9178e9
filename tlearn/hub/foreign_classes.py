"""Which class elsewhere can hold a model: judged by its configs, before any array is looked at."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tlearn.heads.registry import CLASSIFIERS
from tlearn.hub.descent import came_by
from tlearn.hub.errors import HubError
from tlearn.hub.export import torch_family
from tlearn.hub.source import Source
from tlearn.hub.tables.folder_family import Described, FolderFamily
from tlearn.hub.tables.folders import all_families
from tlearn.hub.tables.published_heads import published_head, published_pooling

# What stands before the body's names in a checkpoint with a head, where it is not the model type.
_PREFIXES = {"gpt2": "transformer.", "openai-gpt": "transformer.", "t5": ""}


def holds(source: Source, format: str) -> bool:
    """Whether a class of a library (``hf``, ``timm``) computes what a model does."""
    return any(_held(*pair, source) for pair in candidates(source, format))


def options_of_a_run(source: Source) -> str:
    """Which options of a run make its model one that transformers has a class for.

    Args:
        source: A model that it has none for.

    Returns:
        As on a command line; empty if none help.
    """
    head = source.head or {}
    if head.get("family") not in CLASSIFIERS:
        return ""
    body, came = dict(source.body), source.provenance
    pooling = published_pooling(came, body)
    other = pooling is not None and pooling != body.get("pooling")
    if other:
        body["pooling"] = pooling
    wanted = published_head(came, body) | {"classes": head["classes"]}
    made = dataclasses.replace(source, params={}, collections={}, body=body, head=wanted)
    if not holds(made, "hf"):
        return ""
    return f"--head published --pooling {pooling}" if other else "--head published"


def ways_out(source: Source, format: str) -> list[str]:
    """Which other forms can hold a model; StableHLO can hold every one."""
    ways = []
    for other in ("hf", "timm"):
        if other != format and holds(source, other):
            ways.append(other)
    if torch_family(source) is not None:
        ways.append("torch")
    return [*ways, "stablehlo"]


def _held(family: FolderFamily, came: Mapping[str, Any], source: Source) -> bool:
    try:
        described_as(family, source, came)
    except HubError:
        return False
    return True


def candidates(source: Source, format: str) -> list[tuple[FolderFamily, Mapping[str, Any]]]:
    """Lists the families of a body, with what is known of the checkpoint it came by."""
    came = came_by(source.provenance)
    found = [f for f in all_families() if f.origin == format and f.body == source.body["family"]]
    # The table that the weights came by first: BERT's arrays may be ELECTRA's as well.
    found.sort(key=lambda family: family.name != came.get("table"))
    return [(f, came if came.get("table") == f.name else {}) for f in found]


def described_as(
    family: FolderFamily, source: Source, came: Mapping[str, Any]
) -> tuple[Described, dict[str, Any]]:
    """Describes a model as a family would have read it, and writes its config.

    Raises:
        HubError: If the family has no such model.
    """
    extra = came.get("extra")
    extra = dict(extra) if isinstance(extra, Mapping) else {}
    # How normalisations were spelled in 2018 is nothing to hand on.
    extra.pop("old_names", None)
    if came is not source.provenance:
        # Trained since: what the head was for then says nothing about the head of now.
        extra.pop("problem_type", None)
    architecture = came.get("architecture")
    described = Described(
        body=dict(source.body),
        head=None if source.head is None else dict(source.head),
        label_names=source.label_names,
        facts=source.facts,
        architecture=architecture if isinstance(architecture, str) else "",
        extra=extra,
    )
    config = family.write(described)
    if family.origin == "hf" and source.head is not None:
        model_type = str(config["model_type"])
        prefix = _PREFIXES.get(model_type, f"{model_type}.")
        described = dataclasses.replace(described, prefix=prefix)
    return described, config
