"""A study's page says what its records say: every section from data, none without."""

import csv
import io
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from tests.studies.test_report import HOSTILE, Page
from tlearn.studies import plots, study_facts, study_trials
from tlearn.studies.contents import Cost
from tlearn.studies.drawing import Plot
from tlearn.studies.outline import outline
from tlearn.studies.records import Record, Results
from tlearn.studies.statistics import compare
from tlearn.studies.study_page import study_report, write_study
from tlearn.studies.study_plots import undominated
from tlearn.studies.study_tables import closer_table
from tlearn.studies.study_text import latex, markdown, tex

ARMS = ("head only", "all layers", HOSTILE)


def config(seed: int, rate: float, **data) -> dict:
    return {
        "data": {"dataset": "digits", "test_split": "test", **data},
        "optimizer": {"rate": rate},
        "run": {"seed": seed},
    }


def record(arm: str, seed: int, accuracy: float | None, **more) -> Record:
    """A reported run; without an accuracy a failed one."""
    lost = accuracy is None
    given = {
        "key": f"{arm}-{seed}-{more.get('labels', 10)}",
        "role": "reported",
        "state": "failed" if lost else "finished",
        "error": "loss is nan\nat update 7" if lost else "",
        "config": config(seed, 0.1),
        "labels": 10,
        "metrics": {} if lost else {"accuracy": accuracy},
        "at": (10, 20, 30),
        "curve": (0.1, math.nan, math.nan) if lost else (0.1, accuracy - 0.1, accuracy),
        "plan": "1 of 3 layers trains",
        "cost": Cost(trained=10 + len(arm), step_flops=1000, wall_s=2.0),
    }
    return Record(arm=arm, seed=seed, **{**given, **more})


def runs(arms=ARMS, seeds=6, **more) -> list[Record]:
    """The second arm is ahead by 0.1, the third now ahead, now behind."""
    noise = (np.random.default_rng(0).normal(size=(3, seeds)) / 100).tolist()
    shift = (lambda s: 0.0, lambda s: 0.1, lambda s: 0.05 * (-1) ** s)
    return [
        record(arm, s, 0.6 + shift[i](s) + noise[0][s] + (i == 1) * noise[i][s], **more)
        for i, arm in enumerate(arms)
        for s in range(seeds)
    ]


def study(records=None, **more) -> Results:
    given = {
        "title": "What <should> move",
        "command": "tlearn study x.py",
        "date": "2026-01-02",
        "versions": {"jax": "0.10.0"},
        "protocol": ["digits"],
        "metric": "accuracy",
        "reference": ARMS[0],
        "arms": ARMS,
        "shown": 10,
        "records": runs() if records is None else records,
        "question": "Does <more> help?",
        "claim": "One point (Somebody 2018).",
    }
    return Results(**{**given, **more})


@pytest.fixture
def undrawn(monkeypatch):
    """Plots that are not rendered: what is tested here are words and figures."""

    def blank(name, caption, draw, height=4.0):
        return Plot(name, caption, b"light", b"dark")

    for module in ("plots", "study_plots", "heat"):
        monkeypatch.setattr(f"tlearn.studies.{module}.draw_twice", blank)


def titles(results: Results) -> list[str]:
    return [section.title for section in outline(study_report(results))]


def rows_of(page: Page, name: str) -> list[list[str]]:
    return [row for row in page.rows if row and row[0] == name]


def test_the_folder_is_whole_and_the_page_safe(tmp_path, monkeypatch):
    # Once with everything drawn for real, features by layer as a map.
    monkeypatch.setattr(plots, "_MANY_BARS", 1)
    lost = [record("all layers", 6, None), *(record(a, 6, 0.6) for a in (ARMS[0], HOSTILE))]
    kept = [replace(r, cka={"stem": 1.0, "top": 0.5}) for r in [*runs(), *lost] if r.arm != ARMS[0]]
    base = [r for r in [*runs(), *lost] if r.arm == ARMS[0]]
    path = write_study(tmp_path, study([*base, *kept]))
    text = path.read_text("utf-8")
    page = Page()
    page.feed(text)
    assert page.stack == []
    assert "script" not in page.tags
    assert all(link.startswith(("data:image/png;base64,", "#s")) for link in page.links)
    assert "Does &lt;more&gt; help?" in text
    assert "One point (Somebody 2018)." in text
    assert not list(tmp_path.glob("*.part"))
    drawn = {p.stem for p in (tmp_path / "plots").glob("*.png")}
    assert drawn == {"forest", "learning_curves", "cost", "cka_by_layer"}
    assert all(p.read_bytes()[:4] == b"\x89PNG" for p in (tmp_path / "plots").glob("*.png"))
    main = {row[0]: row for row in page.rows[1:4]}
    assert "undecided" in main["all layers"]  # ahead, but one of its runs failed
    assert "6 (1 failed)" in main["all layers"]
    (failed,) = [row for row in page.rows if row[-1:] == ["loss is nan\nat update 7"]]
    assert failed[:4] == ["all layers", "10", "6", "reported"]
    assert "<script" not in (tmp_path / "report.md").read_text("utf-8")
    assert len(text) < 400_000


