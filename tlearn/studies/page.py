"""The report as one HTML page: no scripts, no other files, light and dark, wide and narrow."""

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources

from tlearn.studies.contents import (
    Arm,
    Efficiency,
    Report,
    amount,
    bytes_text,
    headline,
    null_results,
    reading,
    seconds_text,
)
from tlearn.studies.drawing import Plot
from tlearn.studies.statistics import Comparison, Interval, p_text, show


def html(report: Report) -> str:
    """Renders the report as a self-contained page."""
    style = resources.files("tlearn.studies").joinpath("page.css").read_text("utf-8")
    sections = [
        f"<h1>{escape(report.title)}</h1>",
        f'<p class="meta">{escape(report.date)}</p>',
        f"<pre>{escape(report.command)}</pre>",
        f'<div class="lead">{_paragraphs(headline(report))}</div>',
        _section("Results" + (f" at {report.setting}" if report.setting else ""), _results(report)),
        _section("Plots", _plots(report.plots)),
        _section("With more and fewer labels", _efficiency(report)),
        _section("What each arm did, and what it cost", _plans(report)),
        _section("What is not shown", _list([*null_results(report), *report.notes])),
        _section("How it was done", _list(report.protocol)),
        _section("How to read this", _list(reading(report))),
        _section("Versions", _versions(report)),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main>\n</body>\n</html>\n"
    )


def _section(title: str, body: str) -> str:
    """Puts a body under a title; nothing to say is no section."""
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>" if body else ""


