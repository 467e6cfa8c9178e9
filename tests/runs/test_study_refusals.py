"""Studies that ask for what there is not, break down, or fill their disk: nothing is lost."""

import errno
import json
import re
from pathlib import Path

import numpy as np
import pytest
from small_study import BASE, as_file, pretend, small

from tlearn.cli.main import main
from tlearn.runs.config import replace
from tlearn.runs.folder import RunFolderError
from tlearn.runs.study import Factor
from tlearn.runs.study.folder import StudyFolder
from tlearn.runs.study.group import stack_batches
from tlearn.runs.study.results import collect
from tlearn.runs.study.running import StudyError, pending, run_study
from tlearn.studies.records import Results
from tlearn.studies.statistics import compare
from tlearn.studies.study_files import csv_text, rows_of
from tlearn.studies.study_page import study_report
from tlearn.studies.study_text import markdown


def quiet(text: str) -> None:
    """Says nothing."""


@pytest.fixture
def trained(monkeypatch) -> list[tuple]:
    """What is trained from here on, without training it."""
    log: list[tuple] = []

    def run_many(configs, looks, **settings):
        log.extend((c.train.seed, c.strategy.layer_decay, c.optimizer.rate) for c in configs)
        return pretend(configs, looks, **settings)

    monkeypatch.setattr("tlearn.runs.study.many.run_many", run_many)
    return log


def contents(out: Path) -> dict[Path, bytes]:
    """All that is kept of units, finished and planned."""
    return {file: file.read_bytes() for file in (out / "units").iterdir()}


