"""What timm's config.json says whatever the family: arguments, labels, preparation of pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

from tlearn.bodies.facts import ImageFacts
from tlearn.hub.errors import quoted
from tlearn.hub.image_facts import timm_from_facts
from tlearn.hub.labels import IMAGENET_KNOWN
from tlearn.hub.tables.folder_family import Described


def check_arguments(
    config: Mapping[str, Any],
    read: Sequence[str],
    training: Sequence[str],
    fixed: Mapping[str, Any],
    problems: list[str],
) -> Mapping[str, Any]:
    """Gives ``model_args``, after refusing by name those that would change the function.

    Args:
        config: The config.
        read: Arguments that are read.
        training: Arguments that only matter in training.
        fixed: Arguments that may have one value only.
        problems: Where refusals go.
    """
    arguments = config.get("model_args") or {}
    if not isinstance(arguments, Mapping):
        problems.append(f"model_args is no dictionary: {quoted(arguments)}")
        return {}
    for name, value in arguments.items():
        if name in fixed:
            if value is not None and value != fixed[name]:
                problems.append(f"model_args has {name}={quoted(value)}, which is not known here")
        elif name not in (*read, *training):
            problems.append(f"model_args has the unknown argument {quoted(name)}")
    return arguments


def labels_from_timm(
    config: Mapping[str, Any], classes: int | None, problems: list[str]
) -> tuple[str, ...] | None:
    """Reads ``label_names``, a list or a dictionary by number."""
    given = config.get("label_names")
    if given is None or classes is None:
        return None
    if isinstance(given, Mapping):
        given = [given.get(str(i), given.get(i)) for i in range(len(given))]
    if not isinstance(given, (list, tuple)) or not all(isinstance(x, str) for x in given):
        problems.append("label_names is no list of texts")
        return None
    if len(given) != classes:
        problems.append(f"label_names has {len(given)} names, but the head has {classes} outputs")
        return None
    return tuple(given)


def known_labels(head: Mapping[str, Any] | None, labels: tuple[str, ...] | None) -> dict[str, Any]:
    """Names some outputs of a head with ImageNet's thousand classes."""
    if head is None or labels is not None or head["classes"] != 1000:
        return {}
    return {"known_labels": {str(i): name for i, name in IMAGENET_KNOWN.items()}}


def pretrained_cfg(
    described: Described,
    first: str,
    classifier: str | list[str],
    fixed_size: bool,
) -> dict[str, Any]:
    """Writes what timm keeps beside weights."""
    facts = described.facts
    return {
        **(timm_from_facts(facts) if isinstance(facts, ImageFacts) else {}),
        "num_classes": described.head["classes"] if described.head else 0,
        "first_conv": first,
        "classifier": classifier,
        "fixed_input_size": fixed_size,
    }
