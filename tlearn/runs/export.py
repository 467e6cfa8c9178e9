"""A run's model, or any source, handed on: as transformers, timm, PyTorch, NumPy or StableHLO."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tlearn import hub
from tlearn.hub.model_card import Result, Training, model_card, short
from tlearn.hub.new_folder import new_folder, refuse_taken
from tlearn.runs.config import DataConfig, RunConfig, to_json
from tlearn.runs.folder import RunFolder, RunFolderError
from tlearn.runs.summary import RESULTS

Format = Literal["hf", "timm", "torch", "npz", "stablehlo"]
_ALWAYS = (
    *("strategy.freeze", "optimizer.optimizer", "optimizer.rate", "optimizer.schedule"),
    *("train.length", "train.batch_size", "train.seed"),
)
_REPORT = "report/report.md"


def export(
    spec: str,
    out: str | Path,
    format: Format = "hf",
    *,
    platforms: Sequence[str] = ("cpu",),
    length: int = 0,
) -> Path:
    """Writes a model for others to use, with a model card that tells what is on record of it.

    Args:
        spec: A run's folder, or any source; one without a head is exported as a base model.
        out: Where to write: absent or empty.
        format: ``hf`` and ``timm`` are folders that these libraries load; ``torch`` and ``npz`` are
            the arrays under the names of the original PyTorch code; ``stablehlo`` is the forward
            function itself.
        platforms: Of ``stablehlo``: what to lower it for.
        length: Of ``stablehlo``: tokens of every text; 0 for any number, where that works.

    Returns:
        The folder.

    Raises:
        HubError: If the model cannot be expressed there, with every reason and other ways out; if
            the target holds something, or cannot be written.
        RunFolderError: If it is a run that has not finished.
    """
    target = Path(out).expanduser()
    refuse_taken(target)
    source, run = _opened(spec)
    training = None if run is None else on_record(run)
    if format in ("hf", "timm"):
        return hub.export_folder(source, target, format, training=training)
    if format == "stablehlo":
        return hub.export_forward(
            source, target, platforms=platforms, length=length, training=training
        )
    return _torch_names(source, target, format, training)


def _opened(spec: str) -> tuple[hub.Source, RunFolder | None]:
    """Loads a source; where it is a run's, opens its record as well."""
    place = Path(spec.removeprefix("run:")).expanduser()
    if not (place / "run.json").is_file():
        # What is no folder at all was meant to be a run's: that says what lies beside it.
        plain = ":" not in spec and (_is_model(place) or not place.exists())
        return hub.load(f"run:{spec}" if plain else spec), None
    run = RunFolder.open(place)
    if not run.model.is_dir():
        raise RunFolderError(
            f"the run {place} has no model yet; go on with it: tlearn finetune --resume {place}"
        )
    return hub.load(f"run:{place}"), run


def _is_model(place: Path) -> bool:
    return (place / "model" / "model.json").is_file() or (place / "model.json").is_file()


def on_record(run: RunFolder) -> Training:
    """Gathers what a run's folder tells of its training, for the model card."""
    config = run.config
    name = f"{_given(config, 'data', 'data')}"
    report = run.path / _REPORT
    text = report.read_text(encoding="utf-8") if report.is_file() else ""
    digests = run.read_json("digests.json") if (run.path / "digests.json").is_file() else {}
    return Training(
        started_from=str(config.get("source") or "fresh weights"),
        plan=(*_section(text, "Plan"), *_stages(run.plan), *_pulls(config)),
        data=(
            f"dataset `{short(name)}`",
            *_section(text, "Data"),
            *(f"SHA-256 of {part}: `{value}`" for part, value in digests.items()),
        ),
        results=_results(run, short(name)),
        config=_changed(config),
        versions=tuple(f"{name} {value}" for name, value in _flat_pairs(run.versions)),
    )


def _results(run: RunFolder, name: str) -> tuple[Result, ...]:
    if not (run.path / RESULTS).is_file():
        return ()
    found = []
    for split, figures in run.read_json(RESULTS).items():
        if not isinstance(figures, Mapping):
            continue
        count = figures.get("count")
        found += [
            Result(name, split, metric, float(value), count if isinstance(count, int) else None)
            for metric, value in figures.items()
            if metric != "count" and isinstance(value, (int, float)) and math.isfinite(value)
        ]
    return tuple(found)


def _stages(plan: Any) -> list[str]:
    """Says of every stage, layer by layer, what it did; one line where layers did the same."""
    lines: list[str] = []
    stages: list[Mapping[str, Any]] = list(plan or ())
    for number, stage in enumerate(stages):
        groups: dict[str, list[str]] = {}
        layers: dict[str, list[Mapping[str, Any]]] = {}
        for row in stage.get("rows", ()):
            layers.setdefault(str(row["layer"]), []).append(row)
        # In the order of the network, which the modes have.
        order = [str(layer) for layer, _ in stage.get("modes", ())]
        for layer in sorted(layers, key=lambda n: order.index(n) if n in order else len(order)):
            groups.setdefault(_did(layers[layer]), []).append(layer)
        before = f"stage {number}: " if len(stages) > 1 else ""
        lines += [f"{before}{did}: {', '.join(names)}" for did, names in groups.items()]
    return lines


def _did(rows: Sequence[Mapping[str, Any]]) -> str:
    moving = [row for row in rows if row["trainable"]]
    inits = sorted({str(row["init"]) for row in rows})
    if not moving:
        return f"{' and '.join(inits)}, frozen"
    partly = "" if len(moving) == len(rows) else f" ({len(moving)} of {len(rows)} parameters)"
    rates = sorted({float(row["rate"]) for row in moving})
    rate = (
        ""
        if rates == [1.0]
        else f", rate × {' to '.join(f'{r:.4g}' for r in rates[:: len(rates) - 1 or 1])}"
    )
    return f"{' and '.join(inits)}, trained{partly}{rate}"


def _pulls(config: Mapping[str, Any]) -> list[str]:
    strength = _given(config, "strategy", "pull_strength")
    if not strength:
        return []
    form, way = _given(config, "strategy", "pull"), _given(config, "strategy", "pull_way")
    return [f"pulled to the source: {form} of strength {strength:g}, {way}"]


def _given(config: Mapping[str, Any], group: str, field: str) -> Any:
    values = config.get(group)
    return values.get(field) if isinstance(values, Mapping) else None


def _section(text: str, title: str) -> list[str]:
    """The items of one section of a run's report."""
    match = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return [] if match is None else re.findall(r"^- (.*)$", match[1], re.MULTILINE)


def _changed(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The settings that are not the defaults, and those that everybody asks for."""
    usual = dict(_flat_pairs(to_json(RunConfig(data=DataConfig(data="")))))
    return tuple(
        f"{name} = {json.dumps(value)}"
        for name, value in _flat_pairs(config)
        if name in _ALWAYS or usual.get(name) != value
    )


def _flat_pairs(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            pairs += _flat_pairs(value, f"{prefix}{name}.")
        elif value not in ("", [], None):
            pairs.append((f"{prefix}{name}", value))
    return pairs


def _torch_names(
    source: hub.Source, target: Path, format: Literal["torch", "npz"], training: Training | None
) -> Path:
    """Writes the arrays under PyTorch's names, in one file, with the card beside it."""
    card = model_card(source, name=target.name, form=format, training=training)
    file = {"torch": "model.safetensors", "npz": "model.npz"}[format]
    with new_folder(target) as fresh:
        hub.export_torch_names(source, fresh / file)
        (fresh / "README.md").write_text(card, encoding="utf-8")
    return target