def _paragraphs(lines: Iterable[str]) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _list(lines: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def _table(header: Sequence[str], rows: Iterable[str], *, wide: bool = True) -> str:
    cells = "".join(header)
    kind = ' class="wide"' if wide else ""
    body = "\n".join(rows)
    return (
        f'<div class="scroll"><table{kind}>\n<thead><tr>{cells}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _head(text: str, *, left: bool = False) -> str:
    kind = ' class="text"' if left else ""
    return f'<th scope="col"{kind}>{escape(text)}</th>'


def _cell(text: str, kind: str = "") -> str:
    return f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"


def _figures(value: str, interval: Interval | None) -> str:
    bounds = f" <small>{escape(interval.bounds)}</small>" if interval else ""
    return f"<td>{escape(value)}{bounds}</td>"


def _row(report: Report, arm: str, cells: Iterable[str]) -> str:
    kind = ' class="reference"' if arm == report.reference else ""
    return f'<tr{kind}><th scope="row">{escape(arm)}</th>{"".join(cells)}</tr>'


def _results(report: Report) -> str:
    examples = any(arm.over_examples for arm in report.arms)
    header = [_head("arm", left=True), _head("mean, 95 % over seeds"), _head("Δ, 95 %")]
    header += [_head(""), _head("verdict", left=True), _head("Holm p"), _head("n")]
    header += [_head("95 % over examples")] if examples else []
    span = _span(report.arms)
    rows = []
    for arm in report.arms:
        interval, pair = arm.summary.interval, arm.comparison
        cells = [_figures(show(arm.summary.mean), interval)]
        if pair is None:
            cells += [_cell(""), f"<td>{_forest(None, span)}</td>", _cell(""), _cell("")]
        else:
            kind = pair.verdict.kind
            difference = f"{pair.mean:+.3f}" if pair.mean is not None else "–"
            cells += [
                _figures(difference, pair.interval),
                f"<td>{_forest(pair, span)}</td>",
                f'<td class="text"><span class="chip {kind.split()[0]}" '
                f'title="{escape(pair.verdict.reason)}">{kind}</span></td>',
                _cell(p_text(pair.holm_p)),
            ]
        cells += [_cell(arm.summary.runs)]
        if examples:
            cells += [_cell(arm.over_examples.bounds if arm.over_examples else "–")]
        rows.append(_row(report, arm.name, cells))
    note = (
        f"Δ: arm minus “{report.reference}”, paired by seed, drawn with its 95 % interval; "
        "the dashed line is zero."
    )
    return _table(header, rows) + f'<p class="soft">{escape(note)}</p>'


def _span(arms: Iterable[Arm]) -> tuple[float, float]:
    """Gives the common axis of all interval strips; zero is always on it."""
    ends = [0.0]
    for arm in arms:
        if arm.comparison is not None and arm.comparison.interval is not None:
            ends += [arm.comparison.interval.low, arm.comparison.interval.high]
    low, high = min(ends), max(ends)
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def _forest(pair: Comparison | None, span: tuple[float, float]) -> str:
    """Draws a paired difference and its interval as a strip, with the zero line."""

    def at(value: float) -> str:
        return f"{180 * (value - span[0]) / (span[1] - span[0]):.1f}"

    zero = f'<line class="zero" x1="{at(0.0)}" x2="{at(0.0)}" y1="0" y2="24"/>'
    marks, label = "", "zero line"
    if pair is not None and pair.interval is not None:
        kind, interval = pair.verdict.kind.split()[0], pair.interval
        label = f"difference {interval.center:+.3f}, interval {interval.bounds}"
        ends = f'x1="{at(interval.low)}" x2="{at(interval.high)}" y1="12" y2="12"'
        dot = f'cx="{at(interval.center)}" cy="12" r="4"'
        marks = f'<line class="bar {kind}" {ends}/><circle class="dot {kind}" {dot}/>'
    return (
        f'<svg class="forest" viewBox="0 0 180 24" role="img" aria-label="{escape(label)}">'
        f"{zero}{marks}</svg>"
    )


def _efficiency(report: Report) -> str:
    table: Efficiency | None = report.efficiency
    if table is None:
        return ""
    header = [_head(f"arm \\ {table.axis}", left=True), *(_head(str(p)) for p in table.points)]
    rows = []
    for arm, summaries in table.summaries.items():
        pairs = table.comparisons.get(arm)
        cells = []
        for index, summary in enumerate(summaries):
            kind = pairs[index].verdict.kind.split()[0] if pairs else ""
            half = f" ± {show(summary.interval.half_width)}" if summary.interval else ""
            lost = f" ({len(summary.failed)} failed)" if summary.failed else ""
            cells.append(f'<td class="{kind}">{show(summary.mean)}<small>{half}{lost}</small></td>')
        rows.append(_row(report, arm, cells))
    note = (
        "Mean ± half the 95 % interval over seeds. Green and bold: better than "
        f"“{report.reference}”; orange: worse; plain: undecided."
    )
    return _table(header, rows, wide=False) + f'<p class="soft">{escape(note)}</p>'


def _plans(report: Report) -> str:
    arms = report.arms
    columns = [
        ("trained", [amount(arm.cost.trained) for arm in arms]),
        ("FLOPs a step", [amount(arm.cost.step_flops) for arm in arms]),
        ("wall, all runs", [seconds_text(arm.cost.wall_s) for arm in arms]),
        ("optimizer", [bytes_text(arm.cost.optimizer_bytes) for arm in arms]),
        ("Σ η·λ", [show(arm.pull) for arm in arms]),
    ]
    columns = [(name, cells) for name, cells in columns if any(cell != "–" for cell in cells)]
    header = [_head("arm", left=True), *(_head(name) for name, _ in columns)]
    header += [_head("plan", left=True)]
    rows = [
        _row(
            report,
            arm.name,
            [*(_cell(cells[i]) for _, cells in columns), _cell(arm.plan, "plan")],
        )
        for i, arm in enumerate(arms)
    ]
    note = ""
    if any(arm.pull is not None for arm in arms):
        note = '<p class="soft">Σ η·λ: the total pull, rate times weight summed over updates.</p>'
    return _table(header, rows) + note


def _plots(plots: Sequence[Plot]) -> str:
    return f'<div class="plots">{"".join(map(_figure, plots))}</div>' if plots else ""


def _figure(plot: Plot) -> str:
    return (
        "<figure><picture>"
        f'<source media="(prefers-color-scheme: dark)" srcset="{plot.data_uri(dark=True)}">'
        f'<img src="{plot.data_uri()}" alt="{escape(plot.caption)}"></picture>'
        f"<figcaption>{escape(plot.caption)}</figcaption></figure>\n"
    )


def _versions(report: Report) -> str:
    pairs = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
        for name, value in report.versions.items()
    )
    return f"<dl>{pairs}</dl>" if pairs else ""
