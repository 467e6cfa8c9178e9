"""Writes an encoder's ``config.json``: the way back from our body and head to a foreign class."""

import functools
from collections.abc import Mapping
from typing import Any

from tlearn.bodies.facts import TextFacts
from tlearn.hub.errors import HubError, listed
from tlearn.hub.tables.encoder_describe import describe, table
from tlearn.hub.tables.encoder_family import Encoder
from tlearn.hub.tables.encoder_heads import Form, form_of
from tlearn.hub.tables.folder_family import Described, FolderFamily


def folder_family(encoder: Encoder) -> FolderFamily:
    """Offers a family to the engine."""
    return FolderFamily(
        name=encoder.name,
        model_types=tuple(encoder.classes),
        origin="hf",
        body=encoder.body,
        describe=functools.partial(describe, encoder),
        table=functools.partial(table, encoder),
        write=functools.partial(write, encoder),
    )


def write(encoder: Encoder, described: Described) -> dict[str, Any]:
    """Writes the config to export.

    Raises:
        HubError: Naming all that no class of this family computes.
    """
    body, head = described.body, described.head
    problems = _unfit(encoder, body)
    form = None
    if head is not None and not problems:
        try:
            form = form_of(
                encoder.forms, head, body, described.architecture, described.label_names is not None
            )
        except HubError as error:
            problems.append(str(error))
    if problems:
        raise HubError(f"{encoder.name} cannot hold this model:\n{listed(problems)}")
    usual = next(iter(encoder.classes))
    model_type = str(described.extra.get("model_type", usual))
    if model_type not in encoder.classes:
        model_type = usual
    config: dict[str, Any] = {
        "architectures": [_class_name(encoder.classes[model_type], form, described.architecture)],
        "model_type": model_type,
    }
    for setting in encoder.settings:
        config[setting.key] = body.get(setting.field, setting.default)
    if "embedding_size" in config:
        config["embedding_size"] = config["embedding_size"] or body["width"]
    config |= _special(encoder, described)
    config["tie_word_embeddings"] = bool(head.get("tied", True)) if head else True
    if form is not None and head is not None:
        # A key that is the body's own as well keeps the body's value.
        keys = _head_keys(form, head, described)
        config |= {key: value for key, value in keys.items() if key not in config}
    return config


def _unfit(encoder: Encoder, body: Mapping[str, Any]) -> list[str]:
    if body["family"] != encoder.body:
        return [f"it holds bodies of the family {encoder.body!r}, not {body['family']!r}"]
    problems = [
        f"{field} must be {wanted!r}, not {body.get(field)!r}"
        for field, wanted in encoder.fixed.items()
        if body.get(field, wanted) != wanted
    ]
    problems += [
        f"{s.field} must be at least {s.least}, not {body[s.field]!r}"
        for s in encoder.settings
        if s.least and s.field in body and body[s.field] < s.least
    ]
    offset = body.get("position_offset", 0)
    if encoder.offset != bool(offset):
        where = "after the padding token's number" if encoder.offset else "at 0"
        problems.append(f"positions must begin {where}, not at {offset}")
    return problems


def _class_name(start: str, form: Form | None, architecture: str) -> str:
    if form is None:
        return f"{start}Model"
    named = next((s for s in form.suffixes if architecture.endswith(s)), form.suffixes[0])
    return f"{start}{named}"


def _special(encoder: Encoder, described: Described) -> dict[str, int | None]:
    """Special tokens; where positions begin after padding, its number is part of the function."""
    facts, offset = described.facts, described.body.get("position_offset", 0)
    keys: dict[str, int | None] = {"pad_token_id": encoder.pad}
    if isinstance(facts, TextFacts):
        keys = {f"{name}_token_id": facts.token(name) for name in ("pad", "bos", "eos")}
    if encoder.offset:
        keys["pad_token_id"] = offset - 1
    return keys


def _head_keys(form: Form, head: Mapping[str, Any], described: Described) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    if form.dropout:
        keys[form.dropout[0]] = head.get("dropout", 0.0)
    if form.labelled():
        names = described.label_names or tuple(f"LABEL_{i}" for i in range(head["classes"]))
        keys["id2label"] = {str(i): name for i, name in enumerate(names)}
        keys["label2id"] = {name: i for i, name in enumerate(names)}
    if "problem_type" in described.extra:
        keys["problem_type"] = described.extra["problem_type"]
    return keys
