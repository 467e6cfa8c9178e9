"""Arms side by side: paired, sharing programs, and each equal to the run it stands for."""

import dataclasses

import numpy as np
import pytest

from tests import tiny
from tlearn import heads
from tlearn.model import Model
from tlearn.studies.arms import Bench, Setting, run_cell, subsets
from tlearn.train.schedules import Constant
from tlearn.transfer.optimizer import adamw, sgd
from tlearn.transfer.pull import Pull
from tlearn.transfer.strategy import Strategy

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def bench():
    """A source, drawn rather than trained, and forty pictures of three classes."""
    network = Model(tiny.body(drop_path=0.0), heads.Linear(3, kernel_init="scaled"))
    params, collections = tiny.drawn(network, 7)
    rng = np.random.default_rng(0)
    label = np.arange(42, dtype=np.int32) % 3
    image = rng.normal(size=(42, 8, 8, 1)).astype(np.float32) + label[:, None, None, None]
    return Bench(
        model=network,
        params=params,
        collections=collections,
        examples=image,
        label=label,
        steps=6,
        batch_size=4,
        points=2,
    )


@pytest.fixture(scope="module")
def drawn(bench):
    return subsets(bench.label, (2, 5), SEEDS, among=np.arange(42))


def cell(bench, drawn, strategy=None, optimizer=None, **where):
    setting = Setting(
        name="arm",
        strategy=strategy or Strategy(),
        optimizer=optimizer or sgd(0.1, Constant()),
        **where,
    )
    watch = (bench.examples[:9], bench.label[:9])
    return run_cell(bench, setting, drawn[5], SEEDS, evaluate_on=bench.examples, watch=watch)


def test_draws_are_nested_balanced_and_of_the_seed(bench, drawn):
    for few, many in zip(drawn[2], drawn[5], strict=True):
        assert set(few) <= set(many)
        assert np.bincount(bench.label[many]).tolist() == [5, 5, 5]
    assert not np.array_equal(drawn[5][0], drawn[5][1])
    with pytest.raises(ValueError, match="a class has only 14"):
        subsets(bench.label, (15,), SEEDS, among=np.arange(42))


def test_an_arm_of_no_pull_is_bit_equal_to_one_of_strength_zero(bench, drawn):
    plain = cell(bench, drawn)
    zero = cell(bench, drawn, Strategy(pull=Pull(form="l2sp", strength=0.0)))
    assert np.array_equal(plain.logits, zero.logits)
    assert plain.pull == 0


def test_a_strong_pull_holds_the_body_and_the_total_is_told(bench, drawn):
    free = cell(bench, drawn)
    held = cell(bench, drawn, Strategy(pull=Pull(form="l2sp", strength=1e6, way="proximal")))
    assert held.pull == pytest.approx(6 * 0.1 * 1e6, rel=1e-5)  # 6 updates of rate 0.1
    for layer, moved in free.distance.items():
        assert (held.distance[layer] < 1e-3 * moved).all()


def test_numbers_alone_share_a_program(bench, drawn):
    before = len(bench._steps)
    cell(bench, drawn, Strategy(layer_decay=0.3))
    cell(bench, drawn, Strategy(layer_decay=0.7), sgd(0.02, Constant()))
    cell(bench, drawn, scratch=True)
    assert len(bench._steps) <= before + 1


def test_scratch_forgets_the_source_and_pairs_share_the_head(bench, drawn):
    other = dataclasses.replace(
        bench, params={p: v + 1 for p, v in bench.params.items()}, _steps=bench._steps
    )
    assert np.array_equal(
        cell(bench, drawn, scratch=True).logits, cell(other, drawn, scratch=True).logits
    )
    assert not np.array_equal(cell(bench, drawn).logits, cell(other, drawn).logits)


def test_cached_features_give_the_frozen_body_s_training(bench, drawn):
    frozen = Strategy(freeze="body", head_decay=0.01)
    slow, fast = cell(bench, drawn, frozen), cell(bench, drawn, frozen, cached=True)
    np.testing.assert_allclose(fast.logits, slow.logits, atol=1e-5)
    assert np.array_equal(fast.curve, slow.curve)
    with pytest.raises(ValueError, match="frozen"):
        cell(bench, drawn, cached=True)


def test_layers_drawn_afresh_differ_from_seed_to_seed(bench, drawn):
    still = cell(bench, drawn, Strategy(fresh="top:1"), sgd(1e-9, Constant()))
    assert (still.distance["stage_2"] > 0.1).all()
    assert (still.distance["stem"] < 1e-5).all()
    assert len(set(still.distance["stage_2"].tolist())) == 3


def test_a_run_that_diverges_is_named(bench, drawn):
    wild = cell(bench, drawn, optimizer=sgd(3e38, Constant()))
    assert wild.failed == (0, 1, 2)
    assert cell(bench, drawn, optimizer=adamw(1e-3, Constant())).failed == ()
