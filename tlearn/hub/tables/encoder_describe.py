"""Tells an encoder's body and head from the ``config.json`` and the names in its folder."""

import re
from collections.abc import Mapping
from typing import Any

from tlearn.bodies.facts import TextFacts
from tlearn.hub.errors import HubError, listed, quoted
from tlearn.hub.mapping import Table
from tlearn.hub.tables.encoder_family import Encoder, Setting
from tlearn.hub.tables.encoder_heads import Form, find, form_of, head_config, head_rows
from tlearn.hub.tables.encoder_rows import counted, pooler
from tlearn.hub.tables.folder_family import Described, Shapes
from tlearn.params import nearest

# Values that change what is computed, by what they must be.
_REFUSED: Mapping[str, tuple[Any, str]] = {
    "is_decoder": (False, "it attends to the left only"),
    "add_cross_attention": (False, "its blocks read an encoder"),
    "is_encoder_decoder": (False, "it is an encoder with a decoder"),
    "position_embedding_type": ("absolute", "its attention adds relative positions"),
    "pruned_heads": ({}, "its blocks have unlike numbers of heads"),
    "quantization_config": (None, "its weights are quantised"),
    "auto_map": (None, "its function is code of its own, which is not run"),
}
_UNFIT = {
    "LMHeadModel": "it attends to the left only",
    "ForCausalLM": "it attends to the left only",
    "ForMultipleChoice": "its head compares several rows of one example; load it as the body alone "
    "from a folder without the head",
}
_LARGEST = 2**30


def describe(encoder: Encoder, config: Mapping[str, Any], shapes: Shapes) -> Described:
    """Tells body and head.

    Raises:
        HubError: Naming all that is contradictory or unsupported.
    """
    problems = [
        f"{key}={quoted(config[key])} is not supported: {reason}"
        for key, (wanted, reason) in _REFUSED.items()
        if config.get(key) not in (wanted, None)
    ]
    architectures = _architectures(config, problems)
    body = {"family": encoder.body, **encoder.fixed}
    body |= {s.field: _value(config, s, problems) for s in encoder.settings}
    if body.get("embedding_width") == body["width"] and encoder.body == "bert":
        body["embedding_width"] = 0
    pad = _whole(config, "pad_token_id", encoder.pad, problems)
    if encoder.offset:
        body["position_offset"] = (encoder.pad if pad is None else pad) + 1
    prefix = encoder.prefix if any(name.startswith(encoder.prefix) for name in shapes) else ""
    problems += _misfits(encoder, body, prefix, shapes)
    form, head = None, None
    try:
        form = find(encoder.forms, shapes, architectures)
        if form is not None:
            known = {s.key: s.default for s in encoder.settings} | dict(config)
            head = head_config(form, known, body, shapes)
    except HubError as error:
        problems.append(str(error))
    pooled = bool(encoder.pooler) and f"{prefix}{encoder.pooler}.weight" in shapes
    body["pooling"] = "pooler" if pooled and (not form or form.reads != "first") else "first"
    problems += _headless(encoder, form, architectures)
    if form is not None and form.reads == "pooler" and not pooled:
        problems.append(f"its head reads the pooler {prefix + encoder.pooler!r}, which is missing")
    labels = _labels(config, form, head, problems)
    facts = _facts(config, body, pad, problems)
    if problems:
        raise HubError(
            f"this folder does not describe one {encoder.name} model:\n{listed(problems)}"
        )
    model_type = config.get("model_type", next(iter(encoder.classes)))
    extra: dict[str, Any] = {"model_type": model_type}
    if config.get("problem_type") is not None:
        extra["problem_type"] = config["problem_type"]
    if any(name.endswith("LayerNorm.gamma") for name in shapes):
        extra["old_names"] = True
    if head is not None and form and form.words and not head["tied"]:
        extra["decoder_bias"] = f"{form.words.decoder}.bias" in shapes
    suffix = "Model"
    if form is not None:
        named = (s for s in form.suffixes for a in architectures if a.endswith(s))
        suffix = next(named, form.suffixes[0])
    return Described(
        body=body,
        head=head,
        label_names=labels,
        facts=facts,
        prefix=prefix,
        architecture=encoder.classes[model_type] + suffix,
        extra=extra,
    )


def table(encoder: Encoder, described: Described) -> Table:
    """Builds the mapping table of what was described."""
    body, head, extra = described.body, described.head, described.extra
    old = bool(extra.get("old_names"))
    # Classes with a head keep the body under its prefix.
    prefix = described.prefix if head is None else encoder.prefix
    rows = encoder.rows(prefix, body, old)
    if encoder.pooler:
        rows += pooler(f"{prefix}{encoder.pooler}", body["pooling"])
    if head is not None:
        form = form_of(
            encoder.forms, head, body, described.architecture, described.label_names is not None
        )
        words = f"{prefix}embeddings.word_embeddings.weight"
        rows += head_rows(form, head, words, old, bool(extra.get("decoder_bias", True)))
    counts = {"at": body["depth"]}
    if "groups" in body:
        counts = {"group": body["groups"], "inner": body["inner_blocks"]}
    return Table(encoder.name, rows, {name: counted(count) for name, count in counts.items()})


