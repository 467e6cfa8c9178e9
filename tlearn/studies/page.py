"""The report as one HTML page: no scripts, no other files, light and dark, wide and narrow."""

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources

from tlearn.studies.contents import Report, headline
from tlearn.studies.drawing import Plot
from tlearn.studies.outline import outline
from tlearn.studies.report_parts import (
    Block,
    Cell,
    Code,
    Column,
    Facts,
    Folded,
    Lines,
    Plots,
    Section,
    Table,
    Text,
)
from tlearn.studies.statistics import Comparison

_MANY_SECTIONS = 8
"""From this many sections on the page has a list of them."""


def html(report: Report) -> str:
    """Renders the report as a self-contained page."""
    style = resources.files("tlearn.studies").joinpath("page.css").read_text("utf-8")
    sections = outline(report)
    long = len(sections) > _MANY_SECTIONS
    front = [
        f"<h1>{escape(report.title)}</h1>",
        f'<p class="meta">{escape(report.date)}</p>',
        f'<p class="question">{escape(report.question)}</p>' if report.question else "",
        f'<p class="claim"><b>Published:</b> {escape(report.claim)}</p>' if report.claim else "",
        f'<div class="lead warn">{_paragraphs(report.warnings)}</div>' if report.warnings else "",
        f'<div class="lead">{_paragraphs(headline(report))}</div>',
        f"<pre>{escape(report.command)}</pre>",
        _contents(sections) if long else "",
    ]
    body = [*front, *(_section(s, f"s{i}" if long else "") for i, s in enumerate(sections))]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _contents(sections: Sequence[Section]) -> str:
    links = "".join(f'<a href="#s{i}">{escape(s.title)}</a>' for i, s in enumerate(sections))
    return f'<nav aria-label="Sections">{links}</nav>'


def _section(section: Section, name: str) -> str:
    body = "\n".join(map(_block, section.blocks))
    anchor = f' id="{name}"' if name else ""
    return f"<section{anchor}>\n<h2>{escape(section.title)}</h2>\n{body}\n</section>"


def _block(block: Block) -> str:
    match block:
        case Table():
            return _table(block)
        case Lines():
            items = "".join(f"<li>{escape(line)}</li>" for line in block.lines)
            return f"<ul>{items}</ul>"
        case Text():
            return f"<p>{escape(block.text)}</p>"
        case Code():
            return f"<pre>{escape(block.text)}</pre>"
        case Facts():
            pairs = "".join(
                f"<dt>{escape(name)}</dt><dd>{escape(what)}</dd>"
                for name, what in block.facts.items()
            )
            return f"<dl>{pairs}</dl>"
        case Plots():
            return f'<div class="plots">{"".join(map(_figure, block.plots))}</div>'
        case Folded():
            inside = "\n".join(map(_block, block.blocks))
            title = f"<summary>{escape(block.title)}</summary>"
            return f"<details>{title}\n{inside}\n</details>"


def _paragraphs(lines: Iterable[str]) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _table(table: Table) -> str:
    left = ("text", "prose", "chip")
    head = "".join(
        f'<th scope="col"{kind}>{escape(column.title)}</th>'
        for column, kind in ((c, ' class="text"' if c.look in left else "") for c in table.columns)
    )
    span = _span(cell.strip for row in table.rows for cell in row)
    rows = []
    for name, *cells in table.rows:
        kind = ' class="reference"' if table.reference and name.text == table.reference else ""
        rest = "".join(
            _cell(cell, column, span) for cell, column in zip(cells, table.columns[1:], strict=True)
        )
        rows.append(f'<tr{kind}><th scope="row">{escape(name.text)}</th>{rest}</tr>')
    body = "\n".join(rows)
    wide = ' class="wide"' if table.wide else ""
    note = f'\n<p class="soft">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<div class="scroll"><table{wide}>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>{note}"
    )


def _cell(cell: Cell, column: Column, span: tuple[float, float]) -> str:
    kind = escape(cell.kind.split()[0]) if cell.kind else ""
    if column.look == "strip":
        return f"<td>{_strip(cell.strip, span)}</td>"
    if column.look == "chip":
        if not cell.text:
            return "<td></td>"
        why = f' title="{escape(cell.why)}"' if cell.why else ""
        return f'<td class="text"><span class="chip {kind}"{why}>{escape(cell.text)}</span></td>'
    names = f"{column.look if column.look != 'figures' else ''} {kind}".strip()
    kinds = f' class="{names}"' if names else ""
    aside = f" <small>{escape(cell.aside)}</small>" if cell.aside else ""
    return f"<td{kinds}>{escape(cell.text)}{aside}</td>"


def _span(pairs: Iterable[Comparison | None]) -> tuple[float, float]:
    """Gives the common axis of all interval strips; zero is always on it."""
    ends = [0.0]
    for pair in pairs:
        if pair is not None and pair.interval is not None:
            ends += [pair.interval.low, pair.interval.high]
    low, high = min(ends), max(ends)
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def _strip(pair: Comparison | None, span: tuple[float, float]) -> str:
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


def _figure(plot: Plot) -> str:
    return (
        "<figure><picture>"
        f'<source media="(prefers-color-scheme: dark)" srcset="{plot.data_uri(dark=True)}">'
        f'<img src="{plot.data_uri()}" alt="{escape(plot.caption)}"></picture>'
        f"<figcaption>{escape(plot.caption)}</figcaption></figure>\n"
    )
