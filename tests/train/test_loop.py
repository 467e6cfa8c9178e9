"""The loop: stages where they belong, slots carried, bad batches named, reports that add up.

Breaks tried: `_carry` returning the new slots; one Adam count for all parameters; stages that begin
within an update; the window read only at reports (a bad batch just before a change of stage then
loses its state); `explain_non_finite` naming padding rows.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tlearn.objectives import Classification
from tlearn.train.loop import NonFiniteLoss, Program, Window, explain_non_finite, fit, timeline
from tlearn.train.schedules import Constant
from tlearn.train.state import SourceWeights, init, restage
from tlearn.train.step import Recipe
from tlearn.transfer.optimizer import adamw, sgd
from tlearn.transfer.plan import plans
from tlearn.transfer.strategy import Strategy

NETWORK = tiny.still()
LAYERS = NETWORK.body.layer_names
ADAM = adamw(1e-2, Constant())


def staged(unfreeze="head-first", epochs=1.0):
    params, _ = tiny.drawn(NETWORK)
    return plans(params, Strategy(unfreeze=unfreeze, stage_epochs=epochs), layers=LAYERS)


def beginning(rows, optimizer=ADAM, **settings):
    params, statistics = tiny.drawn(NETWORK)
    return init(rows[0], params, statistics, optimizer, total=10, key=jax.random.key(0), **settings)


def program(rows, steps, *, epoch=2, optimizer=ADAM):
    recipe = Recipe(optimizer=optimizer)
    line = timeline(rows, steps_per_epoch=epoch, steps=steps)
    made = Program(NETWORK, rows, Classification(tiny.CLASSES), recipe, line)
    for stage, plan in enumerate(rows):
        made._compiled[stage] = tiny.compiled(NETWORK, plan, recipe)
    return made


def batches(step=0, bad=()):
    while True:
        given = tiny.batch(step, real=8 - step % 2)
        if step in bad:
            given["image"][0] = np.nan
        yield given
        step += 1


def test_stages_begin_where_they_should():
    line = timeline(staged("gradual"), steps_per_epoch=3, steps=10)
    assert line.starts == (0, 3, 6)
    assert [line.stage(step) for step in range(10)] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    # At the end of an update, where one takes several batches.
    assert timeline(staged("gradual"), steps_per_epoch=3, steps=12, accumulate=2).starts == (
        0,
        4,
        6,
    )
    assert timeline(staged(epochs=0.5), steps_per_epoch=4, steps=4).starts == (0, 2)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"steps": 6}, r"6 steps \(2 epochs\) is too short for its 3 stages, .* \[0, 3, 6\]"),
        ({"steps": 9, "accumulate": 2}, "does not end with an update of 2 batches; train 8"),
        ({"steps": 0}, "does not end with an update"),
        ({"steps": 12, "accumulate": 6}, "too short for its 3 stages"),
    ],
)
def test_a_training_that_does_not_fit_its_stages_is_an_error(settings, says):
    with pytest.raises(ValueError, match=says):
        timeline(staged("gradual"), steps_per_epoch=3, **settings)


@pytest.mark.parametrize("unfreeze", ["gradual", "chain-thaw", "head-first"])
def test_restaging_keeps_values_slots_and_averages_bit_for_bit(unfreeze):
    rows = staged(unfreeze)
    state = beginning(rows, ema=True)
    params = tiny.host(state.params)
    for stage in range(1, len(rows)):
        slots = jax.tree.map(lambda x: x + 3, state.slots)
        state = state.replace(slots=slots, ema={p: v + 1 for p, v in state.ema.items()})
        first, count, averaged = (
            {p: np.array(v) for p, v in flat.items()}
            for flat in (state.slots.first, state.slots.count, state.ema)
        )
        state = restage(state, rows[stage], ADAM, stage)
        assert int(state.stage) == stage
        assert tiny.differing(params, state.params) == []
        assert set(state.trainable) == set(state.slots.first) == set(state.ema)
        assert set(state.trainable) == set(rows[stage].trainable)
        for path, value in state.trainable.items():
            went_on = path in first
            np.testing.assert_array_equal(state.slots.first[path], first.get(path, 0 * value))
            assert int(state.slots.count[path]) == (count[path] if went_on else 0)
            np.testing.assert_array_equal(state.ema[path], averaged.get(path, value))
        for name in ("rate", "decay", "pull"):
            assert len(state.numbers[name]) == len(state.trainable)


def test_a_late_parameter_takes_its_first_adam_step_at_its_own_pace():
    """Its step is the rate, as of every first step; with the head's count it would be three."""
    rows = staged()
    state = beginning(rows)
    state = state.replace(
        slots=state.slots._replace(count={p: c + 5000 for p, c in state.slots.count.items()})
    )
    state = restage(state, rows[1], ADAM, 1)
    before = {p: np.array(v) for p, v in state.trainable.items()}
    state, _ = program(rows, 8).step(1)(state, tiny.batch(), SourceWeights())
    path = "body/stage_1/block_01/conv_1/kernel"
    moved = np.abs(np.asarray(state.trainable[path]) - before[path])
    np.testing.assert_allclose(moved, 0.01, rtol=0.02)