def _value(config: Mapping[str, Any], setting: Setting, problems: list[str]) -> Any:
    value = config.get(setting.key, setting.default)
    if isinstance(setting.default, str):
        from tlearn.bodies.activations import ACTIVATIONS

        if value in ACTIVATIONS:
            return value
        close = nearest(str(value)[:80], ACTIVATIONS, 1)
        hint = f"; nearest: {close[0]!r}" if close else ""
        problems.append(
            f"{setting.key}={quoted(value)} is no activation known here{hint} "
            f"(known: {', '.join(ACTIVATIONS)})"
        )
        return setting.default
    kinds = (int,) if isinstance(setting.default, int) else (int, float)
    if (
        not isinstance(value, kinds)
        or isinstance(value, bool)
        or not setting.least <= value <= _LARGEST
    ):
        kind = "whole number" if kinds == (int,) else "number"
        problems.append(
            f"{setting.key} must be a {kind} of at least {setting.least}, got {quoted(value)}"
        )
        return setting.default
    return type(setting.default)(value)


def _whole(config: Mapping[str, Any], key: str, default: int, problems: list[str]) -> int | None:
    value = config.get(key, default)
    if value is None or (type(value) is int and 0 <= value <= _LARGEST):
        return value
    problems.append(f"{key} must be a token's number or null, got {quoted(value)}")
    return default


def _architectures(config: Mapping[str, Any], problems: list[str]) -> list[str]:
    value = config.get("architectures") or []
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        problems.append("architectures must be a list of class names")
        return []
    problems += [
        f"the class {quoted(name)} is not supported: {reason}"
        for name in value
        for suffix, reason in _UNFIT.items()
        if name.endswith(suffix)
    ]
    return value


def _misfits(encoder: Encoder, body: Mapping[str, Any], prefix: str, shapes: Shapes) -> list[str]:
    """Lists what the config says and the arrays contradict, as far as sizes go."""
    problems = []
    narrow = body.get("embedding_width") or body["width"]
    key = {setting.field: setting.key for setting in encoder.settings}
    for name, field in (
        ("word_embeddings", "vocab_size"),
        ("position_embeddings", "positions"),
        ("token_type_embeddings", "types"),
    ):
        full = f"{prefix}embeddings.{name}.weight"
        if full in shapes and body[field] and tuple(shapes[full]) != (body[field], narrow):
            problems.append(
                f"{full!r} has the shape {tuple(shapes[full])}, but the config says "
                f"({key[field]}={body[field]}, {narrow})"
            )
    for pattern, field in encoder.blocks:
        expression = re.compile(re.escape(prefix) + pattern)
        found = {int(m.group(1)) for name in shapes if (m := expression.match(name))}
        if found != set(range(body[field])):
            problems.append(
                f"the config says {key[field]}={body[field]}, but the names count "
                f"{sorted(found)[:40] or 'none'}"
            )
    return problems


def _headless(encoder: Encoder, form: Form | None, architectures: list[str]) -> list[str]:
    """A class with a trained head of labels must have it; pre-training heads are often left out."""
    return [
        f"the config names the class {quoted(name)}, but the arrays of its head are missing: "
        f"{list(wanted.signature)}"
        for name in architectures
        for wanted in encoder.forms
        if (wanted.labelled() or wanted.family == "span")
        and any(name.endswith(suffix) for suffix in wanted.suffixes)
        and form is not wanted
    ]


def _labels(
    config: Mapping[str, Any],
    form: Form | None,
    head: Mapping[str, Any] | None,
    problems: list[str],
) -> tuple[str, ...] | None:
    """Reads the labels' names; names that only count are none."""
    found = config.get("id2label")
    if found is None or form is None or head is None or not form.labelled():
        return None
    numbers = {str(key): name for key, name in found.items()} if isinstance(found, dict) else {}
    wanted = [str(i) for i in range(head["classes"])]
    if sorted(numbers) != sorted(wanted) or not all(isinstance(n, str) for n in numbers.values()):
        problems.append(
            f"id2label must name the {len(wanted)} outputs of the head, from '0', got the keys "
            f"{quoted(', '.join(sorted(numbers)[:20]))}"
        )
        return None
    names = tuple(numbers[i] for i in wanted)
    if all(name == f"LABEL_{i}" for i, name in enumerate(names)):
        return None
    if len(set(names)) < len(names):
        problems.append(f"id2label gives two outputs the same name: {quoted(', '.join(names))}")
        return None
    return names


def _facts(
    config: Mapping[str, Any], body: Mapping[str, Any], pad: int | None, problems: list[str]
) -> TextFacts | None:
    special = tuple(
        (name, config[f"{name}_token_id"])
        for name in ("bos", "eos")
        if type(config.get(f"{name}_token_id")) is int
    )
    try:
        return TextFacts(
            vocab_size=body["vocab_size"],
            max_length=body["positions"] - body.get("position_offset", 0),
            pad=pad,
            special=special,
            pair_types=body["types"] > 1,
        )
    except ValueError as error:
        problems.append(str(error))
        return None
