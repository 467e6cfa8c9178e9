"""The final report of one run: what was asked, what moved, how it went."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from tlearn.runs.config import RunConfig, to_json
from tlearn.runs.folder import RunFolder, write_whole
from tlearn.runs.writers import read_metrics
from tlearn.tasks import Task
from tlearn.train.evaluate import Evaluation
from tlearn.transfer.plan import Plan

RESULTS = "report/results.json"
"""The last file of a run to be written: a run that has it is finished."""
_ABOUT = ("event", "step", "update", "epoch")


def write_summary(
    folder: RunFolder,
    *,
    config: RunConfig,
    plans: Sequence[Plan],
    task: Task,
    validation: Evaluation | None,
    test: Evaluation | None,
    step: int,
    pull: float | None,
    remembered: Sequence[Mapping[str, Any]],
    wall_s: float,
    command: str,
) -> None:
    """Writes ``report.html`` (self-contained), ``report/report.md`` and ``report/results.json``.

    Args:
        folder: The run's folder, held for writing.
        config: What was asked.
        plans: The stages' plans.
        task: The data.
        validation: The last validation.
        test: The test figures, read once.
        step: The last one.
        pull: Σ η·λ over the updates; None without a pull.
        remembered: Events of measuring what may be forgotten: before, and after.
        wall_s: Seconds this process spent.
        command: What was typed.
    """
    results: dict[str, Any] = {"step": step, "wall_s": round(wall_s, 2)}
    lines = [f"# Run {folder.path.name}", "", f"`{command}`", ""]
    for name, found in (("validation", validation), ("test (read once, at the end)", test)):
        if found is not None:
            lines.append(f"- {name}: {found}")
            results[name.split()[0]] = found.metrics | {"count": found.count}
    if pull is not None:
        lines.append(f"- total pull toward the source, Σ η·λ: {pull:.4g}")
        results["pull"] = pull
    if remembered:
        before, later = remembered[0], remembered[-1]
        lines.append(f"- {forgotten_text(before, later)}")
        results["remember"] = {
            when: {n: v for n, v in event.items() if n not in _ABOUT}
            for when, event in (("before", before), ("after", later))
        }
    lines.append(f"- wall time of the last process: {wall_s:.1f} s")
    lines += ["", "## Data", "", *(f"- {line}" for line in str(task).splitlines()), ""]
    lines += ["## Plan", ""]
    lines += [f"- stage {i}: {plan.summary()}" for i, plan in enumerate(plans)]
    lines += ["", "## Config", ""]
    for group, values in to_json(config).items():
        if isinstance(values, dict):
            lines += [f"- {group}.{name} = {value!r}" for name, value in values.items()]
        else:
            lines.append(f"- {group} = {values!r}")
    lines += ["", "## Versions", ""]
    lines += [f"- {name} {value}" for name, value in folder.versions.items()]
    text = "\n".join(lines) + "\n"
    folder.write_text("report/report.md", text)
    folder.write_text("report.html", _page(folder, text))
    folder.write_json(RESULTS, results)


def forgotten_text(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What may be forgotten, before and after, as one line."""
    parts = [
        f"{name} {before[name]:.4f}, {after[name]:.4f}"
        for name in ("loss", "perplexity")
        if name in before and name in after
    ]
    return f"what may be forgotten, before and after: {'; '.join(parts)}"


def _page(folder: RunFolder, text: str) -> str:
    """The same as a page, with the learning curve and the last plan's table."""
    body = []
    for line in text.splitlines():
        if line.startswith("#"):
            level = len(line) - len(line.lstrip("#"))
            body.append(f"<h{level}>{html.escape(line.lstrip('# '))}</h{level}>")
        elif line.startswith("- "):
            body.append(f"<p class=item>{html.escape(line[2:])}</p>")
        elif line:
            body.append(f"<p><code>{html.escape(line.strip('`'))}</code></p>")
    curve = _curve(folder)
    plan = html.escape((folder.path / "plan.txt").read_text())
    style = (
        ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;"
        "margin:2rem auto;padding:0 1rem}pre{overflow-x:auto;font-size:12px}"
        ".item{margin:.1rem 0}img{max-width:100%;background:#fff}"
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<title>{html.escape(folder.path.name)}</title><style>{style}</style>"
        f"<body>{''.join(body)}<h2>Learning curve</h2>{curve}"
        f"<h2>What every parameter did</h2><pre>{plan}</pre></body></html>\n"
    )


def _curve(folder: RunFolder) -> str:
    import base64
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for event in ("train", "validation"):
        rows = read_metrics(folder.metrics, event)
        if rows:
            at = [row["step"] for row in rows]
            axes.plot(at, [row["loss"] for row in rows], label=f"{event} loss", marker=".")
    axes.set_xlabel("step")
    axes.set_ylabel("mean loss")
    axes.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    folder.report.mkdir(exist_ok=True)
    write_whole(folder.report / "learning.png", buffer.getvalue())
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<img alt='loss by step' src='data:image/png;base64,{data}'>"
