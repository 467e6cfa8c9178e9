"""A report's own tables and sections as blocks, for every rendering alike."""

from collections.abc import Sequence

from tlearn.studies.contents import (
    Arm,
    Efficiency,
    Report,
    amount,
    bytes_text,
    null_results,
    point_text,
    reading,
    seconds_text,
)
from tlearn.studies.report_parts import (
    Block,
    Cell,
    Column,
    Facts,
    Lines,
    Plots,
    Section,
    Table,
    signed,
    table,
)
from tlearn.studies.statistics import Summary, p_text, show


def outline(report: Report) -> list[Section]:
    """Lists a report's sections in order, those without anything to say left out."""
    sections = [
        results_section(report),
        *(report.sections or _usual(report)),
        *closing(report),
    ]
    return [section for section in sections if section.blocks]


def results_section(report: Report) -> Section:
    """Builds the section of the main table."""
    title = "Results" + (f" at {report.setting}" if report.setting else "")
    return Section(title, [results_table(report), *report.beside])


def closing(report: Report) -> list[Section]:
    """Builds the sections that every report ends with."""
    nulls = [*null_results(report), *report.notes]
    return [
        Section("What is not shown", _lines(nulls)),
        Section("How it was done", _lines(report.protocol)),
        Section("How to read this", _lines(reading(report))),
        *report.appendix,
        Section("Versions", [Facts(report.versions)] if report.versions else []),
    ]


def results_table(report: Report) -> Table:
    """Builds the main table: an arm a row, its mean, and its difference from the reference."""
    columns = [
        Column("arm", "text"),
        Column("mean, 95 % over seeds"),
        Column("Δ, 95 %"),
        Column("", "strip"),
        Column("verdict", "chip"),
        Column("Holm p"),
        Column("n"),
        Column("95 % over examples"),
    ]
    rows = [_result(arm) for arm in report.arms]
    note = ""
    if any(arm.comparison and arm.comparison.interval for arm in report.arms):
        note = (
            f"Δ: arm minus “{report.reference}”, paired by seed, drawn with its 95 % interval; "
            "the dashed line is zero."
        )
    return Table(columns, rows, note, report.reference).filled()


def efficiency_table(given: Efficiency, reference: str) -> Table:
    """Builds the table of every arm at every amount of data."""
    rows = []
    for arm, summaries in given.summaries.items():
        pairs = given.comparisons.get(arm)
        cells = [Cell(arm)]
        for index, summary in enumerate(summaries):
            half = f"± {show(summary.interval.half_width)}" if summary.interval else ""
            lost = f"({len(summary.failed)} failed)" if summary.failed else ""
            kind = pairs[index].verdict.kind if pairs else ""
            cells.append(Cell(show(summary.mean), f"{half} {lost}".strip(), kind))
        rows.append(cells)
    note = "Mean ± half the 95 % interval over seeds."
    if given.comparisons:
        note += (
            f" Bold (green on the page): better than “{reference}”; orange: worse; "
            "plain: undecided."
        )
    columns = [f"arm \\ {given.axis}", *map(point_text, given.points)]
    return table(columns, rows, note=note, reference=reference, wide=False)


def plans_table(report: Report) -> Table:
    """Builds the table of what each arm did and what it cost; what is not known has no column."""
    columns = ["arm", "trained", "FLOPs a step", "wall, all runs", "optimizer", "Σ η·λ"]
    rows = [
        [
            arm.name,
            amount(arm.cost.trained),
            amount(arm.cost.step_flops),
            seconds_text(arm.cost.wall_s),
            bytes_text(arm.cost.optimizer_bytes),
            show(arm.pull),
            arm.plan,
        ]
        for arm in report.arms
    ]
    note = ""
    if any(arm.pull is not None for arm in report.arms):
        note = "Σ η·λ: the total pull, rate times weight summed over updates."
    columns = [*columns, Column("plan", "prose")]
    return table(columns, rows, note=note, reference=report.reference).filled()


def _result(arm: Arm) -> list[Cell]:
    pair = arm.comparison
    cells = [Cell(arm.name), _mean(arm.summary)]
    if pair is None:
        cells += [Cell()] * 4
    else:
        kind = pair.verdict.kind
        bounds = pair.interval.bounds if pair.interval else ""
        cells += [
            Cell(signed(pair.mean, pair.interval), bounds),
            Cell(strip=pair),
            Cell(kind, kind=kind, why=pair.verdict.reason),
            Cell(p_text(pair.holm_p)),
        ]
    examples = arm.over_examples.bounds if arm.over_examples else "–"
    return [*cells, Cell(arm.summary.runs), Cell(examples)]


def _mean(summary: Summary) -> Cell:
    return Cell(show(summary.mean), summary.interval.bounds if summary.interval else "")


def _lines(lines: Sequence[str]) -> list[Block]:
    return [Lines(lines)] if lines else []


def _usual(report: Report) -> list[Section]:
    """What a report without sections of its own tells between its results and its ending."""
    efficiency: list[Block] = []
    if report.efficiency is not None:
        efficiency = [efficiency_table(report.efficiency, report.reference)]
    return [
        Section("Plots", [Plots(report.plots)] if report.plots else []),
        Section("With more and fewer labels", efficiency),
        Section("What each arm did, and what it cost", [plans_table(report)]),
    ]