def test_every_run_is_a_row_in_each_file(tmp_path, undrawn):
    pq = pytest.importorskip("pyarrow.parquet")
    pilot = record("all layers", 100, None, role="pilot", validation={"accuracy": 0.5})
    records = [*runs(), *(record(a, 6, None if a == HOSTILE else 0.7) for a in ARMS)]
    write_study(tmp_path, study(records, pilots=[pilot]))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "results.csv").read_text("utf-8"))))
    table = pq.read_table(tmp_path / "results.parquet").to_pylist()
    told = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert len(rows) == len(table) == len(told["runs"]) + len(told["pilots"]) == 22
    assert told["pilots"][0]["curve"] == [0.1, None, None]
    for row, typed, kept in zip(rows, table, [*records, pilot], strict=True):
        accuracy = kept.metrics.get("accuracy")
        assert row["test/accuracy"] == ("" if accuracy is None else repr(accuracy))
        assert typed["test/accuracy"] == accuracy
        assert (typed["arm"], typed["seed"], typed["role"]) == (kept.arm, kept.seed, kept.role)
    assert told["arms"][1]["comparison"]["verdict"]["kind"] == "better"


@pytest.mark.parametrize(("seeds", "winner"), [(1, False), (4, False), (5, True)])
def test_few_seeds_make_no_winner_in_any_rendering(tmp_path, undrawn, seeds, winner):
    results = study(runs(seeds=seeds))
    text = write_study(tmp_path, results).read_text("utf-8")
    report = study_report(results)
    assert ('class="chip better"' in text) == winner
    assert ("**better**" in markdown(report)) == winner
    assert (r"\textbf{better}" in latex(report)) == winner
    assert ("Too few seeds" in text) != winner
    assert ("The differences, closer" in titles(results)) == winner


def test_one_arm_alone_is_compared_with_nothing(tmp_path, undrawn):
    text = write_study(tmp_path, study(runs(ARMS[:1]), arms=ARMS[:1])).read_text("utf-8")
    page = Page()
    page.feed(text)
    assert page.rows[0] == ["arm", "mean, 95 % over seeds", "n"]
    assert "Holm" not in text
    assert "Δ" not in text
    assert not (tmp_path / "plots" / "forest.png").exists()
    assert r"\Delta" not in (tmp_path / "table.tex").read_text("utf-8")


def test_sections_without_data_are_left_out_and_old_plots_go(tmp_path, undrawn):
    write_study(tmp_path, study())
    assert (tmp_path / "plots" / "learning_curves.png").exists()
    bare = study([replace(r, at=(), curve=(), cost=Cost(), plan="") for r in runs(seeds=1)])
    write_study(tmp_path, replace(bare, versions={}, protocol=(), question="", claim=""))
    assert not list((tmp_path / "plots").glob("*.png"))
    assert [t for t in titles(bare) if t not in ("Versions", "Every run")] == [
        "Results at 10 labels per class",
        "What each arm did, and what it cost",
        "How settings were chosen",
        "What is not shown",
        "How it was done",
        "How to read this",
    ]


def test_amounts_of_labels_have_a_curve_with_all_at_its_end(tmp_path, undrawn):
    results = study([*runs(), *runs(labels=0)])
    text = write_study(tmp_path, results).read_text("utf-8")
    assert "With more and fewer labels" in titles(results)
    page = Page()
    page.feed(text)
    assert ["arm \\ labels per class", "10", "all"] in page.rows


