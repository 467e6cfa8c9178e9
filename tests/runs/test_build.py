"""From a config to the parts of a run: what each field becomes, before anything is trained."""

import dataclasses

import jax
import numpy as np
import pytest
from small_runs import BODY, NEW, config

from tlearn import hub
from tlearn.data import DataError
from tlearn.model import initialise
from tlearn.runs.build import FOLDED, build
from tlearn.runs.config import BodyConfig, DataConfig, RunConfig, StrategyConfig, TrainConfig
from tlearn.runs.config import replace as change
from tlearn.runs.parts import make_optimizer, make_strategy, training_steps
from tlearn.runs.settings import read_setting
from tlearn.train.random import stream
from tlearn.transfer.pull import Pull


def planned(source, **changes):
    """A run built from shapes alone."""
    return build(config(source, **changes), draw=False)


def test_settings_are_read_as_what_they_look_like():
    read = dict(
        map(read_setting, ["stage_widths=8,16", "stage_blocks=2,", "norm=group", "drop_path=0.1"])
    )
    assert read == {
        "stage_widths": (8, 16),
        "stage_blocks": (2,),
        "norm": "group",
        "drop_path": 0.1,
    }
    assert read_setting("remat=true") == ("remat", True)
    for wrong in ("stage_widths", "=8", "stage_widths="):
        with pytest.raises(ValueError, match="write field=value, as in stage_widths=8,16,32"):
            read_setting(wrong)


def test_factors_by_layer_and_by_parameter_become_a_strategy():
    asked = StrategyConfig(pull_strength=0.1, pull_layers="stem=0;stage_.*=0.5", rates="head/.*=10")
    strategy = make_strategy(asked)
    assert strategy.pull.layers == (("stem", 0.0), ("stage_.*", 0.5))
    assert strategy.rates == (("head/.*", 10.0),)
    with pytest.raises(ValueError, match="'stem', 'x=much' cannot be read; write PATTERN=FACTOR"):
        make_strategy(StrategyConfig(pull_strength=0.1, pull_layers="stem;x=much"))
    with pytest.raises(ValueError, match="a strength above 0"):
        make_strategy(StrategyConfig(pull_layers="stem=0"))


def test_freeze_rules_and_fresh_layers_become_a_strategy():
    asked = StrategyConfig(freeze="body/stem/.*=frozen; .*=free", fresh="stage_2, stage_3")
    strategy = make_strategy(asked)
    assert strategy.freeze == (("body/stem/.*", True), (".*", False))
    assert strategy.fresh == ("stage_2", "stage_3")
    assert make_strategy(StrategyConfig(fresh="top:2")).fresh == "top:2"
    assert make_strategy(StrategyConfig()).head_decay is None
    assert make_strategy(StrategyConfig(head_decay=0.0)).head_decay == 0.0
    assert make_strategy(StrategyConfig(norms="eval")).modes == ((".*", "eval"),)
    with pytest.raises(ValueError, match="write PATTERN=frozen or PATTERN=free"):
        make_strategy(StrategyConfig(freeze="body/.*=cold"))


def test_pulls_on_what_is_computed_leave_the_parameters_alone():
    on_weights = make_strategy(StrategyConfig(pull="norm", pull_strength=0.1, pull_way="proximal"))
    assert on_weights.pull == Pull(form="norm", strength=0.1, way="proximal")
    for pull in ("features", "logits"):
        assert make_strategy(StrategyConfig(pull=pull, pull_strength=0.1)).pull == Pull()


def test_momentum_belongs_to_sgd():
    asked = RunConfig(data=DataConfig(data="digits"))
    assert make_optimizer(asked, 4).momentum == 0.9
    assert make_optimizer(change(asked, optimizer="adamw"), 4).momentum == 0.0
    assert make_optimizer(asked, 4).clip is None
    assert make_optimizer(change(asked, clip=1.0), 4).clip == 1.0
    epochs = make_optimizer(change(asked, schedule="cosine:warmup=5ep", accumulate=2), 8).schedule
    assert str(epochs) == "cosine:warmup=20st"


def test_a_training_is_a_whole_number_of_updates():
    asked = RunConfig(data=DataConfig(data="digits"), train=TrainConfig(length="3ep"))
    assert training_steps(asked, 7) == 21
    assert training_steps(change(asked, accumulate=4), 7) == 20
    assert training_steps(change(asked, length="100ex"), 7) == 4
    with pytest.raises(ValueError, match="less than one update of 8 steps"):
        training_steps(change(asked, length="1ep", accumulate=8), 7)


def test_a_body_from_nothing_takes_the_channels_of_its_pictures():
    built = build(RunConfig(data=DataConfig(data="digits"), body=BODY), draw=False)
    assert built.model.body.in_channels == 1
    assert built.report is None
    assert built.fresh == {row.path for row in built.plans[0].rows}
    assert built.program.recipe.source_head is None
    assert set(built.digests) == {"data train", "data validation"}
    with pytest.raises(ValueError, match="without a source all is fresh"):
        build(RunConfig(data=DataConfig(data="digits"), strategy=StrategyConfig(fresh="top:1")))
    with pytest.raises(ValueError, match="unknown body 'resnt20'; did you mean 'resnet20'"):
        build(RunConfig(data=DataConfig(data="digits"), body=BodyConfig(body="resnt20")))


