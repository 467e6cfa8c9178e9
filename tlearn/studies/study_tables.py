"""A study's further tables: differences closer, speed, memory, trials, failures, every run."""

import json
from collections.abc import Mapping, Sequence

import numpy as np

from tlearn.studies.contents import point_text, seconds_text
from tlearn.studies.equivalence import tost
from tlearn.studies.intervals import MIN_BOOTSTRAP, bca_interval
from tlearn.studies.power import smallest_difference
from tlearn.studies.records import Record, Results
from tlearn.studies.report_parts import Cell, Column, Table, signed, table
from tlearn.studies.statistics import (
    MIN_SEEDS,
    Comparison,
    Interval,
    no_spread,
    p_text,
    show,
)
from tlearn.studies.study_facts import REACHED, Forgotten, Speed
from tlearn.studies.study_trials import Trial, best, config_difference, setting_text

POINT = 0.01
"""A point of a share: the margin of equivalence where the metric is one."""


def is_share(metric: str) -> bool:
    """Whether a metric is a share of examples, by its name."""
    return "accuracy" in metric or metric in ("top1", "top5", "exact_match")


def closer_table(
    comparisons: Mapping[str, Comparison], examples: Mapping[str, Interval], metric: str
) -> Table:
    """Builds the table of what else is known of the differences; empty without enough seeds."""
    margin = POINT if is_share(metric) else None
    columns = ["arm", "Δ, bootstrap 95 %", "Δ, 95 % over examples", "no larger than"]
    columns += [f"within ±{show(POINT)}", "these seeds see"]
    rows = []
    for arm, pair in comparisons.items():
        values = [value for _, value in pair.differences]
        over = examples.get(arm)
        row = [arm, "–", over.bounds if over else "–", "–", "–", "–"]
        if len(values) >= MIN_SEEDS and not no_spread(values):
            if len(values) >= MIN_BOOTSTRAP:
                row[1] = bca_interval(values).bounds
            row[3], row[4] = _equivalence(values, margin)
            std = _std(values)
            row[5] = show(smallest_difference(len(values), std, arms=max(1, pair.family)))
        rows.append(row)
    return table(columns, rows).filled()


def _equivalence(values: Sequence[float], margin: float | None) -> tuple[str, str]:
    """The bound of the difference at 5 %, and whether it lies within the margin."""
    found = tost(values, margin or 1.0)
    bound = max(abs(found.interval90.low), abs(found.interval90.high))
    if margin is None:
        return show(bound), "–"
    verdict = "yes" if found.equivalent else "not shown"
    return show(bound), f"{verdict} (p {p_text(found.p)})"


def closer_lines(given: Table) -> list[str]:
    """Says how the table is to be read, column by column."""
    told = {
        "Δ, bootstrap 95 %": "Bootstrap: the difference's interval over seeds without the normal "
        "distribution (BCa, Efron 1987); where it and the t-interval disagree, trust neither.",
        "Δ, 95 % over examples": "Over examples: how far the difference would move with another "
        "test set of the same length, these runs held as they are.",
        "no larger than": "No larger than: the difference, either way, with 95 % confidence (both "
        "one-sided tests at 5 %, Schuirmann 1987; not corrected over arms). This, not “undecided”, "
        "is how alike two arms are known to be.",
        f"within ±{show(POINT)}": f"Within ±{show(POINT)}: equivalence at a margin of one point.",
        "these seeds see": "These seeds see: the smallest true difference that as many seeds with "
        "this spread would show in 80 of 100 studies, corrected over arms. Smaller ones may be "
        "there.",
    }
    return [told[c.title] for c in given.columns if c.title in told]


def _std(values: Sequence[float]) -> float:
    return float(np.asarray(values, np.float64).std(ddof=1))


def speed_table(target: float, speeds: Mapping[str, Speed], results: Results) -> Table:
    """Builds the table of how soon runs reach the figure."""
    rows = []
    for arm, speed in speeds.items():
        first, last = (speed.updates[0], speed.updates[-1]) if speed.updates else (None, None)
        span = f"{first}" if first == last else f"{first} to {last}"
        median = "–" if speed.median is None else f"{speed.median:g}"
        rows.append(
            [arm, median, span if speed.updates else "–", f"{len(speed.updates)} of {speed.runs}"]
        )
    share = f"{100 * REACHED:g} %" if results.higher_is_better else f"1/{REACHED:g}"
    note = (
        f"Updates until the validation {results.metric} first reaches {show(target)}, which is "
        f"{share} of what “{results.reference}” ends with, looked at where the curves have points. "
        "Runs that never reach it, failed ones too, count as later than all others; “–” where "
        "that is the median."
    )
    columns = ["arm", "median updates", "those that reach it", "runs that reach it"]
    return table(columns, rows, note=note, reference=results.reference, wide=False)