def test_fit_walks_the_stages_and_reports_means():
    rows = staged()
    made = program(rows, 5)
    start = beginning(rows)
    frozen = tiny.host({p: v for p, v in start.params.items() if p.startswith("body/")})
    losses, counts, events, stages = [], [], [], []
    for state, event in fit(made, start, batches(), SourceWeights(), report_every=2):
        stages.append(int(state.stage))
        body = {p: v for p, v in state.params.items() if p.startswith("body/")}
        assert (tiny.differing(frozen, body) == []) == (int(state.step) <= 2)
        if event is not None:
            events.append(event)
    assert stages == [0, 0, 1, 1, 1]
    assert [event.step for event in events] == [2, 4, 5]
    assert [event.epoch for event in events] == [1.0, 2.0, 2.5]
    assert [event.stage for event in events] == [0, 1, 1]
    # The means, from the steps themselves.
    state = beginning(rows)
    for i in range(2):
        state, log = made.step(0)(state, tiny.batch(i, real=8 - i % 2), SourceWeights())
        losses.append(float(log["loss"]))
        counts.append(float(log["count"]))
    assert counts == [8, 7]
    assert events[0].metrics["loss"] == pytest.approx(sum(losses) / 15, rel=1e-6)
    assert events[0].metrics["gradient_norm"] == float(log["gradient_norm"])
    assert set(events[0].metrics) == {
        "loss", "accuracy", "gradient_norm", "rate", "pull_step",
    }  # fmt: skip


def test_asking_more_often_changes_no_digit():
    rows = staged()
    made = program(rows, 6)
    ends, sums = [], []
    for ask in (False, True):
        window = Window()
        for state, event in fit(made, beginning(rows), batches(), SourceWeights(), window=window):  # noqa: B007
            if ask:
                window.read()
        ends.append(tiny.host(state))
        sums.append(event)
    assert tiny.differing(*ends) == []
    assert sums[0] == sums[1]


def test_still_numbers_are_those_of_the_last_update():
    window = Window()
    log = {"loss": 1.0, "count": 1.0, "rate": 0.5, "gradient_norm": 7.0, "pull_step": 0.0}
    for norm, updated in ((7.0, False), (3.0, True), (9.0, False)):
        step = log | {"gradient_norm": norm, "updated": updated, "finite": True}
        window.add({name: jnp.asarray(value) for name, value in step.items()})
    assert window.read()["gradient_norm"] == 3.0
    assert window.read()["loss"] == 3.0


@pytest.mark.parametrize("bad", [0, 1, 2, 3])
def test_a_bad_batch_stops_with_its_step_and_a_state_worth_keeping(bad):
    """Also when it is the last of a stage (1), whose state must not be rebuilt."""
    rows = staged()
    made = program(rows, 8)
    for good, _ in fit(made, beginning(rows), batches(), SourceWeights()):
        if int(good.step) == bad:
            want = tiny.host(good)
            break
    else:
        want = tiny.host(beginning(rows))
    if bad == 0:
        want = tiny.host(beginning(rows))
    with pytest.raises(NonFiniteLoss, match=f"at step {bad}") as error:
        for state, _ in fit(made, beginning(rows), batches(bad={bad}), SourceWeights()):  # noqa: B007
            pass
    assert error.value.step == bad == int(state.step)
    allowed = [".sound"]
    if bad == 2:  # The first batch of the second stage: the state is already of that stage.
        assert int(state.stage) == 1
        want = tiny.host(restage(_at(made, rows, 2), rows[1], ADAM, 1))
    assert tiny.differing(want, state) == allowed
    # With the batch mended it goes on from there, to the bytes of a run that never stumbled.
    for mended, _ in fit(made, state, batches(bad), SourceWeights()):  # noqa: B007
        pass
    for whole, _ in fit(made, beginning(rows), batches(), SourceWeights()):  # noqa: B007
        pass
    assert tiny.differing(whole, mended) == []


def _at(made, rows, step):
    for state, _ in fit(made, beginning(rows), batches(), SourceWeights()):
        if int(state.step) == step:
            return state
    return None


def test_where_it_stopped_is_explained():
    given = {name: array for name, array in tiny.batch(4, real=3).items()}
    text = explain_non_finite(4, given)
    assert "step 4" in text
    assert "[32, 33, 34]" in text
    assert "lower the rate" in text
    given["image"] = given["image"].copy()
    given["image"][1] = np.inf
    text = explain_non_finite(4, given)
    assert "non-finite numbers in ['image']" in text
    assert "lower the rate" not in text


def test_momentum_goes_on_through_a_change_of_stage():
    optimizer = sgd(0.1, Constant(), momentum=0.9)
    rows = staged()
    state = beginning(rows, optimizer)
    state = state.replace(slots=jax.tree.map(jnp.ones_like, state.slots))
    state = restage(state, rows[1], optimizer, 1)
    for path, value in state.slots.trace.items():
        np.testing.assert_array_equal(value, np.full(value.shape, path.startswith("head/")))
