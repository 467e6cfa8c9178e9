"""A report as Markdown, and its main table as LaTeX."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from tlearn.studies.contents import Report, headline
from tlearn.studies.outline import outline
from tlearn.studies.report_parts import (
    Block,
    Cell,
    Code,
    Facts,
    Folded,
    Lines,
    Plots,
    Section,
    Table,
    Text,
    signed,
)
from tlearn.studies.statistics import p_text, show

_TEX: Mapping[str, str] = MappingProxyType(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': "''",
        "`": r"\textasciigrave{}",
        "“": "``",
        "”": "''",
        "–": "--",
        "−": r"\ensuremath{-}",
        "×": r"\ensuremath{\times}",
        "·": r"\ensuremath{\cdot}",
        "±": r"\ensuremath{\pm}",
        "‖": r"\ensuremath{\|}",
        "≤": r"\ensuremath{\leq}",
        "≥": r"\ensuremath{\geq}",
        "→": r"\ensuremath{\to}",
        "Δ": r"\ensuremath{\Delta}",
        "Σ": r"\ensuremath{\Sigma}",
        "α": r"\ensuremath{\alpha}",
        "β": r"\ensuremath{\beta}",
        "γ": r"\ensuremath{\gamma}",
        "ε": r"\ensuremath{\varepsilon}",
        "η": r"\ensuremath{\eta}",
        "λ": r"\ensuremath{\lambda}",
        "μ": r"\ensuremath{\mu}",
        "τ": r"\ensuremath{\tau}",
    }
)


def markdown(report: Report) -> str:
    """Renders the report as Markdown; plots are linked beside it."""
    parts = [f"# {_plain(report.title)}", _plain(report.date)]
    if report.question:
        parts.append(f"**{_plain(report.question)}**")
    if report.claim:
        parts.append(f"Published: {_plain(report.claim)}")
    parts += [f"**{_plain(line)}**" for line in report.warnings]
    parts += [_plain(line) for line in headline(report)]
    parts.append(_fenced(report.command))
    parts += [_section(section) for section in outline(report)]
    return "\n\n".join(parts) + "\n"


def latex(report: Report) -> str:
    """Renders the main table as LaTeX for the ``booktabs`` package; only winners are bold."""
    compared = any(arm.comparison for arm in report.arms)
    head = ["arm", "$n$", "mean"] + ([r"$\Delta$", r"$p$ (Holm)", "verdict"] if compared else [])
    rows = []
    for arm in report.arms:
        half = arm.summary.interval
        figure = show(arm.summary.mean) + (f" ± {show(half.half_width)}" if half else "")
        pair = arm.comparison
        cells = [tex(arm.name), tex(arm.summary.runs), tex(figure)]
        if compared and pair is None:
            cells += ["", "", "reference"]
        elif pair is not None:
            bounds = f" {pair.interval.bounds}" if pair.interval else ""
            kind = pair.verdict.kind
            won = rf"\textbf{{{kind}}}" if kind == "better" else kind
            difference = tex(signed(pair.mean, pair.interval) + bounds)
            cells += [re.sub(r"-(?=\d)", r"\\ensuremath{-}", difference), tex(p_text(pair.holm_p))]
            cells.append(won)
        rows.append(" & ".join(cells) + r" \\")
    where = f" at {report.setting}" if report.setting else ""
    said = f"{report.title}: {report.metric}{where}. Mean ± half the 95 % t-interval over seeds"
    if compared:
        said += f"; Δ: paired difference from “{report.reference}” with its 95 % interval"
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{tex(said)}.}}",
        rf"\begin{{tabular}}{{l{'r' * (len(head) - (2 if compared else 1))}"
        rf"{'l' if compared else ''}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def tex(text: str) -> str:
    """Writes a text so that LaTeX prints it as it is."""
    return "".join(_TEX.get(letter, letter) for letter in " ".join(text.split()))


def _section(section: Section) -> str:
    blocks = [_block(block) for block in section.blocks]
    return "\n\n".join([f"## {_plain(section.title)}", *(text for text in blocks if text)])


def _block(block: Block) -> str:
    match block:
        case Table():
            return _pipe_table(block)
        case Lines():
            return "\n".join(f"- {_plain(line)}" for line in block.lines)
        case Text():
            return _plain(block.text)
        case Code():
            return _fenced(block.text)
        case Facts():
            return "\n".join(f"- {_plain(name)} {_plain(is_)}" for name, is_ in block.facts.items())
        case Plots():
            pictures = [f"![{_plain(p.caption)}](plots/{p.name}.png)" for p in block.plots]
            return "\n\n".join(pictures)
        case Folded():
            inside = "\n\n".join(map(_block, block.blocks))
            return f"<details><summary>{_plain(block.title)}</summary>\n\n{inside}\n\n</details>"


def _pipe_table(table: Table) -> str:
    kept = [i for i, column in enumerate(table.columns) if column.look != "strip"]
    left = {"text", "prose", "chip"}
    header = [_plain(table.columns[i].title) for i in kept]
    rule = ["---" if table.columns[i].look in left else "---:" for i in kept]
    rows = [[_cell(row[i]) for i in kept] for row in table.rows]
    text = "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *rows])
    return f"{text}\n\n{_plain(table.note)}" if table.note else text


def _cell(cell: Cell) -> str:
    text = _plain(cell.text)
    if cell.kind == "better":
        text = f"**{text}**"
    return f"{text} {_plain(cell.aside)}" if cell.aside else text


def _plain(text: str) -> str:
    """Keeps a text on one line and free of Markdown's and HTML's own signs."""
    text = re.sub(r"&(?=#?\w+;)", "&amp;", " ".join(text.split()))
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)
    return re.sub(r"([\\|*`]|(?<=\])\()", r"\\\1", text)


def _fenced(text: str) -> str:
    """Puts a text into a fence longer than any it holds."""
    ticks = max([2, *(len(run) for run in re.findall(r"`+", text))]) + 1
    return f"{'`' * ticks}\n{text}\n{'`' * ticks}"
