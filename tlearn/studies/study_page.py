"""A study's report: what was asked, what is shown, at what cost, and how it was done."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tlearn.studies import study_facts
from tlearn.studies.contents import (
    Report,
    arms_from_scores,
    efficiency_from_scores,
    point_text,
)
from tlearn.studies.outline import outline
from tlearn.studies.page import html
from tlearn.studies.records import Record, Results
from tlearn.studies.report import report_values, write_file
from tlearn.studies.report_parts import plots_of
from tlearn.studies.study_files import csv_text, finite, rows_of, values_of, write_parquet
from tlearn.studies.study_sections import every_run, forest_of, sections_of
from tlearn.studies.study_tables import is_share
from tlearn.studies.study_text import latex, markdown
from tlearn.studies.study_trials import trials


def write_study(folder: str | os.PathLike[str], results: Results) -> Path:
    """Writes a study's report and returns the path of its page.

    The folder gets ``report.html`` (needs no other file), ``report.md`` with ``plots/*.png``,
    ``table.tex`` (the main table), ``results.csv`` and ``results.parquet`` (a row a run, pilots and
    failed ones too) and ``results.json`` (everything but what single examples got).

    Raises:
        ValueError: If there is no reported run at the amount of labels of the main table, or the
            reference is no arm.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    report = study_report(results)
    drawn = [plot for section in outline(report) for plot in plots_of(section.blocks)]
    for plot in drawn:
        plot.save(folder / "plots")
    for old in (folder / "plots").glob("*.png"):
        # From an earlier report of the same study, when there was more to draw.
        if old.stem not in {plot.name for plot in drawn}:
            old.unlink()
    rows = rows_of(results)
    values = finite(report_values(report)) | values_of(results)
    values["plots"] = [f"plots/{plot.name}.png" for plot in drawn]
    write_file(folder / "report.md", markdown(report))
    write_file(folder / "table.tex", latex(report))
    write_file(folder / "results.csv", csv_text(rows))
    write_parquet(folder / "results.parquet", rows)
    write_file(folder / "results.json", json.dumps(values, indent=1, allow_nan=False) + "\n")
    write_file(folder / "report.html", html(report))
    return folder / "report.html"


def study_report(results: Results) -> Report:
    """Builds the report of a study, plots drawn.

    Raises:
        ValueError: As `write_study`.
    """
    report, tried = main_report(results), trials(results)
    return replace(
        report,
        beside=forest_of(report),
        sections=sections_of(results, report, tried),
        appendix=every_run(results),
    )


def main_report(results: Results) -> Report:
    """Builds what a study's report says first and in its main table, without plots.

    Raises:
        ValueError: As `write_study`.
    """
    if not study_facts.main_records(results):
        there = ", ".join(map(point_text, results.points)) or "none"
        raise ValueError(
            f"no reported run at {point_text(results.shown)} labels per class, which the main "
            f"table is about; amounts with runs: {there}"
        )
    by_point = {n: study_facts.whole_scores(results, n) for n in results.points}
    scores, _ = by_point[results.shown]
    main = study_facts.main_records(results)
    plans = {arm: next((r.plan for r in main if r.arm == arm), "") for arm in results.arms}
    share = is_share(results.metric)
    rows = arms_from_scores(
        scores,
        results.reference,
        plans=plans,
        pulls={arm: _pull(main, arm) for arm in results.arms},
        costs=study_facts.costs(results),
        test_examples=results.test_examples if share else None,
        higher_is_better=results.higher_is_better,
    )
    over = study_facts.over_examples(results)
    rows = tuple(replace(row, over_examples=over.get(row.name, row.over_examples)) for row in rows)
    efficiency = None
    if len(by_point) > 1:
        efficiency = efficiency_from_scores(
            {arm: {n: got[arm] for n, (got, _) in by_point.items()} for arm in results.arms},
            results.reference,
            higher_is_better=results.higher_is_better,
        )
    told = [line for _, lines in by_point.values() for line in lines]
    return Report(
        title=results.title,
        command=results.command,
        date=results.date,
        versions=results.versions,
        protocol=results.protocol,
        metric=f"test {results.metric}",
        setting="all labels" if results.shown == 0 else f"{results.shown} labels per class",
        arms=rows,
        reference=results.reference,
        efficiency=efficiency,
        notes=results.notes,
        question=results.question,
        claim=results.claim,
        warnings=[*_touched(results), *told],
    )


def _pull(records: Sequence[Record], arm: str) -> float | None:
    """The mean total pull of the arm's runs."""
    known = [r.pull for r in records if r.arm == arm and r.pull is not None]
    return sum(known) / len(known) if known else None


def _touched(results: Results) -> list[str]:
    """Says so where the reported part was not left alone until the end."""
    told = []
    if not results.untouched:
        told.append(
            "The test part was read more than once a run, or by a pilot: these figures are not a "
            "clean test."
        )
    if seen := [r for r in results.pilots if r.metrics]:
        told.append(f"Pilot runs have figures of the test part: {len(seen)}.")
    if both := {r.seed for r in results.pilots} & {r.seed for r in results.records}:
        told.append(
            f"Seeds {', '.join(map(str, sorted(both)))} both chose settings and are reported."
        )
    return told
