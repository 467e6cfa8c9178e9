"""A study as data: arms, trials, runs, keys; what is chosen, and what a report is told."""

import dataclasses
import json

import numpy as np
import pytest

from tlearn.runs.config import DataConfig, RunConfig, replace
from tlearn.runs.study import Factor, Study, from_values, to_values
from tlearn.runs.study.folder import StudyFolder
from tlearn.runs.study.forecast import check_budget, forecast
from tlearn.runs.study.keys import run_key
from tlearn.runs.study.plans import differences
from tlearn.runs.study.results import collect
from tlearn.runs.study.running import choose, pending, run_study
from tlearn.studies.records import Record
from tlearn.studies.statistics import compare

BASE = replace(
    RunConfig(data=DataConfig(data="digits", test_split="test", validation="20%")),
    settings=("stage_widths=8,", "stage_blocks=1,", "stem_width=8"),
    length="4st",
    batch_size=10,
)
FACTORS = (
    Factor("optimizer", {"sgd": {"optimizer": "sgd"}, "adamw": {"optimizer": "adamw"}}),
    Factor("decay", {"none": {}, "some": {"weight_decay": 0.1}}),
    Factor.over("rate", (0.1, 0.01), role="nuisance"),
    Factor.over("momentum", (0.0, 0.9), role="nuisance", only=("sgd, none",)),
    Factor("clip", {"one": {"clip": 1.0}}, "fixed"),
)


def study(**changes):
    given = {
        "name": "small",
        "title": "Small",
        "base": BASE,
        "factors": FACTORS,
        "seeds": (0, 1),
        "labels": (4, 2),
        "pilot_seeds": (7,),
    }
    return Study(**given | changes)


def test_arms_are_combinations_and_nuisance_levels_belong_to_arms():
    found = study()
    assert [arm.name for arm in found.arms] == [
        "sgd, none",
        "sgd, some",
        "adamw, none",
        "adamw, some",
    ]
    assert [len(found.trials(arm.name)) for arm in found.arms] == [4, 2, 2, 2]
    assert len(list(found.pilots())) == 10
    assert found.compared_with == "sgd, none"
    assert found.main_labels == found.tuned_labels == 4
    chosen = {arm.name: found.trials(arm.name)[-1] for arm in found.arms}
    cells = list(found.reported(chosen))
    assert len(cells) == 4 * 2 * 2
    config = cells[0].config
    assert (config.optimizer.rate, config.optimizer.momentum, config.optimizer.clip) == (
        0.01,
        0.9,
        1.0,
    )
    assert (config.train.seed, config.data.per_class) == (0, 4)


def test_pilots_are_given_no_reported_part():
    assert {cell.config.data.test_split for cell in study().pilots()} == {""}


def test_a_study_is_the_same_after_its_file():
    found = study(claim="a", notes=("b",), remember="")
    assert from_values(json.loads(json.dumps(to_values(found)))) == found


def test_a_runs_key_knows_what_decides_its_figures_and_nothing_else():
    one = study()
    cells = list(one.reported({arm.name: one.trials(arm.name)[0] for arm in one.arms}))
    keys = [run_key(one, cell) for cell in cells]
    assert len(set(keys)) == len(keys)
    more = study(seeds=(0, 1, 2), factors=(*FACTORS[:1], *FACTORS[2:3], *FACTORS[4:]), title="B")
    again = [
        cell
        for cell in more.reported({arm.name: more.trials(arm.name)[0] for arm in more.arms})
        if cell.seed < 2
    ]
    plain = {
        c.arm.name: k for c, k in zip(cells, keys, strict=True) if (c.seed, c.labels) == (0, 4)
    }
    found = {c.arm.name: run_key(more, c) for c in again if (c.seed, c.labels) == (0, 4)}
    # "adamw, none" of the first study is "adamw" of the second: the same run.
    assert found["adamw"] == plain["adamw, none"]
    looked = study(points=9)
    assert run_key(looked, cells[0]) != keys[0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    small = study(
        factors=(FACTORS[0], Factor.over("rate", (1e-5, 0.05), role="nuisance")), labels=(4,)
    )
    folder = tmp_path_factory.mktemp("study") / "small"
    said: list[str] = []
    run_study(small, folder, say=said.append)
    return small, StudyFolder.open(folder), said


def test_a_study_runs_chooses_and_reports(finished):
    small, folder, said = finished
    assert pending(folder.path) == []
    chosen = choose(small, folder)
    pilots = {
        (r.arm, r.config["optimizer"]["rate"]): r.validation["accuracy"]
        for r in folder.records().values()
        if r.role == "pilot"
    }
    for arm, levels in chosen.items():
        rates = (1e-5, 0.05)
        best = max(rates, key=lambda rate, arm=arm: (pilots[arm, rate], -rates.index(rate)))
        assert float(levels["rate"]) == best
    results = collect(small, folder, "command")
    assert results.untouched
    assert len(results.records) == 4
    assert len(results.pilots) == 4
    for record in results.records:
        right = results.predictions[record.key]
        assert len(right) == results.test_examples == 500
        assert np.mean(right) == pytest.approx(record.metrics["accuracy"])
    assert {r.labels for r in results.records} == {4}
    assert compare(results.scores(), "sgd")["adamw"].verdict.kind == "too few seeds"
    assert results.plan_differences["adamw"] == []
    assert any("2 of 2 units" in line for line in said)


def test_more_seeds_run_only_what_is_not_there(finished):
    small, folder, _ = finished
    before = {file: file.read_bytes() for file in (folder.path / "units").iterdir()}
    more = dataclasses.replace(small, seeds=(0, 1, 2))
    run_study(more, folder.path, say=lambda text: None)
    after = {file: file.read_bytes() for file in (folder.path / "units").iterdir()}
    assert {file: after[file] for file in before} == before
    assert len(collect(more, folder, "command").records) == 6
    new = [
        json.loads(text)
        for file, text in after.items()
        if file not in before
        and file.name.endswith(".json")
        and not file.name.endswith(".unit.json")
    ]
    assert sum(len(unit["records"]) for unit in new) == 2


def test_a_forecast_counts_runs_and_programs(finished):
    small, folder, _ = finished
    found = forecast(small, folder.path)
    assert (found.arms, found.pilots, found.reported, found.done) == (2, 4, 4, 8)
    assert [program.runs for program in found.programs] == [2, 2, 2, 2]
    text = str(found)
    assert "2 arms; 4 pilot runs and 4 reported runs, 8 of them there already" in text
    assert all(program.step_flops and program.step_flops > 1e5 for program in found.programs)


def test_a_study_beyond_its_budget_is_not_begun(finished):
    small, folder, _ = finished
    tight = dataclasses.replace(small, budget_minutes=1e-3)
    with pytest.raises(ValueError, match="its budget is"):
        check_budget(tight, dataclasses.replace(forecast(tight), done=0))
    check_budget(small, forecast(small))
    # What is there already costs nothing.
    check_budget(tight, forecast(tight, folder.path))


def test_records_come_back_from_json(finished):
    from tlearn.studies.records import from_json, to_json

    for record in finished[1].records().values():
        assert isinstance(record, Record)
        assert from_json(json.loads(json.dumps(to_json(record)))) == record


def test_plans_are_laid_side_by_side():
    one = ["stem: trains 3 of 3", "head: trains 2 of 2"]
    other = ["stem: trains 0 of 3", "head: trains 2 of 2"]
    assert differences(one, one) == []
    assert differences(one, other) == ["stem: trains 3 of 3 (reference: trains 0 of 3)"]
    assert differences([], other)[1] == "head: nothing (reference: trains 2 of 2)"
