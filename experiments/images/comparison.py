"""Strategies side by side: choose rates on validation pictures, run paired seeds, write tables."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tables

from tlearn.studies.arms import Bench, Setting, run_cell
from tlearn.studies.contents import (
    Cost,
    Report,
    arms_from_scores,
    efficiency_from_scores,
)
from tlearn.studies.report import markdown
from tlearn.studies.statistics import Scores, compare, p_text, show, summarize

REFERENCE = "from scratch"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """Pictures, prepared, with labels."""

    image: np.ndarray
    label: np.ndarray


def choose(
    bench: Bench,
    trials: Sequence[Setting],
    subsets: Sequence[np.ndarray],
    seeds: Sequence[int],
    held: Part,
) -> tuple[Setting, list[dict[str, Any]]]:
    """Picks the best trial on pictures that are neither trained on nor reported.

    Trials differ in numbers only (rate, strength of the pull), so they share one program; of
    equal ones the first wins.
    """
    found = []
    for trial in trials:
        cell = run_cell(bench, trial, subsets, seeds, evaluate_on=held.image)
        right = (cell.logits.argmax(-1) == held.label).mean(axis=1)
        found.append(
            {
                "arm": trial.name,
                "rate": trial.optimizer.rate,
                "pull": trial.strategy.pull.strength,
                "validation_accuracy": [round(float(r), 4) for r in right],
                "failed": list(cell.failed),
                "wall_s": round(cell.wall_s, 1),
            }
        )
        print(found[-1], flush=True)
    means = [-1.0 if t["failed"] else float(np.mean(t["validation_accuracy"])) for t in found]
    return trials[int(np.argmax(means))], found


def run(
    bench: Bench,
    settings: Sequence[Setting],
    drawn: Mapping[int, Sequence[np.ndarray]],
    seeds: Sequence[int],
    test: Part,
    progress: Path,
) -> dict[str, dict[int, dict[str, Any]]]:
    """Runs every arm at every amount of labels; finished cells are kept in ``progress``.

    Started again with the same arms and numbers, only what is missing is run.
    """
    key = repr([settings, bench.steps, bench.batch_size, list(seeds), len(bench.label)])
    before = json.loads(progress.read_text()) if progress.exists() else {}
    kept = before["cells"] if before.get("key") == key else {}
    for count in drawn:
        for setting in settings:
            name = f"{setting.name} @ {count}"
            if name in kept:
                continue
            cell = run_cell(bench, setting, drawn[count], seeds, evaluate_on=test.image)
            right = (cell.logits.argmax(-1) == test.label).mean(axis=1)
            kept[name] = {
                "accuracy": {
                    str(seed): None if i in cell.failed else float(right[i])
                    for i, seed in enumerate(seeds)
                },
                "plan": cell.plan.summary(),
                "trained": cell.plan.totals()["trained"],
                "pull": cell.pull,
                "wall_s": round(cell.wall_s, 1),
                "distance": {k: float(np.mean(v)) for k, v in cell.distance.items()},
            }
            print(name, kept[name]["accuracy"], f"{cell.wall_s:.0f} s", flush=True)
            progress.write_text(json.dumps({"key": key, "cells": kept}))
    return {s.name: {n: kept[f"{s.name} @ {n}"] for n in drawn} for s in settings}


def every_count(scores: Mapping[str, Mapping[int, Scores]], axis: str) -> str:
    """Renders one table over all amounts of labels: intervals, paired differences, verdicts."""
    lines = [
        f"## Against “{REFERENCE}” at every amount of labels",
        "",
        f"| {axis} | arm | mean ± half the 95 % interval | Δ paired [95 %] | Holm p | verdict "
        "| every seed |",
        "| ---: | --- | ---: | ---: | ---: | --- | --- |",
    ]
    for count in sorted(next(iter(scores.values()))):
        column = {arm: row[count] for arm, row in scores.items()}
        pairs = compare(column, REFERENCE)
        for arm, runs in column.items():
            found, pair = summarize(runs), pairs.get(arm)
            half = found.interval.half_width if found.interval else None
            cells = ["", "", "reference"]
            if pair is not None and pair.interval is not None:
                difference = f"{pair.mean:+.3f} {pair.interval.bounds}"
                cells = [difference, p_text(pair.holm_p), pair.verdict.kind]
            each = " ".join(show(None if v is None else float(v)) for v in runs.values())
            mean = f"{show(found.mean)} ± {show(half)}"
            lines.append("| " + " | ".join([str(count), arm, mean, *cells, each]) + " |")
    return "\n".join(lines) + "\n"


def report(
    out: Path,
    name: str,
    about: str | None,
    cells: Mapping[str, Mapping[int, Mapping[str, Any]]],
    *,
    title: str,
    shown: int,
    setting: str,
    protocol: Sequence[str],
    notes: Sequence[str],
    test_examples: int,
    trials: Sequence[Mapping[str, Any]],
    settings: Sequence[Setting],
) -> None:
    """Prints the tables and writes them with every seed's figure."""
    scores = {
        arm: {n: {int(s): v for s, v in cell["accuracy"].items()} for n, cell in row.items()}
        for arm, row in cells.items()
    }
    at = {arm: row[shown] for arm, row in cells.items()}
    seeds = sorted(next(iter(at.values()))["accuracy"], key=int)
    path = tables.save(
        out,
        name,
        about,
        {
            "accuracy": {
                arm: {str(n): c["accuracy"] for n, c in r.items()} for arm, r in cells.items()
            },
            "chosen": {
                s.name: {"rate": s.optimizer.rate, "pull": s.strategy.pull.strength}
                for s in settings
            },
            "trials": list(trials),
            "distance_from_source": {arm: cell["distance"] for arm, cell in at.items()},
        },
        seeds=[int(seed) for seed in seeds],
    )
    written = json.loads(path.read_text())
    page = Report(
        title=title,
        command=written["command"],
        date=written["date"],
        versions={key: str(value) for key, value in written["versions"].items()},
        protocol=protocol,
        metric="test accuracy",
        setting=setting,
        arms=arms_from_scores(
            {arm: row[shown] for arm, row in scores.items()},
            REFERENCE,
            plans={arm: cell["plan"] for arm, cell in at.items()},
            pulls={arm: cell["pull"] or None for arm, cell in at.items()},
            costs={
                arm: Cost(
                    trained=at[arm]["trained"],
                    wall_s=round(sum(cell["wall_s"] for cell in row.values()), 1),
                )
                for arm, row in cells.items()
            },
            test_examples=test_examples,
        ),
        reference=REFERENCE,
        efficiency=efficiency_from_scores(scores, REFERENCE)
        if len(next(iter(scores.values()))) > 1
        else None,
        notes=notes,
    )
    text = markdown(page) + "\n" + every_count(scores, "labels per class")
    (out / f"{name}.md").write_text(text)
    print(text)
