"""A study's run that shares its program with no other: an ordinary run, in a folder of its own."""

import json
import math
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlearn import hub
from tlearn.params import layer_of
from tlearn.runs.config import RunConfig, replace
from tlearn.runs.initial import load_source
from tlearn.runs.study.many import Looks, Outcome
from tlearn.runs.study.memory import LOSS, remembering
from tlearn.runs.study.metric import refuse_unknown
from tlearn.runs.study.plans import layer_lines
from tlearn.runs.summary import RESULTS
from tlearn.runs.training import StoppedError, start
from tlearn.runs.writers import read_metrics
from tlearn.studies.contents import Cost

Say = Callable[[str], None]


def run_single(config: RunConfig, looks: Looks, place: Path, say: Say) -> Outcome:
    """Runs one run by itself; its folder is removed once it is done.

    Its validation part is looked at at the ends of epochs, as in any run; CKA is not measured, and
    of what is remembered only what language models knew.

    Args:
        config: What is asked.
        looks: What is looked at.
        place: The run's folder while it runs.
        say: Told what is going on.

    Raises:
        ValueError: If anything does not fit.
        InterruptedError: If a signal stopped it.
    """
    if place.exists():  # Of a process that was killed: begun anew, it ends the same.
        shutil.rmtree(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    asked = remembering(config, looks.remember)
    quiet = replace(asked, checkpoint_every=10**9, keep=1)
    error, result = "", None
    try:
        result = start(quiet, place, say=lambda text: None, quiet=True)
    except StoppedError as stopped:
        error = " ".join(str(stopped).split("The state before")[0].split())
    if result is not None and not result.finished:
        raise InterruptedError("stopped by a signal; the same command goes on with the study")
    wall = time.perf_counter() - began
    events = read_metrics(place / "metrics.jsonl", "validation")
    if events:
        refuse_unknown(looks.metric, events[-1].keys() - {"event", "step", "update", "epoch"})
    stages = json.loads((place / "plan.json").read_text())
    results = _results(place)
    far = "distance" in looks.measures
    moved = {row["path"] for stage in stages for row in stage["rows"] if row["trainable"]}
    right = None
    if result is not None and result.test is not None:
        outputs, labels = result.test.predictions, result.test.labels
        if outputs.ndim == 2 and np.issubdtype(labels.dtype, np.integer):
            right = (outputs.argmax(-1) == labels).astype(np.float32)
    made = Outcome(
        error=error,
        metrics=result.test.metrics if result is not None and result.test is not None else {},
        validation=result.validation.metrics if result and result.validation else {},
        at=tuple(event["update"] for event in events),
        curve=tuple(float(event[looks.metric]) for event in events),
        distance=_distances(config, place, moved) if far and not error else {},
        cka={},
        remembered=_remembered(results),
        remembered_metric=LOSS if "remember" in results else "",
        pull=results.get("pull"),
        cost=Cost(
            trained=sum(math.prod(row["shape"]) for row in stages[-1]["rows"] if row["trainable"]),
            wall_s=round(wall, 3),
        ),
        plan="; then ".join(layer_lines(stage)[0] for stage in stages),
        layers=layer_lines(stages[-1]),
        right=right,
    )
    shutil.rmtree(place)
    return made


def _distances(config: RunConfig, place: Path, moved: Collection[str]) -> dict[str, float]:
    """‖w − w_source‖ of the body's layers, where they are of one shape; empty without a source.

    What never moved is at no distance, also where it is kept in halves.
    """
    source = load_source(config)
    if source is None:
        return {}
    trained = hub.load(f"run:{place}")
    squares: dict[str, float] = {}
    for path, value in trained.params.items():
        before = source.params.get(path)
        if path.startswith("body/") and before is not None and before.shape == value.shape:
            far = np.asarray(value) - np.asarray(before) if path in moved else np.zeros(1)
            square = float(np.sum(far**2, dtype=np.float64))
            squares[layer_of(path)] = squares.get(layer_of(path), 0.0) + square
    return {layer: math.sqrt(square) for layer, square in squares.items()}


def _results(place: Path) -> dict[str, Any]:
    """The report of a run in numbers; empty of one that did not finish."""
    results = place / RESULTS
    return json.loads(results.read_text()) if results.is_file() else {}


def _remembered(results: Mapping[str, Any]) -> dict[str, float]:
    """What a language model's loss on its own task was and is, if that was measured."""
    found = results.get("remember", {})
    return {when: float(figures[LOSS]) for when, figures in found.items()}
