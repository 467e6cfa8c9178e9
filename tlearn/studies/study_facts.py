"""What the records of a study amount to: figures by arm, costs, curves, speed, layers, maps."""

import dataclasses
import math
import statistics as plain_statistics
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from tlearn.studies.contents import Cost
from tlearn.studies.intervals import examples_interval, paired_examples
from tlearn.studies.plots import Curve
from tlearn.studies.records import Record, Results
from tlearn.studies.statistics import Interval, Scores, Summary, summarize, t_interval

REACHED = 0.9
"""The share of the reference's final figure that convergence speed is about."""
_MOST_NAMED = 12
Forgotten = tuple[Summary, Summary, Interval | None]
"""A figure on the source's own task before and after, and its change over paired seeds."""


def main_records(results: Results) -> list[Record]:
    """The reported runs that the main table is about."""
    return [r for r in results.records if r.labels == results.shown]


def whole_scores(results: Results, labels: int) -> tuple[dict[str, Scores], list[str]]:
    """Gives every arm the same seeds; a run that is not there counts like a failed one.

    Returns:
        The figures by arm and seed, and a sentence for every arm with runs missing.
    """
    scores = results.scores(labels)
    seeds = sorted({seed for runs in scores.values() for seed in runs})
    told = []
    where = "all" if labels == 0 else str(labels)
    for arm, runs in scores.items():
        if missing := [seed for seed in seeds if seed not in runs]:
            told.append(
                f"“{arm}” has no runs yet at {where} labels per class for seeds "
                f"{', '.join(map(str, missing))}; they count like failed ones."
            )
    return {arm: {s: runs.get(s) for s in seeds} for arm, runs in scores.items()}, told


def named_arms(results: Results) -> tuple[list[str], list[str]]:
    """Splits the arms into those that plots name and, where there are many, the rest.

    Named are the reference and those that end best on validation: the reported part chooses
    nothing, not even what is drawn.
    """
    arms = list(results.arms)
    if len(arms) <= _MOST_NAMED:
        return arms, []
    sign = 1 if results.higher_is_better else -1

    def ends(arm: str) -> float:
        last = [
            r.validation[results.metric]
            for r in main_records(results)
            if r.arm == arm and r.finished and results.metric in r.validation
        ]
        return sign * float(np.mean(last)) if last else -math.inf

    best = sorted((a for a in arms if a != results.reference), key=ends, reverse=True)
    kept = {results.reference, *best[: _MOST_NAMED - 1]}
    return [a for a in arms if a in kept], [a for a in arms if a not in kept]


def costs(results: Results) -> dict[str, Cost]:
    """Each arm's cost: of a run, and the wall seconds of all its reported runs."""
    found = {}
    for arm in results.arms:
        mine = [r.cost for r in main_records(results) if r.arm == arm]
        walls = [r.cost.wall_s for r in results.records if r.arm == arm]
        known = [wall for wall in walls if wall is not None]
        found[arm] = Cost(
            trained=next((c.trained for c in mine if c.trained is not None), None),
            step_flops=next((c.step_flops for c in mine if c.step_flops is not None), None),
            wall_s=sum(known) if known else None,
            optimizer_bytes=next(
                (c.optimizer_bytes for c in mine if c.optimizer_bytes is not None), None
            ),
        )
    return found


def cost_axis(results: Results) -> tuple[str, dict[str, float]]:
    """Chooses what to draw figures against, the best known: FLOPs, wall or trained parameters.

    Returns:
        What it is, and its mean a run by arm; empty where none is known of all and differs.
    """

    def flops(record: Record) -> float | int | None:
        step = record.cost.step_flops
        return step * record.at[-1] if step is not None and record.at else None

    kinds = {
        "FLOPs of the training of a run": flops,
        "wall seconds of a run": lambda r: r.cost.wall_s,
        "trained parameters": lambda r: r.cost.trained,
    }
    for what, of in kinds.items():
        means = {}
        for arm in results.arms:
            mine = [r for r in main_records(results) if r.arm == arm and r.finished]
            values = [value for r in mine if (value := of(r)) is not None]
            if values:
                means[arm] = float(np.mean(values))
        finished = {r.arm for r in main_records(results) if r.finished}
        # Costs within a tenth of each other are the same; an axis would make much of them.
        apart = means and max(means.values()) > 1.1 * min(means.values())
        if apart and means.keys() == finished:
            return what, means
    return "", {}


