"""The model card beside exported weights: what they are, where they come from, how to load them."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlearn.hub.descent import steps
from tlearn.hub.source import Source

_TASKS = (
    ("ForSequenceClassification", "text-classification"),
    ("ForTokenClassification", "token-classification"),
    ("ForQuestionAnswering", "question-answering"),
    ("ForMaskedLM", "fill-mask"),
    ("LMHeadModel", "text-generation"),
    ("ForCausalLM", "text-generation"),
    ("ForConditionalGeneration", "text2text-generation"),
    ("ForImageClassification", "image-classification"),
    ("ForImageClassificationWithTeacher", "image-classification"),
)
# Those of the Hub's identifiers that weights come with; any other licence is written as "other".
_LICENCES = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "bsd", "isc", "unlicense", "afl-3.0"),
    *("cc0-1.0", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0"),
    *("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "gpl-2.0", "gpl-3.0", "lgpl-3.0"),
    *("agpl-3.0", "mpl-2.0", "openrail", "bigscience-openrail-m", "llama2", "gemma"),
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_LIBRARIES = {"hf": "transformers", "timm": "timm"}


@dataclasses.dataclass(frozen=True)
class Result:
    """One figure of a model.

    Attributes:
        dataset: What it was measured on.
        split: Which part of it.
        metric: What was measured.
        value: The figure.
        count: Over how many examples; None if that is not on record.
    """

    dataset: str
    split: str
    metric: str
    value: float
    count: int | None = None


@dataclasses.dataclass(frozen=True)
class Training:
    """What is on record of how weights were trained; every entry is a line of the card.

    Attributes:
        started_from: The source, as it was asked for; empty for none.
        plan: What was frozen, trained, drawn afresh, pulled.
        data: Parts, counts, digests.
        results: The figures.
        config: The settings.
        versions: What it was made with.
    """

    started_from: str = ""
    plan: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    results: tuple[Result, ...] = ()
    config: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()


def model_card(
    source: Source,
    *,
    name: str,
    form: str,
    architecture: str = "",
    training: Training | None = None,
    notes: Sequence[str] = (),
) -> str:
    """Writes a README.md for exported weights.

    Args:
        source: What is exported.
        name: What the model is called.
        form: The form it is exported in: ``hf``, ``timm``, ``torch``, ``npz`` or ``stablehlo``.
        architecture: The foreign class or architecture.
        training: How it was trained, where that is on record.
        notes: What its reader must know besides, a sentence each.
    """
    record = training or Training()
    task = pipeline_tag(source, architecture)
    lines = [
        "---",
        _front_matter(source, name, form, task, record).strip(),
        "---",
        "",
        f"# {name}",
        "",
        _about(source, architecture),
        "",
        *_listing("", notes),
        *_figures(record.results),
        *_listing("Plan", record.plan),
        *_listing("Data", record.data),
        *_listing("Weights", _weights(source, record)),
        *_listing("Labels", _labels(source)),
        *_loading(name, form, architecture),
        *_listing("Settings (others at their defaults)", record.config),
        *_listing("Versions", record.versions),
    ]
    return "\n".join(lines).rstrip() + "\n"


def pipeline_tag(source: Source, architecture: str) -> str:
    """The Hub's word for what the weights do."""
    for suffix, tag in _TASKS:
        if architecture.endswith(suffix):
            return tag
    image = "in_channels" in source.body
    if source.head is not None and "classes" in source.head:
        return "image-classification" if image else "text-classification"
    return "image-feature-extraction" if image else "feature-extraction"


def short(text: Any) -> str:
    """Cuts absolute paths to their last part: a card tells of a model, not of a disk."""
    return re.sub(r"(?<![\w.~])~?/(?:[^\s/:'\"]+/)*([^\s/:'\"]+)", r"\1", str(text))


def _front_matter(source: Source, name: str, form: str, task: str, record: Training) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    licence = source.provenance.get("licence")
    given: dict[str, Any] = {}
    if isinstance(licence, str) and licence:
        known = licence.lower().replace(" ", "-") in _LICENCES
        given["license"] = licence.lower().replace(" ", "-") if known else "other"
        if not known:
            given["license_name"] = licence
    base = base_model(source)
    if base:
        given["base_model"] = base
    if form in _LIBRARIES:
        given["library_name"] = _LIBRARIES[form]
    if record.results:
        given["model_name"] = name
        given["eval_results"] = [
            EvalResult(
                task_type=task,
                dataset_type=result.dataset,
                dataset_name=result.dataset,
                dataset_split=result.split,
                metric_type=result.metric,
                metric_value=round(result.value, 6),
            )
            for result in record.results
            # The Hub ranks by what is reported; what chose the model is not that.
            if result.split != "validation" or not any(r.split == "test" for r in record.results)
        ]
    tags = ["tlearn", str(source.body["family"])]
    return ModelCardData(pipeline_tag=task, tags=tags, **given).to_yaml()


