"""The simulated coverage on disk: JSON with every figure, and tables to read."""

import datetime
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tlearn.runs.versions import versions

COMMAND = "python experiments/studies/simulate_coverage.py --out experiments/results"
LOW, HIGH = 0.93, 0.97
Part = tuple[int, Sequence[Mapping[str, Any]]]
"""How many studies were simulated for each row, and the rows."""

ABOUT = {
    "over_seeds": (
        "95 % intervals of a mean over seeds",
        "Share of studies whose interval covers the truth; **bold** outside 93–97 %. Length: "
        "beside Student's. `t` is the default. `bca` is the bootstrap at the level that makes it "
        "as long as Student's, `bca_1987` as published. `t` is from 20 times as many studies.",
    ),
    "over_examples": (
        "95 % intervals over test examples, runs held",
        "`mean`: `examples_interval` of the first arm; `difference`: `paired_examples`; beside "
        "each the normal interval of the same figures.",
    ),
    "winners": (
        "Winners that are none, ten arms",
        "`wrong_call`: share of studies with at least one wrong winner or loser (at most 5 %, "
        "**bold** above). `uncorrected`: what 95 % intervals alone would call. `holm_joint`, "
        "`bonferroni_joint`: how often all ten intervals cover at once, at the levels of Holm's "
        "procedure and at Bonferroni's. `found`: share of the true differences (one standard "
        "deviation of a paired difference) that were called.",
    ),
    "equivalence": (
        "Called equivalent",
        "`at_margin`: the truth is the margin, so this is an error (5 % allowed, **bold** above "
        "that and its own noise); `at_zero`: the arms are alike.",
    ),
    "power": (
        "Power of the paired t-test",
        "At the smallest difference that n seeds are said to see; `needed` goes back from it.",
    ),
    "best_of": (
        "Best of n from 20 runs",
        "Chosen on validation, shown on reported figures, correlation 0.7; in standard deviations.",
    ),
}


def save(out: Path, about: str | None, measured: Mapping[str, Part], *, seed: int) -> None:
    """Writes coverage.json and coverage.md."""
    content = {
        "about": (about or "").split("\n\n    ")[0],
        "command": COMMAND,
        "date": datetime.date.today().isoformat(),
        "seeds": [seed],
        "versions": versions() | {"scipy": importlib.metadata.version("scipy")},
        "studies": {name: studies for name, (studies, _) in measured.items()},
        "measured": {name: rows for name, (_, rows) in measured.items()},
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "coverage.json").write_text(json.dumps(content, indent=1) + "\n")
    (out / "coverage.md").write_text(markdown(content))


def markdown(content: Mapping[str, Any]) -> str:
    """All parts as tables."""
    made = content["versions"]
    lines = [
        "# How often the statistics are right",
        "",
        content["about"].split("\n\n", 1)[1],
        "",
        f"{content['date']}, seed {content['seeds'][0]}, `{content['command']}`, "
        f"scipy {made['scipy']}, numpy {made['numpy']}. Every figure is in `coverage.json`.",
    ]
    for name, rows in content["measured"].items():
        title, text = ABOUT[name]
        count = content["studies"][name]
        lines += ["", f"## {title}", "", f"{text} {count:,} studies a row.", ""]
        columns = list(rows[0])
        lines += [
            "| " + " | ".join(columns) + " |",
            "|" + "|".join(" --- " for _ in columns) + "|",
        ]
        lines += [
            "| " + " | ".join(_cell(name, key, value, count) for key, value in row.items()) + " |"
            for row in rows
        ]
        if name == "over_seeds":
            lines += ["", *_outside(rows)]
    return "\n".join(lines) + "\n"


def _outside(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is not within 93–97 %, in words."""
    lines = []
    for name in ("t", "bca", "bca_1987"):
        off: dict[str, list[str]] = {}
        for row in rows:
            if not LOW <= row[name] <= HIGH:
                off.setdefault(row["law"], []).append(str(row["n"]))
        count = len(rows) - sum(map(len, off.values()))
        told = "; ".join(f"{law} at n = {', '.join(ns)}" for law, ns in off.items())
        lines.append(
            f"- `{name}` is within 93–97 % in {count or 'none'} of {len(rows)} rows"
            + (f"; not: {told}." if count and off else ".")
        )
    return lines


def _cell(part: str, column: str, value: Any, count: int) -> str:
    """A figure with three decimals, bold where it is not what was promised."""
    if value is None:
        return "–"
    if not isinstance(value, float):
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    noise = 2 * (0.05 * 0.95 / count) ** 0.5
    bold = (
        (part == "over_seeds" and column in ("t", "bca", "bca_1987") and not LOW <= value <= HIGH)
        or (part == "over_examples" and column in ("mean", "difference") and value < LOW)
        or (part == "winners" and column == "wrong_call" and value > 0.05)
        or (part == "equivalence" and column == "at_margin" and value > 0.05 + noise)
    )
    return f"**{value:.3f}**" if bold else f"{value:.3f}"
