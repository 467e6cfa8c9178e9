"""A study's report on disk and on the console: page, Markdown, plots, and every run's figure."""

import csv
import io
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlearn.studies.contents import (
    Arm,
    Cost,
    Efficiency,
    Report,
    arms_from_scores,
    efficiency_from_scores,
    headline,
    null_results,
)
from tlearn.studies.page import html
from tlearn.studies.statistics import Summary, p_text, show
from tlearn.studies.study_text import markdown

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "Arm",
    "Cost",
    "Efficiency",
    "Report",
    "arms_from_scores",
    "console_table",
    "efficiency_from_scores",
    "markdown",
    "write_report",
]


def write_report(folder: str | os.PathLike[str], report: Report) -> Path:
    """Writes the report and returns the path of its page.

    The folder gets ``report.html`` (needs no other file), ``report.md``, ``plots/*.png``,
    ``results.csv`` (one row per run, failed ones included) and ``results.json`` (everything).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for plot in report.plots:
        plot.save(folder / "plots")
    write_file(folder / "report.md", markdown(report))
    write_file(folder / "results.csv", _csv(report))
    # allow_nan=False: other languages' readers reject NaN; failures are named, not numbers.
    write_file(
        folder / "results.json", json.dumps(report_values(report), indent=1, allow_nan=False) + "\n"
    )
    write_file(folder / "report.html", html(report))
    return folder / "report.html"


def console_table(report: Report) -> "Table":
    """Builds the main table for a console of 80 columns; ± is half the 95 % interval over seeds."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    title = report.metric + (f", {report.setting}" if report.setting else "")
    table = Table(
        title=title,
        title_justify="left",
        caption=f"± half the 95 % t-interval over seeds; Δ paired with {report.reference}",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("arm", overflow="fold")
    for name in ("n", "mean", "Δ", "Holm p"):
        table.add_column(name, justify="right", no_wrap=name != "n")
    table.add_column("verdict", no_wrap=True)
    colours = {"better": "bold green", "worse": "red"}
    for arm in report.arms:
        pair = arm.comparison
        cells = ["", "", ""]
        if pair is not None:
            half = f" ± {pair.interval.half_width:.3f}" if pair.interval else ""
            mean = f"{pair.mean:+.3f}{half}" if pair.mean is not None else "–"
            cells = [mean, p_text(pair.holm_p), pair.verdict.kind]
        style = colours.get(cells[-1], "")
        done = arm.summary.finished
        started = done + len(arm.summary.failed)
        table.add_row(
            Text(arm.name),
            f"{done}/{started}" if done < started else f"{done}",
            _plus_minus(arm.summary),
            *cells[:2],
            Text(cells[2], style=style),
        )
    return table


def _plus_minus(summary: Summary) -> str:
    half = f" ± {show(summary.interval.half_width)}" if summary.interval else ""
    return show(summary.mean) + half


def _runs(report: Report) -> list[tuple[str, int | str, Summary]]:
    """Lists the summaries whose runs are the raw results, each run once."""
    if report.efficiency is None:
        return [(arm.name, "", arm.summary) for arm in report.arms]
    return [
        (arm, point, summary)
        for arm, summaries in report.efficiency.summaries.items()
        for point, summary in zip(report.efficiency.points, summaries, strict=True)
    ]


def _csv(report: Report) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    axis = report.efficiency.axis if report.efficiency else "point"
    writer.writerow(
        ["arm", axis.replace(" ", "_"), "seed", report.metric.replace(" ", "_"), "state"]
    )
    for arm, point, summary in _runs(report):
        rows = [(seed, repr(value), "finished") for seed, value in summary.scores]
        rows += [(seed, "", "failed") for seed in summary.failed]
        writer.writerows([arm, point, *row] for row in sorted(rows))
    return stream.getvalue()


def report_values(report: Report) -> dict[str, Any]:
    """Gives what the report says as JSON-able values."""
    table = report.efficiency
    return {
        "title": report.title,
        "command": report.command,
        "date": report.date,
        "versions": dict(report.versions),
        "protocol": list(report.protocol),
        "metric": report.metric,
        "setting": report.setting,
        "reference": report.reference,
        "headline": list(headline(report)),
        "arms": [asdict(arm) for arm in report.arms],
        "efficiency": table
        and {
            "axis": table.axis,
            "points": list(table.points),
            "summaries": {arm: [asdict(s) for s in row] for arm, row in table.summaries.items()},
            "comparisons": {
                arm: [asdict(c) for c in row] for arm, row in table.comparisons.items()
            },
        },
        "plots": [f"plots/{plot.name}.png" for plot in report.plots],
        "null_results": list(null_results(report)),
        "notes": list(report.notes),
    }


def write_file(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