def test_a_source_brings_body_facts_and_weights(digits_run):
    source = hub.load(f"run:{digits_run}")
    built = build(config(digits_run))
    assert built.task.facts == source.facts
    assert built.task.label_names == NEW
    state = built.start()
    for path, value in state.params.items():
        if path.startswith("body/"):
            np.testing.assert_array_equal(value, source.params[path])
    assert not np.any(state.params["head/dense/kernel"])  # Drawn as zeros, the default.
    scaled = build(config(digits_run, head_init="scaled")).start().params["head/dense/kernel"]
    assert np.std(scaled) > 0.1
    assert built.fresh == {"head/dense/kernel", "head/dense/bias"}
    assert built.digests["source"] == source.digest
    # The state's arrays are its own: a step gives them away.
    again = built.start()
    assert all(v is not again.params[p] for p, v in state.params.items())


def test_settings_change_what_a_source_says_of_its_body(digits_run):
    source = hub.load(f"run:{digits_run}")
    changed = build(config(digits_run, settings=("drop_path=0.3",)))
    assert source.body["drop_path"] != changed.model.body.drop_path == 0.3
    for path, value in changed.start().params.items():
        if path.startswith("body/"):
            np.testing.assert_array_equal(value, source.params[path])
    with pytest.raises(ValueError, match="did you mean 'drop_path'"):
        planned(digits_run, settings=("drop_pth=0.3",))
    # Weights of another shape are not there.
    with pytest.raises(ValueError, match="body/stage_1"):
        planned(digits_run, settings=("stage_widths=24,",))


def test_what_is_fresh_is_drawn_as_the_whole_model_would_be(digits_run):
    key = stream(jax.random.key(0), "init")
    built = build(config(digits_run, fresh="top:1", head_init="scaled"))
    drawn, statistics = initialise(built.model, key, *built.inputs)
    state = built.start()
    assert {path.split("/")[0] for path in built.fresh} == {"body", "head"}
    for path in built.fresh:
        np.testing.assert_allclose(state.params[path], drawn[path], rtol=1e-6)
    for path, value in statistics.items():
        same = np.array_equal(state.collections[path], value)
        assert same == path.startswith("body/stage_1/"), path


def test_layers_drawn_afresh_are_neither_loaded_nor_pulled(digits_run):
    built = planned(digits_run, fresh="top:1", pull_strength=0.1)
    fresh = {path for path in built.fresh if path.startswith("body/")}
    assert {path.split("/")[1] for path in fresh} == {"stage_1"}
    assert set(built.source.params) == {
        row.path for row in built.plans[0].rows if row.path.startswith("body/stem/")
    }


def test_stages_are_laid_out_over_the_training(digits_run):
    built = planned(digits_run, unfreeze="gradual", length="6ep", stage_epochs=1.5)
    assert [len(plan.trainable) for plan in built.plans] == [2, 8, 11]
    assert built.program.timeline.starts == (0, 3, 6)
    assert built.program.timeline.steps == 12


@pytest.mark.parametrize(
    ("pull", "held"),
    [("l2sp", "params"), ("features", "collections"), ("logits", "head"), ("fisher", "fisher")],
)
def test_a_pull_holds_on_to_what_it_needs(digits_run, pull, held):
    data = {"fisher_data": "digits"} if pull == "fisher" else {}
    built = planned(digits_run, pull=pull, pull_strength=0.1, **data)
    assert built.source.params
    assert getattr(built.source, held)
    on_function = built.program.recipe.function_pull
    assert (on_function is not None) == (pull in ("features", "logits"))
    nothing = planned(digits_run)
    assert not nothing.source.params
    assert nothing.source.fisher is None


def test_building_from_shapes_refuses_what_building_refuses(digits_run):
    for changes in ({"freeze": "bottom:3"}, {"length": "0st"}, {"head_weights": "source"}):
        with pytest.raises(ValueError) as drawn:  # noqa: PT011 # compared below
            build(config(digits_run, **changes))
        with pytest.raises(ValueError) as shapes:  # noqa: PT011 # compared below
            planned(digits_run, **changes)
        assert str(drawn.value) == str(shapes.value)


def test_examples_per_class_follow_the_seed(digits_run):
    one, same, other = (planned(digits_run, per_class=4, seed=seed) for seed in (0, 0, 1))
    assert len(one.task.train) == 20
    assert one.digests["data train"] == same.digests["data train"]
    assert one.digests["data train"] != other.digests["data train"]
    assert len(planned(digits_run, per_class=0, labelled=33).task.train) == 33
    with pytest.raises(DataError, match="4 examples per class and 33 in all"):
        planned(digits_run, per_class=4, labelled=33)


def test_folded_normalisation_is_warned_of_where_it_would_wake(tmp_path, digits_run):
    loaded = hub.load(f"run:{digits_run}")
    still = {path: np.zeros_like(v) for path, v in loaded.collections.items()}
    folder = tmp_path / "folded"
    hub.save_model(folder, dataclasses.replace(loaded, collections=still))
    said: list[str] = []
    base = RunConfig(data=DataConfig(data="digits"), source=f"run:{folder}")
    build(base, said.append, draw=False)
    assert FOLDED in said
    said.clear()
    build(change(base, norms="eval"), said.append, draw=False)
    build(change(base, freeze="body"), said.append, draw=False)
    build(change(base, source=f"run:{digits_run}"), said.append, draw=False)
    assert FOLDED not in said


def test_layers_that_stay_as_they_were_drawn_are_told(digits_run):
    def told(**changes):
        lines = []
        build(config(digits_run, **changes), lines.append, draw=False)
        return [line for line in lines if "random to the end" in line]

    assert told(freeze="body", fresh="top:1") == [
        "warning: stage_1: drawn afresh and frozen, so random to the end"
    ]
    assert told(fresh="top:1") == told(freeze="body") == []
