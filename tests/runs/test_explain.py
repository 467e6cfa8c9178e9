"""What `explain` says of a run: the plan, and FLOPs by XLA's own count."""

import re

import jax
import pytest
from small_runs import config

from tlearn.runs.build import build
from tlearn.runs.explain import explain, step_flops


def shares(text: str) -> list[int]:
    return [int(share) for share in re.findall(r"(\d+)% of full fine-tuning", text)]


def test_it_says_what_a_run_would_do(digits_run, tmp_path):
    text = explain(config(digits_run, freeze="bottom:1", pull_strength=0.1))
    assert "5 classes: 5, 6, 7, 8, 9" in text
    assert "fresh" in text
    assert re.search(r"body/stem/conv/kernel +3×3×1×16 +stem +loaded +frozen", text)
    assert re.search(r"head/dense/kernel +16×5 +head +fresh +yes", text)
    assert "pull l2sp λ=0.1" in text
    assert "12 steps of 20, 6 epochs, 12 updates" in text
    assert "optimizer 0.0181 MiB" in text  # 4,741 trained numbers of 4 bytes.


def test_a_step_costs_what_its_stage_trains(digits_run):
    text = explain(config(digits_run, unfreeze="gradual", length="6ep"))
    body, most, whole = shares(text)
    # A third of a step is its forward pass, all that a frozen body takes.
    assert 30 <= body <= 40
    assert body < most < whole == 100
    assert "stage 0, from step 0: trains 85" in text
    assert "stage 2, from step 4:" in text
    assert text.count("parameter  ") == 1


def test_a_pull_on_features_runs_the_source_as_well(digits_run):
    free, pulled = (
        shares(explain(config(digits_run, **changes)))[0]
        for changes in ({}, {"pull": "features", "pull_strength": 0.1})
    )
    assert free == 100
    assert 125 <= pulled <= 145


def test_its_count_is_that_of_the_compiled_step(digits_run):
    built = build(config(digits_run, freeze="bottom:1"))
    program = built.program
    counted = step_flops(built, built.plans[0], program.recipe, built.source)
    batch = built.task.train_batches(20, 0).at(0)
    compiled = program.step(0).lower(built.start(), batch, built.source).compile()
    assert counted == pytest.approx(compiled.cost_analysis()["flops"], rel=0.1)


def test_nothing_is_compiled_or_drawn(digits_run, monkeypatch):
    def refuse(*args, **settings):
        raise AssertionError("compiled something")

    monkeypatch.setattr(jax.stages.Lowered, "compile", refuse)
    monkeypatch.setattr("tlearn.runs.initial.initialise", refuse)
    assert explain(config(digits_run, head_dropout=0.1, ema=0.9, accumulate=2))


def test_it_refuses_what_the_run_would_refuse(digits_run):
    with pytest.raises(ValueError, match="asks for 7 layers"):
        explain(config(digits_run, freeze="bottom:7"))
    with pytest.raises(ValueError, match="too short for its 3 stages"):
        explain(config(digits_run, unfreeze="gradual", length="2ep"))