def over_examples(results: Results) -> dict[str, Interval]:
    """Each arm's interval over the test examples, where what was right is known by example."""
    known = _right(results)
    return {
        arm: examples_interval(np.stack(list(by_seed.values()))) for arm, by_seed in known.items()
    }


def differences_over_examples(results: Results) -> dict[str, Interval]:
    """Each arm's difference from the reference over the test examples, the paired runs held."""
    known = _right(results)
    base = known.get(results.reference, {})
    found = {}
    for arm, mine in known.items():
        both = sorted(mine.keys() & base.keys())
        if arm != results.reference and both:
            sides = (np.stack([side[s] for s in both]) for side in (mine, base))
            found[arm] = paired_examples(*sides)
    return found


def _right(results: Results) -> dict[str, dict[int, np.ndarray]]:
    """What every run got right, by arm and seed; nothing if the metric is not the share of it."""
    found: dict[str, dict[int, np.ndarray]] = {}
    lengths = set()
    for record in main_records(results):
        if not record.finished or record.key not in results.predictions:
            continue
        right = np.asarray(results.predictions[record.key], np.float64)
        figure = record.metrics.get(results.metric, math.nan)
        if right.size == 0 or not abs(float(right.mean()) - figure) < 1e-3:
            return {}
        lengths.add(right.size)
        found.setdefault(record.arm, {})[record.seed] = right
    return found if len(lengths) == 1 else {}


def curves(results: Results) -> dict[str, Curve]:
    """Validation along training by arm; runs that were looked at elsewhere count as failed."""
    found = {}
    for arm in results.arms:
        mine = [r for r in main_records(results) if r.arm == arm and len(r.at) > 1]
        looked = Counter(r.at for r in mine if r.finished and len(r.curve) == len(r.at))
        if not looked:
            continue
        at = looked.most_common(1)[0][0]
        blank = tuple([math.nan] * len(at))
        rows = [
            r.curve if r.finished and r.at == at and len(r.curve) == len(at) else blank
            for r in main_records(results)
            if r.arm == arm
        ]
        found[arm] = Curve(at, np.asarray(rows, np.float64))
    return found


@dataclasses.dataclass(frozen=True)
class Speed:
    """When the runs of an arm reach a figure on validation."""

    updates: tuple[int, ...]
    """Of the runs that reach it, ascending."""
    runs: int

    @property
    def median(self) -> float | None:
        """Median over all runs, those that never reach it last; None if that is half of them."""
        late = [math.inf] * (self.runs - len(self.updates))
        value = plain_statistics.median([*self.updates, *late]) if self.runs else math.inf
        return float(value) if math.isfinite(value) else None


def speeds(results: Results) -> tuple[float, dict[str, Speed]] | None:
    """When each arm reaches 90 % of what the reference ends with, on validation.

    Of a loss it is 1/0.9 of it. Failed runs do not reach it.

    Returns:
        The figure to reach and the speed of every arm; None without curves of the reference.
    """
    main = [r for r in main_records(results) if len(r.at) > 1 or not r.finished]
    ends = [
        r.curve[-1]
        for r in main
        if r.arm == results.reference and r.finished and r.curve and math.isfinite(r.curve[-1])
    ]
    if not ends or float(np.mean(ends)) <= 0:
        return None
    up = results.higher_is_better
    target = float(np.mean(ends)) * (REACHED if up else 1 / REACHED)
    found = {}
    for arm in results.arms:
        mine = [r for r in main if r.arm == arm]
        if not any(r.finished for r in mine):
            continue
        first = [
            next((at for at, v in zip(r.at, r.curve, strict=False) if _beyond(v, target, up)), None)
            for r in mine
            if r.finished
        ]
        found[arm] = Speed(tuple(sorted(at for at in first if at is not None)), len(mine))
    return target, found


