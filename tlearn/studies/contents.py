"""What a study's report says: arms, costs, label efficiency, and the sentences drawn from them.

The page, the Markdown, the JSON and the console table are renderings of the values here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tlearn.studies.drawing import Plot
from tlearn.studies.report_parts import Block, Section
from tlearn.studies.statistics import (
    LEVEL,
    Comparison,
    Interval,
    Scores,
    Summary,
    compare,
    show,
    summarize,
    wilson,
)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one arm costs; None is "not measured", never zero."""

    trained: int | None = None
    """Trained parameters."""
    step_flops: float | int | None = None
    """FLOPs of a step, from the compiled program's own analysis."""
    wall_s: float | int | None = None
    """Wall seconds of all the arm's runs, compilation included."""
    optimizer_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One strategy of the study, at the setting the main table is about."""

    name: str
    plan: str
    """The plan in one line."""
    summary: Summary
    comparison: Comparison | None = None
    """Against the reference arm; None for the reference itself."""
    over_examples: Interval | None = None
    """Wilson interval of the mean over the test examples, seeds held as they are."""
    pull: float | int | None = None
    """Σ η·λ over the updates of a run, the total pull."""
    cost: Cost = Cost()


@dataclass(frozen=True)
class Efficiency:
    """Every arm at every amount of data."""

    axis: str
    points: tuple[int, ...]
    """Ascending; 0 stands for all there is and is last."""
    summaries: Mapping[str, tuple[Summary, ...]]
    comparisons: Mapping[str, tuple[Comparison, ...]]
    """Against the reference, Holm-corrected over arms at each point; without the reference."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A study as told to a reader."""

    title: str
    command: str
    """What to type to get this report again."""
    date: str
    versions: Mapping[str, str]
    protocol: Sequence[str]
    """How it was done: what was selected, on which split, and which split is reported."""
    metric: str
    """What the figures are, and on which split, as in ``test accuracy``."""
    setting: str = ""
    """What the main table is about, as in ``10 labels per class``."""
    arms: Sequence[Arm]
    reference: str
    efficiency: Efficiency | None = None
    plots: Sequence[Plot] = ()
    notes: Sequence[str] = ()
    question: str = ""
    claim: str = ""
    """What is published about the question."""
    warnings: Sequence[str] = ()
    """What a reader must know before the figures."""
    beside: Sequence[Block] = ()
    """What else stands under the main table."""
    sections: Sequence[Section] = ()
    """What follows the results; by default the plots, the efficiency, and the plans with costs."""
    appendix: Sequence[Section] = ()
    """What comes before the versions."""

    def __str__(self) -> str:
        return "\n".join([self.title, *headline(self), *(f"- {note}" for note in self.notes)])


def arms_from_scores(
    scores: Mapping[str, Scores],
    reference: str,
    *,
    plans: Mapping[str, str],
    pulls: Mapping[str, float | None] | None = None,
    costs: Mapping[str, Cost] | None = None,
    test_examples: int | None = None,
    higher_is_better: bool = True,
    level: float = LEVEL,
) -> tuple[Arm, ...]:
    """Builds the rows of the main table from ``scores[arm][seed]``.

    Args:
        scores: The figures; None for failed runs. Arms appear in this order.
        reference: The arm the others are compared with.
        plans: Each arm's plan in one line.
        pulls: Total pull of each arm.
        costs: Cost of each arm.
        test_examples: Number of test examples, if the figure is a share of them: adds the interval
            over examples.
        higher_is_better: False for losses and errors.
        level: Confidence of all intervals.

    Raises:
        ValueError: If the reference or a plan, pull or cost names no arm, an arm has no plan, or
            arms differ in their seeds.
    """
    pulls, costs = pulls or {}, costs or {}
    problems = [f"  no plan for arm {arm!r}" for arm in scores if arm not in plans]
    for what, given in (("plan", plans), ("pull", pulls), ("cost", costs)):
        problems += [
            f"  a {what} for {arm!r}, which is no arm" for arm in given if arm not in scores
        ]
    if problems:
        raise ValueError(f"the arms are {', '.join(scores)}, but there is\n" + "\n".join(problems))
    comparisons = compare(scores, reference, higher_is_better=higher_is_better, level=level)
    arms = []
    for name, runs in scores.items():
        summary = summarize(runs, level=level)
        over_examples = None
        if test_examples is not None and summary.mean is not None:
            correct = round(summary.mean * test_examples)
            over_examples = wilson(correct, test_examples, level=level)
        arms.append(
            Arm(
                name=name,
                plan=plans[name],
                summary=summary,
                comparison=comparisons.get(name),
                over_examples=over_examples,
                pull=pulls.get(name),
                cost=costs.get(name, Cost()),
            )
        )
    return tuple(arms)


def efficiency_from_scores(
    scores: Mapping[str, Mapping[int, Scores]],
    reference: str,
    *,
    axis: str = "labels per class",
    higher_is_better: bool = True,
    level: float = LEVEL,
) -> Efficiency:
    """Builds the label-efficiency table from ``scores[arm][labels][seed]``.

    Raises:
        ValueError: If arms were not all run at the same points, or not with the same seeds.
    """
    every = {point for by_point in scores.values() for point in by_point}
    points = tuple(sorted(every, key=lambda point: (point == 0, point)))
    missing = [
        f"  {arm}: {sorted(set(points) - set(by_point))}"
        for arm, by_point in scores.items()
        if set(points) - set(by_point)
    ]
    if missing:
        raise ValueError(f"arms without runs at some {axis}:\n" + "\n".join(missing))
    by_point = [
        compare(
            {arm: runs[point] for arm, runs in scores.items()},
            reference,
            higher_is_better=higher_is_better,
            level=level,
        )
        for point in points
    ]
    return Efficiency(
        axis=axis,
        points=points,
        summaries={
            arm: tuple(summarize(runs[point], level=level) for point in points)
            for arm, runs in scores.items()
        },
        comparisons={
            arm: tuple(column[arm] for column in by_point) for arm in scores if arm != reference
        },
    )


