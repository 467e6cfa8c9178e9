"""The report says what the numbers say, in every rendering, and needs nothing from outside."""

import csv
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from tlearn.studies.contents import (
    Cost,
    Report,
    amount,
    arms_from_scores,
    bytes_text,
    efficiency_from_scores,
    headline,
    null_results,
    seconds_text,
)
from tlearn.studies.drawing import Plot
from tlearn.studies.report import console_table, markdown, write_report

HOSTILE = '<script>alert("x")</script> & pulled|squared'


def study() -> dict[str, dict[int, dict[int, float | None]]]:
    """Three arms at two points over six seeds: one better, one undecided, one with a failure."""
    rng = np.random.default_rng(0)
    base = {s: 0.6 + 0.01 * rng.normal() for s in range(6)}
    scores: dict[str, dict[int, dict[int, float | None]]] = {
        "from scratch": {k: {s: v + k / 1000 for s, v in base.items()} for k in (5, 10)},
        "everything": {
            k: {s: v + 0.1 + 0.01 * rng.normal() for s, v in base.items()} for k in (5, 10)
        },
        HOSTILE: {k: {s: v + 0.05 * (-1) ** s for s, v in base.items()} for k in (5, 10)},
    }
    scores["everything"][5][3] = None
    return scores


def report(plots: tuple[Plot, ...] = ()) -> Report:
    scores = study()
    return Report(
        title="Digits & letters",
        command="tlearn quickstart --out runs/first",
        date="2026-01-02",
        versions={"jax": "0.10.0"},
        protocol=("Chosen on validation; reported on test.",),
        metric="test accuracy",
        setting="10 labels per class",
        arms=arms_from_scores(
            {arm: runs[10] for arm, runs in scores.items()},
            "from scratch",
            plans={arm: "5 of 5 layers train" for arm in scores},
            pulls={HOSTILE: 0.25},
            costs={"everything": Cost(trained=77850, step_flops=2.31e8, optimizer_bytes=0)},
            test_examples=450,
        ),
        reference="from scratch",
        efficiency=efficiency_from_scores(scores, "from scratch"),
        plots=plots,
        notes=("One rate was tried.",),
    )


class Page(HTMLParser):
    """Collects tags, attributes, and the text of every table row; checks that tags are closed."""

    VOID = frozenset({"meta", "img", "source", "br"})

    def __init__(self):
        super().__init__()
        self.tags, self.links, self.rows, self.stack = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "srcset")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.rows and {"td", "th"} & set(self.stack):
            self.rows[-1][-1] += data


def test_page_is_self_contained_escaped_and_whole(tmp_path):
    plot = Plot("curves", 'A "caption" <here>', b"light", b"dark")
    path = write_report(tmp_path / "run" / "report", report((plot,)))
    page = Page()
    text = path.read_text("utf-8")
    page.feed(text)
    assert page.stack == []
    assert "script" not in page.tags
    assert len(page.links) == 2
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text
    assert (path.parent / "plots" / "curves.png").read_bytes() == b"light"
    assert not list(path.parent.glob("*.part"))
    rows = {row[0]: row for row in page.rows[1:4]}
    assert "better" in rows["everything"]
    assert "undecided" in rows[HOSTILE]
    assert rows["from scratch"][4] == ""


def test_undecided_arms_are_told_not_hidden():
    told = headline(report())
    assert "Better than “from scratch”: everything." in told
    assert f"Undecided against “from scratch”: {HOSTILE}." in told
    nulls = null_results(report())
    assert any(HOSTILE in line and "covers zero" in line for line in nulls)
    assert any("everything" in line and "undecided at 5 labels per class" in line for line in nulls)


def test_csv_has_every_run_once_failed_ones_too(tmp_path):
    write_report(tmp_path, report())
    rows = list(csv.DictReader(io.StringIO((tmp_path / "results.csv").read_text("utf-8"))))
    assert len(rows) == 3 * 2 * 6
    failed = [row for row in rows if row["state"] == "failed"]
    assert [(row["arm"], row["labels_per_class"], row["seed"]) for row in failed] == [
        ("everything", "5", "3")
    ]
    scores = study()
    for row in rows:
        expected = scores[row["arm"]][int(row["labels_per_class"])][int(row["seed"])]
        assert row["test_accuracy"] == ("" if expected is None else repr(expected))


def test_json_has_the_numbers_behind_the_table(tmp_path):
    write_report(tmp_path, report())
    told = json.loads((tmp_path / "results.json").read_text("utf-8"))
    arm = told["arms"][1]
    assert arm["comparison"]["verdict"]["kind"] == "better"
    assert arm["comparison"]["mean"] == report().arms[1].comparison.mean
    assert arm["cost"]["optimizer_bytes"] == 0
    assert told["efficiency"]["summaries"]["everything"][0]["failed"] == [3]


def test_markdown_tables_are_rectangular_and_bold_only_winners():
    text = markdown(report())
    tables = re.findall(r"(?:^\|.*\|\n?)+", text, re.MULTILINE)
    assert len(tables) == 3
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.strip().splitlines()}
        assert len(widths) == 1
    bold = [line for line in text.splitlines() if "**" in line]
    assert bold
    assert all(line.startswith("| everything") for line in bold)
    everything = next(line for line in bold if "failed" in line)
    assert "**0." in everything.split("|")[3]  # 10 labels: better
    assert "**" not in everything.split("|")[2]  # 5 labels: a run failed, no winner


def test_console_table_fits_80_columns():
    stream = io.StringIO()
    Console(file=stream, width=80).print(console_table(report()))
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "better" in text
    assert "undecided" in text
    assert re.search(r"\+0\.\d{3} ± 0\.\d{3}", text)


def test_few_seeds_print_no_winner_anywhere(tmp_path):
    scores = {"a": {s: 0.9 + s / 100 for s in range(4)}, "base": {s: 0.5 for s in range(4)}}
    arms = arms_from_scores(scores, "base", plans={"a": "", "base": ""})
    short = Report(
        title="t",
        command="c",
        date="d",
        versions={},
        protocol=(),
        metric="accuracy",
        arms=arms,
        reference="base",
    )
    path = write_report(tmp_path, short)
    assert 'class="chip too"' in path.read_text("utf-8")
    assert 'class="chip better"' not in path.read_text("utf-8")
    assert "**" not in markdown(short)
    assert (tmp_path / "results.csv").read_text("utf-8").count("finished") == 8


def test_arms_and_their_facts_must_fit():
    with pytest.raises(ValueError, match="no plan for arm 'a'") as raised:
        arms_from_scores({"a": {0: 1.0}}, "a", plans={"b": ""}, costs={"c": Cost()})
    assert "a plan for 'b'" in str(raised.value)
    assert "a cost for 'c'" in str(raised.value)
    with pytest.raises(ValueError, match=r"b: \[10\]"):
        efficiency_from_scores({"a": {10: {0: 1.0}}, "b": {5: {0: 1.0}}}, "a")


def test_amounts():
    assert [amount(v) for v in (None, 0, 999, 1000, 77850, 2.31e8)] == [
        "–",
        "0",
        "999",
        "1 k",
        "77.8 k",
        "231 M",
    ]
    assert [bytes_text(v) for v in (0, 1023, 1024, 1572864)] == [
        "0 B",
        "1023 B",
        "1 KiB",
        "1.5 MiB",
    ]
    assert [seconds_text(v) for v in (None, 0.25, 42.0, 150.0)] == [
        "–",
        "0.25 s",
        "42 s",
        "2.5 min",
    ]