def test_runs_that_are_not_there_yet_count_as_failed_and_are_told(undrawn):
    records = [r for r in runs() if not (r.arm == "all layers" and r.seed == 5)]
    report = study_report(replace(study(records), arms=(*ARMS[:2],), records=records[:11]))
    (told,) = report.warnings
    assert "all layers" in told
    assert "seeds 5;" in told
    assert report.arms[1].comparison is not None
    assert report.arms[1].comparison.verdict.kind == "undecided"
    with pytest.raises(ValueError, match=r"no reported run at 3 labels per class.*runs: 10"):
        study_report(study(shown=3))


def test_a_part_that_was_touched_is_said_first(undrawn):
    seen = replace(runs()[0], role="pilot")
    (read, figures, seeds) = study_report(study(untouched=False, pilots=[seen])).warnings
    assert "more than once" in read
    assert "Pilot runs have figures of the test part: 1." in figures
    assert "Seeds 0 both" in seeds


def test_speed_counts_runs_that_never_arrive_as_last():
    records = [
        record(ARMS[0], 0, 0.5, curve=(0.1, 0.46, 0.5)),
        record(ARMS[0], 1, 0.5, curve=(0.46, 0.48, 0.5)),
        record(ARMS[1], 0, 0.5, curve=(0.1, 0.2, 0.44)),
        record(ARMS[1], 1, None),
        record(ARMS[2], 0, 0.5, curve=(0.1, 0.2, 0.45)),
        record(ARMS[2], 1, 0.5, curve=(0.9, 0.9, 0.9)),
        record(ARMS[2], 2, None),
    ]
    target, speeds = study_facts.speeds(study(records)) or (0.0, {})
    assert target == pytest.approx(0.45)
    assert {arm: (s.updates, s.runs, s.median) for arm, s in speeds.items()} == {
        ARMS[0]: ((10, 20), 2, 15.0),
        ARMS[1]: ((), 2, None),
        ARMS[2]: ((10, 30), 3, 30),
    }
    target, speeds = study_facts.speeds(study(records, higher_is_better=False)) or (0.0, {})
    assert target == pytest.approx(0.5 / 0.9)
    assert speeds[ARMS[0]].median == 10


def test_maps_need_two_numbers_that_cross():
    def cell(x: float, y: float, seed: int, **levels: str) -> Record:
        return record(
            ARMS[0], seed, x + y, values={"rate": x, "pull": y, "decay": 0.1}, levels=levels
        )

    crossed = [cell(x, y, s) for x in (1.0, 2.0) for y in (0.1, 0.2) for s in (0, 1)]
    (grid,) = study_facts.grids(study(crossed))
    assert {grid.x, grid.y} == {"rate", "pull"}
    for row, means in zip(grid.rows, grid.means, strict=True):
        np.testing.assert_allclose([v or 0.0 for v in means], [row + c for c in grid.columns])
    line = [cell(k, k, s) for k in (1.0, 2.0, 3.0, 4.0) for s in (0, 1)]
    assert study_facts.grids(study(line)) == []
    assert study_facts.grids(study(crossed[:4])) == []
    two = [
        cell(x, y, 0, body=body, rate=f"{x}")
        for body in "ab"
        for x in (1.0, 2.0)
        for y in (0.1, 0.2)
    ]
    assert [g.rest for g in study_facts.grids(study(two))] == ["a", "b"]


def test_what_single_examples_got_must_be_what_the_metric_counts():
    records = [record(arm, s, 0.5) for arm in ARMS[:2] for s in (0, 1)]
    right = {r.key: np.asarray([1.0, 0.0]) for r in records}
    known = study(records, arms=ARMS[:2], predictions=right)
    assert study_facts.over_examples(known)[ARMS[0]].center == 0.5
    assert study_facts.differences_over_examples(known)[ARMS[1]].center == 0.0
    other = {**right, records[0].key: np.asarray([1.0, 1.0])}
    assert study_facts.over_examples(replace(known, predictions=other)) == {}


