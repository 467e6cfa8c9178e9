"""Runs that share a program end as they end alone."""

import numpy as np
import pytest
from small_runs import config

from tlearn.runs.config import replace
from tlearn.runs.study import Arm, Cell
from tlearn.runs.study.keys import groups, program_key, shares
from tlearn.runs.study.many import Looks, run_many
from tlearn.runs.study.single import run_single
from tlearn.studies.block import Compiler
from tlearn.train.mesh import make_mesh

LOOKS = Looks(metric="accuracy", points=2, measures=("distance", "cka"))
BASE = {"test_split": "test", "length": "6st", "per_class": 4, "batch_size": 10}
HEAD = {"freeze": "body", "features": "once", "optimizer": "adamw"}
FORMS = {
    "everything": ({}, {"rate": 0.2, "seed": 1}, "map"),
    "at once": ({"optimizer": "adamw", "rate": 0.01}, {"rate": 0.02, "seed": 1}, "vmap"),
    "bottom frozen": ({"freeze": "bottom:1"}, {"weight_decay": 0.1, "seed": 1}, "map"),
    "pulled": (
        {"pull_strength": 0.1, "pull_way": "proximal", "pull": "norm"},
        {"pull_strength": 0.0},
        "map",
    ),
    "pulled features": ({"pull": "features", "pull_strength": 0.1}, {"pull_strength": 1.0}, "map"),
    "drawn afresh": ({}, {"fresh": "top:1", "seed": 1}, "map"),
    "from scratch": ({}, {"fresh": "all"}, "map"),
    "cached head": (HEAD, {"rate": 0.2, "seed": 1, "per_class": 6}, "vmap"),
    "cached head in halves": (HEAD | {"frozen_dtype": "bfloat16"}, {"seed": 1}, "vmap"),
    "stages": ({"unfreeze": "gradual", "length": "3ep"}, {"layer_decay": 0.5, "seed": 1}, "map"),
    "accumulated": ({"accumulate": 2, "ema": 0.5, "clip": 0.1}, {"seed": 1}, "map"),
}


SLOW = ("bottom frozen", "pulled features", "from scratch", "accumulated")


@pytest.mark.parametrize(
    "form", [pytest.param(f, marks=pytest.mark.slow if f in SLOW else ()) for f in FORMS]
)
def test_runs_of_a_program_equal_their_single_twins(form, digits_run, tmp_path):
    common, other, how = FORMS[form]
    first = config(digits_run, **BASE | common)
    second = replace(first, **other)
    assert program_key(first) == program_key(second)
    compiler = Compiler()
    many = run_many([first, second], LOOKS, how=how, compiler=compiler)
    # A program a stage, whatever the runs differ in.
    assert compiler.compilations["train"] == (3 if form == "stages" else 1)
    for place, asked in enumerate((first, second)):
        alone = run_single(asked, LOOKS, tmp_path / str(place), lambda text: None)
        assert alone.right is not None
        assert many[place].right is not None
        near = 1e-6 if "cached head" in form else 2e-5
        assert many[place].metrics["loss"] == pytest.approx(alone.metrics["loss"], rel=near)
        assert many[place].validation["loss"] == pytest.approx(alone.validation["loss"], rel=near)
        np.testing.assert_array_equal(many[place].right, alone.right)
        assert many[place].layers == alone.layers
        for layer, far in alone.distance.items():
            assert many[place].distance[layer] == pytest.approx(far, rel=1e-4, abs=1e-7)
        if alone.pull is not None:
            assert many[place].pull == pytest.approx(alone.pull, rel=1e-5)


def test_frozen_layers_are_the_sources_and_moved_ones_are_not(digits_run):
    frozen = config(digits_run, **BASE, freeze="bottom:1")
    found = run_many([frozen], LOOKS)[0]
    assert found.distance["stem"] == 0.0
    assert found.distance["stage_1"] > 0
    assert found.cka["stem"] == pytest.approx(1.0, abs=1e-6)
    assert found.cka["stage_1"] < 1.0
    assert found.at == (3, 6)
    assert len(found.curve) == 2
    assert found.curve[-1] == found.validation["accuracy"]


def test_a_run_that_diverges_is_told_and_harms_no_other(digits_run):
    good = config(digits_run, **BASE)
    alone = run_many([good], LOOKS)[0]
    both = run_many([replace(good, rate=1e30), good], LOOKS)
    assert "not finite at step" in both[0].error
    assert both[0].metrics == {}
    assert both[1].error == ""
    assert both[1].metrics == alone.metrics


def test_blocks_that_do_not_fit_are_cut_and_give_the_same(digits_run, monkeypatch):
    asked = [config(digits_run, **BASE, seed=seed) for seed in range(3)]
    whole = run_many(asked, LOOKS)
    monkeypatch.setattr("tlearn.runs.study.many.memory_limit", lambda: 1)
    compiler = Compiler()
    cut = run_many(asked, LOOKS, compiler=compiler)
    assert [c.metrics for c in cut] == [w.metrics for w in whole]
    assert compiler.compilations["train"] == 1


@pytest.mark.parametrize("how", ["map", "vmap"])
def test_runs_spread_over_devices_are_the_same_runs(digits_run, how):
    asked = [config(digits_run, **BASE, seed=seed % 2, rate=0.1 + 0.1 * seed) for seed in range(3)]
    here = run_many(asked, LOOKS, how=how)
    spread = run_many(asked, LOOKS, how=how, mesh=make_mesh(2))
    for one, other in zip(here, spread, strict=True):
        assert other.metrics["loss"] == pytest.approx(one.metrics["loss"], rel=1e-5)
        assert other.distance == pytest.approx(one.distance, rel=1e-4)
        np.testing.assert_array_equal(other.right, one.right)


def test_what_shares_a_program(digits_run):
    base = config(digits_run, **BASE)
    same = [
        replace(base, rate=0.3),
        replace(base, seed=5, per_class=8),
        replace(base, labelled=50),
        replace(base, weight_decay=0.1, layer_decay=0.5, head_rate=2.0),
        replace(base, pull_strength=0.1),
        replace(base, fresh="top:1"),
    ]
    other = [
        replace(base, freeze="bottom:1"),
        replace(base, pull="l1", pull_strength=0.1),
        replace(base, head_dropout=0.1),
        replace(base, batch_size=16),
        replace(base, optimizer="adamw"),
        replace(base, length="7st"),
    ]
    assert {program_key(c) for c in same} == {program_key(base)}
    assert len({program_key(c) for c in (base, *other)}) == 1 + len(other)
    epochs = replace(base, length="2ep")
    assert program_key(epochs) != program_key(replace(epochs, per_class=8))
    assert program_key(epochs) != program_key(replace(epochs, labelled=50))
    assert not shares(replace(base, pull="fisher", pull_strength=0.1, fisher_data="digits"))
    arm = Arm("arm", {}, {})
    made = [Cell(arm, {}, 0, 0, "reported", c) for c in (base, *same, other[0])]
    cells = [(str(i), cell) for i, cell in enumerate(made)]
    assert [len(g) for g in groups(cells, "auto")] == [7, 1]
    assert [len(g) for g in groups(cells, "single")] == [1] * 8
