"""The step: accumulation is exact, averages follow their equation, a bad batch changes nothing.

Breaks tried: means of batch means under accumulation; `gathered` not reset after an update; the
average updated at every batch; `_choose` on the finite flag removed; statistics of the bad batch
kept; `step` counted up over it; `sound` forgotten.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tlearn.train.schedules import Constant
from tlearn.train.state import SourceWeights, init
from tlearn.train.step import Recipe
from tlearn.transfer.optimizer import adamw, sgd
from tlearn.transfer.plan import plan
from tlearn.transfer.strategy import Strategy

# Group normalisation: no statistics over a batch, whose parts would differ from the whole.
GROUP = tiny.still(norm="group", norm_groups=2)
OPTIMIZER = adamw(1e-2, Constant(), clip=1.0)
TOP = Strategy(freeze="bottom:1")


def whole_batch():
    """Sixteen rows of which 3, 4, 1 and 2 of each four are real."""
    given = tiny.batch(size=16)
    given["mask"] = np.concatenate([np.arange(4) < real for real in (3, 4, 1, 2)])
    return given | {"mask": given["mask"].astype(np.float32)}


def test_four_batches_of_four_are_one_of_sixteen():
    ends = []
    for accumulate in (1, 4):
        _, _, state, step, source = tiny.start(
            TOP, OPTIMIZER, network=GROUP, recipe={"accumulate": accumulate}
        )
        given = whole_batch()
        for _ in range(2):  # Two updates: the gathered sums must start anew.
            for part in np.split(np.arange(16), accumulate):
                state, log = step(state, {n: a[part] for n, a in given.items()}, source)
        assert int(state.update) == 2
        assert int(state.step) == 2 * accumulate
        ends.append((state, log))
    (one, one_log), (four, four_log) = ends
    for path, value in one.params.items():
        np.testing.assert_allclose(four.params[path], value, atol=1e-6, err_msg=path)
    assert four_log["gradient_norm"] == pytest.approx(float(one_log["gradient_norm"]), rel=1e-5)
    for leaf in jax.tree.leaves(four.gathered):
        assert not np.asarray(leaf).any()


def test_logs_are_sums_over_real_examples():
    _, rows, state, step, source = tiny.start(TOP, OPTIMIZER, network=GROUP)
    given = whole_batch()
    loss, _ = tiny.gradients(GROUP, rows, state, given)
    _, log = step(state, given, source)
    assert log["count"] == 10
    assert log["loss"] == pytest.approx(10 * loss, rel=1e-5)
    assert 0 <= log["accuracy"] <= 10


def test_averages_follow_their_equation():
    decay, accumulate = 0.8, 2
    _, _, state, step, source = tiny.start(
        TOP, sgd(0.1, Constant()), network=GROUP, recipe={"ema": decay, "accumulate": accumulate}
    )
    want = {path: np.asarray(value, np.float64) for path, value in state.trainable.items()}
    for i in range(4):
        state, log = step(state, tiny.batch(i), source)
        if log["updated"]:
            want = {
                path: decay * value + (1 - decay) * np.asarray(state.trainable[path], np.float64)
                for path, value in want.items()
            }
        for path, value in want.items():
            np.testing.assert_allclose(state.ema[path], value, atol=1e-6, err_msg=path)
    assert any(np.abs(state.ema[p] - state.trainable[p]).max() > 1e-4 for p in want)


@pytest.fixture(scope="module")
def broken():
    """A state two steps in and its host copy; batch statistics, dropout, averages, the lot."""

    def begin():
        recipe = {"ema": 0.9, "accumulate": 2}
        _, _, state, step, source = tiny.start(
            TOP, OPTIMIZER, network=tiny.model(stage_blocks=(1,), stage_widths=(4,)), recipe=recipe
        )
        state, _ = tiny.run(state, step, source, 3)
        return state, step, source

    return begin


@pytest.mark.parametrize("fault", ["nan picture", "infinite picture", "nan weight"])
def test_a_bad_batch_leaves_the_state_bit_equal(broken, fault):
    state, step, source = broken()
    given = tiny.batch(3)
    if fault == "nan weight":
        path = "body/stage_1/block_01/conv_1/kernel"
        bad = state.trainable[path].at[0, 0, 0, 0].set(jnp.nan)
        state = state.replace(trainable=state.trainable | {path: bad})
    else:
        given["image"][2, 0, 0, 0] = np.nan if "nan" in fault else np.inf
    before = tiny.host(state)
    state, log = step(state, given, source)
    assert not log["finite"]
    assert tiny.differing(before, state) == [".sound"]
    assert int(state.step) == 3
    # Nor does it move again, whatever comes.
    before = tiny.host(state)
    state, log = step(state, tiny.batch(4), source)
    assert not log["finite"]
    assert tiny.differing(before, state) == []


def test_padding_may_hold_anything_finite():
    ends = []
    for value in (0.0, 1e3):
        _, _, state, step, source = tiny.start(TOP, OPTIMIZER, network=GROUP)
        given = tiny.batch(real=5)
        given["image"][5:] = value
        ends.append(tiny.host(step(state, given, source)[0]))
    for path in ends[0]:
        np.testing.assert_allclose(ends[0][path], ends[1][path], atol=1e-7)


def test_a_batch_of_nothing_but_padding_moves_nothing_under_plain_sgd():
    _, _, state, step, source = tiny.start(TOP, sgd(0.1, Constant()), network=GROUP)
    before = tiny.host(state.trainable)
    state, log = step(state, tiny.batch(real=0), source)
    assert log["finite"]
    assert log["count"] == 0
    assert tiny.differing(before, state.trainable) == []


def test_the_state_does_not_take_the_callers_arrays_with_it():
    params, statistics = tiny.drawn(GROUP)
    params = {path: jnp.asarray(value) for path, value in params.items()}
    rows = plan(params, TOP, layers=GROUP.body.layer_names)
    state = init(rows, params, statistics, OPTIMIZER, total=10, key=jax.random.key(0))
    step = tiny.compiled(GROUP, rows, Recipe(optimizer=OPTIMIZER))
    step(state, tiny.batch(), SourceWeights())
    assert all(np.isfinite(value).all() for value in params.values())


def test_a_training_of_no_updates_is_an_error():
    params, statistics = tiny.drawn(GROUP)
    rows = plan(params, TOP, layers=GROUP.body.layer_names)
    with pytest.raises(ValueError, match="0 updates trains nothing"):
        init(rows, params, statistics, OPTIMIZER, total=0, key=jax.random.key(0))


@pytest.mark.parametrize(
    ("settings", "says"), [({"accumulate": 0}, "at least 1"), ({"ema": 1.0}, "between 0 and 1")]
)
def test_recipes_that_cannot_be_cooked(settings, says):
    with pytest.raises(ValueError, match=says):
        Recipe(optimizer=OPTIMIZER, **settings)