def _beyond(value: float | int, target: float, up: bool) -> bool:
    return bool(value >= target if up else value <= target)


def by_layer(results: Results, measure: str) -> dict[str, dict[str, Scores]]:
    """``distance`` or ``cka`` by arm, layer and seed; arms that have none are left out."""
    found: dict[str, dict[str, dict[int, float | None]]] = {}
    for arm in results.arms:
        mine = [r for r in main_records(results) if r.arm == arm]
        measured = [getattr(r, measure) for r in mine if r.finished and getattr(r, measure)]
        layers = dict.fromkeys(layer for by_name in measured for layer in by_name)
        if layers:
            found[arm] = {
                layer: {
                    r.seed: getattr(r, measure).get(layer) if r.finished else None for r in mine
                }
                for layer in layers
            }
    return {arm: dict(layers) for arm, layers in found.items()}


def remembered(results: Results) -> dict[str, dict[str, Forgotten]]:
    """Figures on the source's own task: before, after, and the change over paired seeds.

    By metric and arm: arms whose sources tell labels and those whose sources are language models
    are not measured in the same.
    """
    found: dict[str, dict[str, Forgotten]] = {}
    sound = [
        r
        for r in main_records(results)
        if r.finished and {"before", "after"} <= r.remembered.keys()
    ]
    for arm in results.arms:
        by_metric: dict[str, list[Record]] = {}
        for r in sound:
            if r.arm == arm:
                by_metric.setdefault(r.remembered_metric or results.metric, []).append(r)
        for metric, mine in by_metric.items():
            before, after = (
                summarize({r.seed: r.remembered[when] for r in mine})
                for when in ("before", "after")
            )
            change = [r.remembered["after"] - r.remembered["before"] for r in mine]
            interval = t_interval(change) if len(change) > 1 else None
            found.setdefault(metric, {})[arm] = (before, after, interval)
    return found


@dataclasses.dataclass(frozen=True)
class Grid:
    """Means over two config fields; ``None`` where nothing finished."""

    x: str
    y: str
    columns: tuple[float | int, ...]
    rows: tuple[float | int, ...]
    means: tuple[tuple[float | None, ...], ...]
    rest: str
    """The levels of the other factors, if there are any."""


def grids(results: Results, *, most: int = 6) -> list[Grid]:
    """Finds the two config fields whose numbers vary, and maps the figures over them.

    None unless exactly two vary, and cross in at least half of the cells. The other factors'
    combinations have a map each, up to the most.
    """
    records = main_records(results)
    fields = dict.fromkeys(field for r in records for field in r.values)
    varied = [f for f in fields if len({r.values.get(f) for r in records}) > 1]
    if len(varied) != 2 or any(f not in r.values for r in records for f in varied):
        return []
    y, x = varied
    others = [
        factor
        for factor in dict.fromkeys(name for r in records for name in r.levels)
        if len({(r.values[x], r.values[y], r.levels.get(factor)) for r in records})
        > len({(r.values[x], r.values[y]) for r in records})
    ]
    parts: dict[str, list[Record]] = {}
    for r in records:
        parts.setdefault(", ".join(r.levels.get(f, "") for f in others), []).append(r)
    found = [_grid(results, x, y, rest, mine) for rest, mine in parts.items()]
    return [grid for grid in found if grid is not None][:most]


def _grid(results: Results, x: str, y: str, rest: str, records: Sequence[Record]) -> Grid | None:
    columns = tuple(sorted({r.values[x] for r in records}))
    rows = tuple(sorted({r.values[y] for r in records}))
    cells: Mapping[tuple[float, float], list[float]] = {}
    for r in records:
        value = r.metrics.get(results.metric, math.nan) if r.finished else math.nan
        kept = cells.setdefault((r.values[y], r.values[x]), [])
        if math.isfinite(value):
            kept.append(value)
    if min(len(columns), len(rows)) < 2 or 2 * len(cells) < len(columns) * len(rows):
        return None
    means = tuple(
        tuple(float(np.mean(v)) if (v := cells.get((a, b))) else None for b in columns)
        for a in rows
    )
    return Grid(x, y, columns, rows, means, rest)