RATE = Factor.over("rate", (0.1, 0.2))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"factors": (Factor("x", {"a": {"ratee": 1.0}}),)}, "'ratee', which no config has.*rate"),
        ({"factors": (Factor("x", {"a": {"seed": 1}}),)}, "sets seed, which seeds decides"),
        (
            {"factors": (RATE, Factor("y", {"a": {"rate": 1.0, "clip": 1.0}}))},
            "factors 'rate' and 'y' both set rate",
        ),
        ({"pilot_seeds": (1, 2)}, r"pilot seeds \[1\] are reported too"),
        ({"pilot_seeds": ()}, "no pilot_seeds to choose by"),
        ({"reference": "equals"}, "'equals' is no arm; closest: equal"),
        ({"factors": (RATE,), "seeds": (3, 3)}, "give at least one, each once"),
        ({"base": replace(BASE, test_split="")}, "nothing to report"),
        ({"base": replace(BASE, validation="0%")}, "base.data.validation is empty"),
        ({"factors": (Factor.over("rate", (0.1, -0.1)),)}, "arm '-0.1'.*rate is -0.1"),
        ({"measures": ("distnace",)}, "there are distance, cka"),
        ({"name": "My study"}, "small letters"),
    ],
)
def test_a_study_that_cannot_be_meant(changes, told):
    with pytest.raises(ValueError, match=f"(?s){told}"):
        small(**changes)


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(ValueError, match="cannot be run") as caught:
        small(factors=(Factor("x", {"a": {"ratee": 1}}), Factor("x", {})), points=0, shown=7)
    for told in ("ratee", "called 'x'", "no levels", "points is 0", "shown is 7"):
        assert told in str(caught.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"labels": "(5, 5000)"}, "classes with fewer than 5000 examples"),
        ({"base": "replace(BASE, classes=('0', 'eleven'))"}, "no such label"),
        ({"metric": "'acuracy'"}, "there is no metric 'acuracy'.*did you mean 'accuracy'"),
    ],
)
def test_what_only_the_data_can_refuse_is_told_before_training(
    change, told, trained, tmp_path, capsys
):
    out = tmp_path / "out"
    run_study(small(), out, say=quiet)
    before, runs = contents(out), len(trained)
    file = as_file(tmp_path / "study.py", **change)
    assert main(["study", str(file), "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: the runs of equal, decayed cannot be begun: ")
    assert re.search(told, said)
    assert contents(out) == before
    assert len(trained) == runs


def test_an_arm_that_diverges_has_failed_and_is_never_better(tmp_path, monkeypatch):
    monkeypatch.setattr("tlearn.runs.study.running._mesh", lambda: None)
    study = small(
        factors=(Factor("rate", {"usual": {"rate": 0.1}, "wild": {"rate": 1e6}}),),
        seeds=(0, 1, 2, 3, 4),
        unit_runs=64,
        points=1,
        measures=(),
    )
    folder = run_study(study, tmp_path / "out", say=quiet)
    results = collect(study, folder, "command")
    states = {arm: [r.state for r in results.records if r.arm == arm] for arm in results.arms}
    assert states["usual"] == ["finished"] * 5
    failed = states["wild"].count("failed")
    assert failed >= 1
    for record in results.records:
        assert record.finished == (not record.error)
        assert record.finished or "not finite at step" in record.error
        assert bool(record.metrics) == record.finished
    verdict = compare(results.scores(), "usual")["wild"].verdict
    assert verdict.kind in ("too few seeds", "undecided", "worse")
    text = markdown(study_report(results))
    assert f"Failed runs, not in the means: wild ({failed})" in text
    assert f"({failed} failed)" in text
    assert csv_text(rows_of(results)).count("not finite at step") == failed


def test_the_lucky_ones_of_an_arm_that_fails_do_not_win(trained, tmp_path, monkeypatch):
    def run_many(configs, looks, **settings):
        made = []
        for config, found in zip(configs, pretend(configs, looks), strict=True):
            breaks = config.strategy.layer_decay == 0.5 and config.train.seed == 3
            better = {"accuracy": 0.9 + config.train.seed / 1000, "loss": 0.1}
            change = {"metrics": better} if config.strategy.layer_decay == 0.5 else {}
            change |= {"error": "broke", "metrics": {}, "right": None} if breaks else {}
            made.append(found.__class__(**{**vars(found), **change}))
        return made

    monkeypatch.setattr("tlearn.runs.study.many.run_many", run_many)
    study = small(seeds=tuple(range(10)))
    results = collect(study, run_study(study, tmp_path / "out", say=quiet), "command")
    assert compare(results.scores(), "equal")["decayed"].verdict.kind == "undecided"
    whole = small(seeds=(0, 1, 2, 4, 5, 6, 7, 8, 9))
    results = collect(whole, run_study(whole, tmp_path / "out", say=quiet), "command")
    assert compare(results.scores(), "equal")["decayed"].verdict.kind == "better"


def test_a_run_that_breaks_down_is_tried_once_more_and_then_counted(tmp_path, monkeypatch):
    tries: list[tuple] = []

    def run_many(configs, looks, **settings):
        tries.append(tuple(c.train.seed for c in configs))
        if any(c.train.seed == 1 for c in configs) or len(tries) == 1:
            raise RuntimeError("no memory")
        return pretend(configs, looks)

    monkeypatch.setattr("tlearn.runs.study.many.run_many", run_many)
    study = small(factors=(Factor("rates", {"a": {}}),), seeds=(0, 1, 2, 3), unit_runs=3)
    results = collect(study, run_study(study, tmp_path / "out", say=quiet), "command")
    assert tries == [(0, 1, 2), (0,), (1,), (2,), (3,)]
    assert {r.seed: (r.state, r.retried) for r in results.records} == {
        0: ("finished", 1),
        1: ("failed", 1),
        2: ("finished", 1),
        3: ("finished", 0),
    }
    assert results.scores()["a"][1] is None
    assert [r.error for r in results.records if r.error] == ["RuntimeError: no memory"]


def test_arms_and_seeds_that_are_added_cost_only_themselves(trained, tmp_path):
    out = tmp_path / "out"
    run_study(small(), out, say=quiet)
    assert len(trained) == 8
    before = contents(out)
    arms = {"decayed": {"layer_decay": 0.5}, "equal": {"layer_decay": 1.0}}
    more = small(
        factors=(Factor("rates", arms | {"new": {"layer_decay": 0.2}}), small().factors[1]),
        seeds=(0, 1, 2),
        title="Another title",
    )
    folder = run_study(more, out, say=quiet)
    assert sorted(trained[8:]) == sorted(
        [(100, 0.2, 0.1), (100, 0.2, 0.5)]
        + [(seed, 0.2, 0.5) for seed in (0, 1, 2)]
        + [(2, 0.5, 0.5), (2, 1.0, 0.5)]
    )
    after = contents(out)
    assert {file: after[file] for file in before} == before
    results = collect(more, folder, "command")
    assert results.untouched
    assert list(results.scores()) == ["decayed", "equal", "new"]
    assert all(sorted(scores) == [0, 1, 2] for scores in results.scores().values())
    run_study(more, out, say=quiet)
    assert len(trained) == 15


def test_a_folder_of_another_version_or_study_is_left_alone(trained, tmp_path, capsys):
    out = tmp_path / "out"
    run_study(small(), out, say=quiet)
    with pytest.raises(RunFolderError, match="holds the study 'small', not 'other'"):
        run_study(small(name="other"), out, say=quiet)
    mark = json.loads((out / "study.json").read_text())
    (out / "study.json").write_text(json.dumps(mark | {"version": "0.0.1"}))
    before, runs = contents(out), len(trained)
    file = as_file(tmp_path / "study.py")
    for more in ([], ["--report"], ["--dry-run"]):
        assert main(["study", str(file), "--out", str(out), *more]) == 1
        assert "is a study of tlearn 0.0.1" in capsys.readouterr().err
    with pytest.raises(RunFolderError, match="two versions are not mixed"):
        pending(out)
    assert contents(out) == before
    assert len(trained) == runs
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(RunFolderError, match="not empty and holds no study"):
        run_study(small(), tmp_path / "mine", say=quiet)
    with pytest.raises(RunFolderError, match="cannot be written"):
        run_study(small(), tmp_path / "mine" / "thesis.tex", say=quiet)


# Writes: study.json, two units of pilots, their figures and examples, two units of reported runs...
@pytest.mark.parametrize("fails", [1, 3, 5, 8, 10])
def test_a_disk_that_fills_costs_nothing_that_was_done(trained, fails, tmp_path, monkeypatch):
    from tlearn.runs.folder import write_whole

    out, left = tmp_path / "out", [fails]

    def filling(file: Path, content: bytes) -> None:
        left[0] -= 1
        if left[0] <= 0:
            file.with_name(file.name + ".unfinished").write_bytes(content[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        write_whole(file, content)

    with monkeypatch.context() as patched:
        patched.setattr("tlearn.runs.study.folder.write_whole", filling)
        with pytest.raises((StudyError, RunFolderError), match="No space left on device"):
            run_study(small(), out, say=quiet)
    done = {} if fails == 1 else StudyFolder.open(out).records()
    assert len(done) == 2 * sum(fails > last for last in (5, 7, 11))
    found = run_study(small(), out, say=quiet).records()
    assert len(found) == 8
    assert {key: found[key] for key in done} == done
    assert pending(out) == []
    # Only a unit that could not be kept is trained a second time.
    assert len(trained) == 8 + 2 * (fails in (4, 5, 6, 7, 10, 11))


def test_a_lock_that_cannot_be_written_is_no_other_process(trained, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tlearn.runs.lock.os.pwrite", full)
    with pytest.raises(RunFolderError, match="No space left"):
        run_study(small(), tmp_path / "out", say=quiet)
    assert not trained


def test_a_report_that_does_not_fit_leaves_the_runs(trained, tmp_path, monkeypatch, capsys):
    def full(folder: Path, results: Results) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tlearn.studies.study_page.write_study", full)
    file = as_file(tmp_path / "study.py", factors="(Factor('a', {'b': {}}),)", seeds="(0,)")
    out = tmp_path / "out"
    run_study(small(factors=(Factor("a", {"b": {}}),), seeds=(0,)), out, say=quiet)
    assert main(["study", str(file), "--out", str(out), "--report"]) == 1
    assert "the runs are kept" in capsys.readouterr().err


def test_batches_of_several_widths_are_refused_with_what_to_say():
    narrow, wide = ({"tokens": np.ones((8, width), int), "index": width} for width in (16, 32))
    assert stack_batches([wide, wide], ["tokens"])["tokens"].shape == (2, 8, 32)
    with pytest.raises(ValueError, match=r"\(8, 16\) and \(8, 32\).*widths=32 with max_length=32"):
        stack_batches([narrow, wide], ["tokens"])
