"""Law 5: schedules count optimizer updates and are functions of the saved update.

Breaks tried: `multiplier(state.step, ...)`; `update` counted up at every batch; the schedule's
total taken in batches (`total * accumulate`).
"""

import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tlearn.train.schedules import Linear, SlantedTriangular
from tlearn.transfer.optimizer import sgd
from tlearn.transfer.pull import Pull
from tlearn.transfer.strategy import Strategy

NETWORK = tiny.still()
HEAD = Strategy(freeze="body")


def start(schedule, accumulate, total, strategy=HEAD):
    return tiny.start(
        strategy,
        sgd(0.5, schedule),
        network=NETWORK,
        recipe={"accumulate": accumulate},
        total=total,
    )


@pytest.mark.parametrize("schedule", [Linear(warmup="2st"), SlantedTriangular(cut="50%")])
def test_the_rate_follows_updates_not_batches(schedule):
    _, _, state, step, source = start(schedule, 3, total=4)
    rates, updates = [], []
    for i in range(12):
        state, log = step(state, tiny.batch(i), source)
        rates.append(float(log["rate"]))
        updates.append(int(state.update))
        assert bool(log["updated"]) == (i % 3 == 2)
    assert updates == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4]
    want = [0.5 * float(schedule.multiplier(update, 4)) for update in range(4)]
    assert rates == pytest.approx(np.repeat(want, 3), rel=1e-6)
    assert len(set(want)) > 1


def test_the_step_taken_is_the_rate_times_the_gradient():
    schedule = Linear(warmup="2st")
    _, rows, state, step, source = start(schedule, 1, total=4)
    for update in range(4):
        _, gradients = tiny.gradients(NETWORK, rows, state, tiny.batch(update))
        before = np.array(state.trainable["head/dense/kernel"])
        state, _ = step(state, tiny.batch(update), source)
        want = 0.5 * float(schedule.multiplier(update, 4)) * gradients["head/dense/kernel"]
        got = before - np.array(state.trainable["head/dense/kernel"])
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_the_rate_is_a_function_of_the_saved_update_alone():
    schedule = Linear()
    _, _, state, step, source = start(schedule, 3, total=4)
    state = state.replace(update=jnp.asarray(2, jnp.int32), step=jnp.asarray(0, jnp.int32))
    assert float(step(state, tiny.batch(), source)[1]["rate"]) == pytest.approx(0.5 * 0.5)


def test_the_pull_has_a_schedule_of_its_own():
    strategy = Strategy(pull=Pull(strength=2.0, schedule="linear", way="proximal"))
    _, _, state, step, source = tiny.start(
        strategy, sgd(0.5, Linear(end=0.5)), network=NETWORK, total=4
    )
    steps = []
    for i in range(4):
        state, log = step(state, tiny.batch(i), source)
        steps.append(float(log["pull_step"]))
    want = [0.5 * (1 - t / 8) * 2.0 * (1 - t / 4) for t in range(4)]
    assert steps == pytest.approx(want, rel=1e-6)