def memory_table(remembered: Mapping[str, Forgotten], metric: str, reference: str) -> Table:
    """Builds the table of what is left of the source's own task."""
    rows: list[list[Cell | str]] = []
    for arm, (before, after, change) in remembered.items():
        difference = Cell("–")
        if after.mean is not None and before.mean is not None:
            difference = Cell(
                signed(after.mean - before.mean, change), change.bounds if change else ""
            )
        held = Cell(show(after.mean), after.interval.bounds if after.interval else "")
        rows.append([arm, show(before.mean), held, difference, str(after.finished)])
    columns = ["arm", f"{metric} before", "after, 95 % over seeds", "change, 95 %", "n"]
    return table(columns, rows, reference=reference, wide=False)


def choice_table(results: Results, tried: Mapping[str, Sequence[Trial]]) -> Table:
    """Builds the table of what was chosen for every arm."""
    rows: list[list[Cell | str]] = []
    for arm in results.arms:
        levels = results.chosen.get(arm, {})
        mine = tried.get(arm, ())
        if not levels and not mine:
            continue
        taken = next((t for t in mine if t.chosen), None)
        top = best(mine, higher_is_better=results.higher_is_better)
        edge = f"at the end of the range: {_own_names(taken.edge)}" if taken else ""
        said = ", ".join(f"{name} {level}" for name, level in levels.items()) or str(taken or "–")
        walls = [r.cost.wall_s for r in results.pilots if r.arm == arm]
        wall = sum(w for w in walls if w is not None) if any(w is not None for w in walls) else None
        rows.append(
            [
                arm,
                str(len(mine)) if mine else "–",
                Cell(said, edge if taken and taken.edge else ""),
                show(taken.summary.mean) if taken else "–",
                show(top.summary.mean) if top else "–",
                seconds_text(wall),
            ]
        )
    columns = ["arm", "settings tried", Column("chosen", "text"), "its validation", "best tried"]
    return table([*columns, "wall, all pilots"], rows, wide=False).filled()


def trial_table(tried: Mapping[str, Sequence[Trial]], metric: str) -> Table:
    """Builds the table of every setting that was tried."""
    rows: list[list[Cell | str]] = []
    for arm, mine in tried.items():
        for trial in mine:
            half = trial.summary.interval
            figure = Cell(show(trial.summary.mean), f"± {show(half.half_width)}" if half else "")
            said = [arm, Cell(str(trial)), figure, trial.summary.runs]
            rows.append([*said, "chosen" if trial.chosen else ""])
    columns = ["arm", Column("setting", "text"), f"validation {metric}", "pilots", ""]
    return table(columns, rows, wide=False)


def failure_table(records: Sequence[Record]) -> Table:
    """Builds the table of failed runs; those of an arm that failed alike share a row."""
    alike: dict[tuple[str, int, str, int, str], list[int]] = {}
    for r in records:
        kind = (r.arm, r.labels, r.role, r.retried, r.error or "no message")
        alike.setdefault(kind, []).append(r.seed)
    rows = [
        [arm, point_text(labels), ", ".join(map(str, seeds)), role, str(again), error]
        for (arm, labels, role, again, error), seeds in alike.items()
    ]
    columns = ["arm", "labels per class", "seeds", "runs", "tried again", Column("error", "prose")]
    return table(columns, rows)


def run_table(records: Sequence[Record], metric: str, first: Record) -> Table:
    """Builds the table of every run and the fields of its config that differ from the first's."""
    rows: list[list[Cell | str]] = []
    for r in records:
        figures = r.metrics if r.role == "reported" else r.validation
        rows.append(
            [
                r.arm,
                point_text(r.labels),
                str(r.seed),
                show(figures.get(metric)) if r.finished else "failed",
                f"{r.at[-1]}" if r.at else "–",
                seconds_text(r.cost.wall_s),
                r.key[:10],
                Cell(setting_text(config_difference(first.config, r.config))),
            ]
        )
    part = "test" if records and records[0].role == "reported" else "validation"
    columns = ["arm", "labels per class", "seed", f"{part} {metric}", "updates", "wall", "key"]
    return table([*columns, Column("config, where it differs", "prose")], rows).filled()


def pretty(config: Mapping[str, object]) -> str:
    """The config as it is stored."""
    return json.dumps(config, indent=2, default=str)


def _own_names(fields: Sequence[str]) -> str:
    """Lists fields by their own names."""
    return ", ".join(field.rsplit(".", 1)[-1] for field in fields)