def point_text(point: int) -> str:
    """Names an amount of data: 0 is all of it."""
    return str(point) if point else "all"


def headline(report: Report) -> tuple[str, ...]:
    """Says in sentences what the main table shows, undecided arms included."""
    base = next((arm for arm in report.arms if arm.name == report.reference), None)
    groups: dict[str, list[str]] = {}
    for arm in report.arms:
        if arm.comparison is not None:
            groups.setdefault(arm.comparison.verdict.kind, []).append(arm.name)
    where = f" at {report.setting}" if report.setting else ""
    lines = []
    if base is not None and base.summary.mean is not None:
        lines.append(
            f"“{report.reference}” reaches a {report.metric} of {show(base.summary.mean)}{where} "
            f"(mean over {base.summary.finished} seeds)."
        )
    words = {
        "better": "Better than “{ref}”: {arms}.",
        "worse": "Worse than “{ref}”: {arms}.",
        "undecided": "Undecided against “{ref}”: {arms}.",
        "too few seeds": "Too few seeds to compare with “{ref}”: {arms}.",
    }
    for kind, sentence in words.items():
        if kind in groups:
            lines.append(sentence.format(ref=report.reference, arms=_some(groups[kind])))
    failed = [
        f"{arm.name} ({len(arm.summary.failed)})" for arm in report.arms if arm.summary.failed
    ]
    if failed:
        lines.append(f"Failed runs, not in the means: {'; '.join(failed)}.")
    return tuple(lines)


def _count(number: int, what: str) -> str:
    """Says how many there are of something."""
    return f"{number} {what}" + ("s" if number != 1 else "")


def _some(names: Sequence[str], most: int = 8) -> str:
    """Lists names; beyond the most only how many more there are."""
    more = f"; and {len(names) - most} more" if len(names) > most else ""
    return "; ".join(names[:most]) + more


def null_results(report: Report) -> tuple[str, ...]:
    """Says for every arm without a winner why there is none, at every point that was measured."""
    lines = [
        f"“{arm.name}” against “{report.reference}”: {arm.comparison.verdict}."
        for arm in report.arms
        if arm.comparison and arm.comparison.verdict.kind in ("undecided", "too few seeds")
    ]
    if report.efficiency is not None:
        table = report.efficiency
        for arm, comparisons in table.comparisons.items():
            open_points = [
                point_text(point)
                for point, comparison in zip(table.points, comparisons, strict=True)
                if comparison.verdict.kind not in ("better", "worse")
            ]
            if open_points:
                lines.append(
                    f"“{arm}” against “{report.reference}”: undecided at "
                    f"{', '.join(open_points)} {table.axis}."
                )
    return tuple(lines)


def reading(report: Report) -> tuple[str, ...]:
    """Says how the tables are to be read."""
    families = {arm.comparison.family for arm in report.arms if arm.comparison}
    lines = [
        f"Figures are {report.metric}; n counts seeds that finished. Intervals are 95 % Student "
        "t-intervals over seeds: how far the mean would move with other seeds.",
    ]
    if families:
        lines += [
            f"Δ is the arm minus “{report.reference}”, paired by seed; p is the paired t-test's "
            f"after Holm's correction over {_count(max(families), 'arm')} compared.",
            "“Better” and “worse” need at least 5 paired seeds, an interval clear of zero, and a "
            "corrected p below 0.05. Anything else is undecided, which is not “equal”.",
        ]
    if any(arm.over_examples for arm in report.arms):
        lines.append(
            "The interval over examples is another thing: how far a figure of this size would "
            "move with another test set of the same length, the seeds held as they are."
        )
    return tuple(lines)


def amount(value: float | int | None, unit: str = "") -> str:
    """Renders a count with a decimal prefix: ``12.3 k``, ``4.1 GFLOP``."""
    if value is None:
        return "–"
    prefixes = ["", "k", "M", "G", "T", "P"]
    size, power = float(value), 0
    while abs(size) >= 999.5 and power + 1 < len(prefixes):
        size, power = size / 1000, power + 1
    digits = f"{size:.0f}" if size == round(size) or size >= 100 else f"{size:.3g}"
    return f"{digits} {prefixes[power]}{unit}".rstrip()


def bytes_text(value: float | int | None) -> str:
    """Renders bytes in binary units: ``1.5 MiB``."""
    if value is None:
        return "–"
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    size, power = float(value), 0
    while size >= 1024 and power + 1 < len(units):
        size, power = size / 1024, power + 1
    digits = f"{size:.0f}" if power == 0 or size >= 100 else f"{size:.3g}"
    return f"{digits} {units[power]}"


def seconds_text(value: float | int | None) -> str:
    """Renders seconds with three digits, minutes from 100 s on."""
    if value is None:
        return "–"
    return (
        f"{value:.2g} s"
        if value < 10
        else f"{value:.0f} s"
        if value < 100
        else f"{value / 60:.1f} min"
    )