def base_model(source: Source) -> str:
    """The Hub's name of the weights these were trained from; empty if they are from elsewhere."""
    for found in steps(source.provenance):
        for key in ("from", "spec"):
            kind, colon, place = str(found.get(key, "")).partition(":")
            place = place.partition("@")[0]
            if colon and kind in ("hf", "timm") and not Path(place).expanduser().exists():
                if _HUB_ID.fullmatch(place):
                    return place
                if kind == "timm" and "/" not in place and place:
                    return f"timm/{place}"
    return ""


def _about(source: Source, architecture: str) -> str:
    """One sentence on what the model is."""
    numbers = sum(int(array.size) for array in source.params.values())
    what = f"`{architecture}`" if architecture else f"a {source.body['family']} body"
    head = source.head
    if head is None:
        does = "without a head"
    elif "classes" in head:
        does = f"with {head['classes']} outputs"
    else:
        does = f"with a {str(head['family']).replace('_', ' ')} head"
    return f"{what[0].upper()}{what[1:]} {does}, {numbers:,} parameters, float32."


def _figures(results: Sequence[Result]) -> list[str]:
    if not results:
        return []
    lines = [
        "## Results",
        "",
        "| data | split | metric | value | examples |",
        "|---|---|---|---|---|",
    ]
    for r in results:
        count = "" if r.count is None else f"{r.count:,}"
        lines.append(f"| {r.dataset} | {r.split} | {r.metric} | {r.value:.4f} | {count} |")
    if any(r.split == "test" for r in results):
        lines += ["", "The test part was read once, after training. One seed: no claim of better."]
    return [*lines, ""]


def _weights(source: Source, record: Training) -> list[str]:
    held = source.provenance
    origin = held.get("origin")
    licence = held.get("licence")
    lines = []
    if record.started_from:
        lines.append(f"started from `{short(record.started_from)}`")
    elif isinstance(held.get("spec"), str) and not isinstance(origin, Mapping):
        lines.append(f"read from `{short(held['spec'])}`")
    digests = origin.get("source_digests") if isinstance(origin, Mapping) else None
    if isinstance(digests, Mapping):
        lines += [f"digest of what was {what}: `{digest}`" for what, digest in digests.items()]
    lines.append(f"digest of these parameters: `{source.digest}`")
    beside = held.get("licence_beside") or ()
    if isinstance(licence, str) and licence:
        lines.append(f"licence of the source: {licence}")
    elif beside:
        lines.append(f"licence of the source: see {', '.join(map(str, beside))} where it came from")
    else:
        lines.append("licence of the source: unknown; find it out before you hand these on")
    if source.facts is not None:
        fields = dataclasses.asdict(source.facts).items()
        lines.append("inputs: " + ", ".join(f"{key} {value}" for key, value in fields))
    return lines


def _labels(source: Source) -> list[str]:
    names = source.label_names
    if not names:
        return []
    shown = ", ".join(f"{i} `{name}`" for i, name in enumerate(names[:20]))
    return [shown + (f", and {len(names) - 20} more in config.json" if len(names) > 20 else "")]


def _loading(name: str, form: str, architecture: str) -> list[str]:
    folder = re.sub(r"[\"'\\]", "", name)
    loads, call, file = {
        "hf": (f"from transformers import {architecture}", f"{architecture}.from_pretrained", ""),
        "timm": ("import timm", "timm.create_model", ""),
        "torch": ("from safetensors.torch import load_file", "load_file", "/model.safetensors"),
        "npz": ("import numpy as np", "np.load", "/model.npz"),
        "stablehlo": ("import tlearn as tl", "tl.hub.load_exported", ""),
    }[form]
    argument = f'"local-dir:{folder}", pretrained=True' if form == "timm" else f'"{folder}{file}"'
    lines = ["## How to load it", "", "```python", loads, f"model = {call}({argument})"]
    if form == "stablehlo":
        return [*lines, "outputs = model(batch)", "```", ""]
    kind = "safetensors" if form == "torch" else form
    lines += ["```", "", "```python", "import tlearn as tl"]
    lines += [f'source = tl.hub.load("{kind}:{folder}{file}")', "```", ""]
    return [*lines, f"or `tlearn finetune --source {kind}:{folder}{file} --data ...`", ""]


def _listing(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    return [*([f"## {title}", ""] if title else []), *(f"- {short(line)}" for line in lines), ""]
