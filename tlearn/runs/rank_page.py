"""A ranking as a table, as Markdown and as JSON."""

import dataclasses
from typing import TYPE_CHECKING, Any

from tlearn.transfer.ranking import FEWEST, SCORES, Score

if TYPE_CHECKING:
    from tlearn.runs.rank import Ranking


def markdown(ranking: "Ranking") -> str:
    """The table of sources, why cells are empty, and how far the scores agree."""
    data = ranking.data
    names = list(ranking.config.scores)
    split = f" ({data['split']})" if data["split"] else ""
    lines = [
        f"# Sources for {data['name']}{split}",
        "",
        f"{data['examples']} examples of {data['classes']} classes; sorted by {ranking.by}, higher "
        "is better for every score. Brackets: 95 % over examples.",
        "",
    ]
    header = ["source", *names, "parameters", "width", "features, s", "scores, s"]
    rows, notes = [], []
    for row in ranking.rows:
        cells = []
        for name in names:
            found = row.scores[name]
            if found.value is None:
                if found.why not in notes:
                    notes.append(found.why)
                cells.append(f"– ({notes.index(found.why) + 1})")
            else:
                cells.append(_shown(found))
        spent = sum(found.seconds for found in row.scores.values())
        told = f"{row.seconds:.1f}{'*' if row.kept else ''}"
        rows.append(
            [row.source, *cells, f"{row.parameters:,}", str(row.width), told, f"{spent:.1f}"]
        )
    lines += _laid_out(header, rows)
    if notes:
        lines += ["", *(f"({i}) {why}." for i, why in enumerate(notes, 1))]
    if any(row.kept for row in ranking.rows):
        lines += ["", "\\* computed before and kept."]
    lines += ["", "## Agreement of the scores", ""]
    lines += [
        "Weighted Kendall τ over the sources that both have (1: one order, −1: the reverse).",
        "",
    ]
    if len(ranking.rows) < FEWEST:
        lines.append(f"{len(ranking.rows)} sources have too few orders; give {FEWEST} or more.")
    else:
        taus = ranking.agreement
        cells = [
            [a, *(_tau(1.0 if a == b else taus.get((a, b), taus.get((b, a)))) for b in names)]
            for a in names
        ]
        lines += _laid_out(["", *names], cells)
    lines += ["", "## Scores", ""]
    lines += [f"- {name}: {SCORES[name].about}" for name in names]
    return "\n".join(lines) + "\n"


def to_json(ranking: "Ranking") -> dict[str, Any]:
    """The ranking as JSON-able values."""
    return {
        "data": dict(ranking.data),
        "by": ranking.by,
        "config": dataclasses.asdict(ranking.config),
        "versions": dict(ranking.versions),
        "sources": [
            {
                **{k: v for k, v in vars(row).items() if k != "scores"},
                "scores": {name: dataclasses.asdict(one) for name, one in row.scores.items()},
            }
            for row in ranking.rows
        ],
        "agreement": [
            {"scores": list(pair), "weighted_tau": value}
            for pair, value in ranking.agreement.items()
        ],
    }


def _shown(found: Score) -> str:
    if found.interval is None:
        return f"{found.value:.3f}"
    low, high = found.interval
    return f"{found.value:.3f} [{low:.3f}, {high:.3f}]"


def _tau(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def _laid_out(header: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table whose columns also line up as plain text."""
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]

    def line(cells: list[str]) -> str:
        first, rest = cells[0].ljust(widths[0]), zip(cells[1:], widths[1:], strict=True)
        return f"| {' | '.join([first, *(cell.rjust(width) for cell, width in rest)])} |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return [line(header), f"| {' | '.join(rule)} |", *map(line, rows)]