def test_trials_are_grouped_and_the_chosen_and_the_edge_marked(tmp_path, undrawn):
    pilots = [
        record(
            ARMS[1],
            seed,
            0.5,
            key=f"p{rate}{seed}",
            role="pilot",
            metrics={},
            validation={"accuracy": 0.5 + rate},
            config=config(seed, rate, test_split=""),
        )
        for rate in (0.001, 0.01, 0.1, 0.05)
        for seed in (100, 101)
    ]
    results = study(pilots=pilots, chosen={ARMS[1]: {"rate": "0.1"}})
    (trials,) = study_trials.trials(results).values()
    assert [str(t) for t in trials] == ["rate = 0.001", "rate = 0.01", "rate = 0.1", "rate = 0.05"]
    assert [t.chosen for t in trials] == [False, False, True, False]
    assert [t.edge != () for t in trials] == [True, False, True, False]
    assert {t.summary.finished for t in trials} == {2}
    text = write_study(tmp_path, results).read_text("utf-8")
    assert "at the end of the range: rate" in text
    assert "8 in all, seeds 100, 101, none of them reported" in text
    assert "Expected best of n" in text


def test_every_config_can_be_put_together_again(tmp_path, undrawn):
    records = [replace(r, config=config(r.seed, 0.1 * (1 + r.seed))) for r in runs()]
    text = write_study(tmp_path, study(records)).read_text("utf-8")
    page = Page()
    page.feed(text)
    assert "rate = 0.2; seed = 1" in rows_of(page, "all layers")[-5][-1]
    whole = re.search(r"<pre>(\{.*?\})</pre>", text, re.DOTALL)
    assert whole
    assert json.loads(whole[1].replace("&quot;", '"')) == records[0].config


def test_what_is_left_of_the_source_task():
    records = [
        replace(r, remembered={"before": 0.9, "after": 0.9 - 0.01 * r.seed}) for r in runs(ARMS[:2])
    ]
    # Of arms whose sources are language models another figure is measured, and told apart.
    texts = {"before": 2.0, "after": 2.5}
    records += [replace(r, remembered=texts, remembered_metric="loss") for r in runs(ARMS[2:3])]
    found = study_facts.remembered(study(records))
    before, after, change = found["accuracy"][ARMS[1]]
    assert before.mean == pytest.approx(0.9)
    assert after.mean == pytest.approx(0.875)
    assert change is not None
    assert change.center == pytest.approx(-0.025)
    assert {metric: list(arms) for metric, arms in found.items()} == {
        "accuracy": list(ARMS[:2]),
        "loss": [ARMS[2]],
    }
    assert found["loss"][ARMS[2]][1].mean == pytest.approx(2.5)


def test_many_arms_are_named_by_validation_never_by_test(undrawn):
    arms = tuple(f"arm {i}" for i in range(20))
    records = [
        record(arm, 0, i / 20, validation={"accuracy": 1 - i / 20}) for i, arm in enumerate(arms)
    ]
    named, faint = study_facts.named_arms(study(records, arms=arms, reference=arms[-1]))
    assert named == [*arms[:11], arms[-1]]
    assert faint == [*arms[11:-1]]
    curve = {arm: plots.Curve((0, 1), [[0.0, 1.0]]) for arm in arms[:3]}
    plot = plots.learning_curves(curve, arms=arms[:2], faint=arms[2:3])
    assert "1 more arms" in plot.caption


def test_the_edge_no_arm_is_beyond():
    points = {"a": (1.0, 0.5), "b": (2.0, 0.4), "c": (2.0, 0.9), "d": (2.0, 0.9)}
    assert undominated(points) == ["a", "c", "d"]
    assert undominated(points, higher_is_better=False, less_x_is_better=False) == ["b"]


def test_latex_prints_names_as_they_are(undrawn):
    assert tex(r"50 % of λ_1 & {x}") == r"50 \% of \ensuremath{\lambda}\_1 \& \{x\}"
    assert tex("a\\b\n~^#$") == r"a\textbackslash{}b \textasciitilde{}\textasciicircum{}\#\$"
    text = latex(study_report(study()))
    assert text.count(r" \\") == 4
    (row,) = [line for line in text.splitlines() if line.startswith("all layers")]
    assert row.count("&") == 5
    assert row.endswith(r"\textbf{better} \\")


@pytest.mark.parametrize(("seeds", "shown"), [(5, False), (10, True)])
def test_a_bootstrap_over_few_seeds_is_not_shown(seeds, shown):
    rng = np.random.default_rng(0)
    scores = {arm: dict(enumerate(rng.normal(0.8, 0.02, seeds))) for arm in ("a", "b")}
    table = closer_table(compare(scores, "a"), {}, "accuracy")
    assert ("Δ, bootstrap 95 %" in [column.title for column in table.columns]) == shown
