"""Law 9: exact resume; saved at any step and restored, a run ends with the same bytes.

Processes are killed elsewhere; here every step of a short run is saved and continued from, in the
middle of an accumulation and at a change of stage.

Breaks tried: `gathered` restored as zeros; the key restored as another; `restage` at every start of
`fit`; the window's sums not restored.
"""

import jax
import pytest

from tests import tiny
from tlearn.objectives import Classification
from tlearn.train.checkpoint import Checkpoints
from tlearn.train.loop import Program, Window, fit, timeline
from tlearn.train.schedules import Linear
from tlearn.train.state import SourceWeights, init, restage
from tlearn.train.step import Recipe
from tlearn.transfer.optimizer import adamw
from tlearn.transfer.plan import plans
from tlearn.transfer.strategy import Strategy

ACCUMULATE, EPOCH, STEPS = 2, 4, 8


@pytest.fixture(scope="module")
def program():
    """Head first, then everything from step 4 on; two batches an update; averaged weights."""
    network = tiny.model(stage_blocks=(1,), stage_widths=(4,))
    params, _ = tiny.drawn(network)
    rows = plans(params, Strategy(unfreeze="head-first"), layers=network.body.layer_names)
    line = timeline(rows, steps_per_epoch=EPOCH, steps=STEPS, accumulate=ACCUMULATE)
    assert line.starts == (0, 4)
    recipe = Recipe(optimizer=adamw(1e-2, Linear()), accumulate=ACCUMULATE, ema=0.9)
    made = Program(network, rows, Classification(tiny.CLASSES), recipe, line)
    for stage, plan in enumerate(rows):
        made._compiled[stage] = tiny.compiled(network, plan, recipe)
    return made


def beginning(program):
    params, statistics = tiny.drawn(program.model)
    return init(
        program.plans[0],
        params,
        statistics,
        program.recipe.optimizer,
        total=STEPS // ACCUMULATE,
        key=jax.random.key(0),
        accumulate=ACCUMULATE,
        ema=True,
    )


def batches(step):
    while True:
        yield tiny.batch(step, real=8 - step % 3)
        step += 1


def go(program, state, window=None, checkpoints=None):
    window = Window() if window is None else window
    events = []
    given = batches(int(state.step))
    steps = fit(program, state, given, SourceWeights(), window=window, report_every=3)
    for state, event in steps:  # the newest state is the one to keep
        if event is not None:
            events.append(event)
        if checkpoints is not None:
            extra = {"stage": int(state.stage), "window": window.read()}
            checkpoints.save(int(state.step), state, extra)
    return state, events


@pytest.fixture(scope="module")
def whole(program, tmp_path_factory):
    """An uninterrupted run, and one that was saved after every step."""
    end, events = go(program, beginning(program))
    folder = tmp_path_factory.mktemp("run")
    with Checkpoints(folder, keep=None) as checkpoints:
        saved, saved_events = go(program, beginning(program), checkpoints=checkpoints)
        checkpoints.wait()
        assert checkpoints.steps() == list(range(1, STEPS + 1))
    assert tiny.differing(end, saved) == []
    assert events == saved_events
    return tiny.host(end), events, folder


def template(program, stage):
    state = beginning(program)
    if stage:
        state = restage(state, program.plans[stage], program.recipe.optimizer, stage)
    return state


# 4 is the last step of the first stage, 5 the first of the second; odd ones are mid-accumulation.
@pytest.mark.parametrize("at", range(1, STEPS + 1))
def test_a_run_continued_at_any_step_ends_with_the_same_bytes(program, whole, at):
    end, events, folder = whole
    with Checkpoints(folder, keep=None) as checkpoints:
        step, state, extra = checkpoints.restore(
            lambda extra: template(program, extra["stage"]), step=at
        )
    assert step == int(state.step) == at
    assert extra["stage"] == (at > EPOCH)
    final, later = go(program, state, Window(extra["window"]))
    assert tiny.differing(end, final) == []
    assert later == [event for event in events if event.step > at]


def test_what_is_compared_would_show_a_lost_piece(program, whole):
    """The bytes at the end depend on every part of the state."""
    end, _, folder = whole
    with Checkpoints(folder, keep=None) as checkpoints:
        _, state, _ = checkpoints.restore(lambda e: template(program, e["stage"]), step=5)
    zero = jax.tree.map(lambda x: x * 0, state.gathered)
    for lost in (
        {"gathered": zero},
        {"key": jax.random.key(1)},
        {"slots": jax.tree.map(lambda x: x * 0, state.slots)},
        {"update": state.update + 1},
        {"ema": {path: value + 1 for path, value in state.ema.items()}},
    ):
        copy = jax.tree.map(lambda x: x.copy(), state.replace(**lost))
        assert tiny.differing(end, go(program, copy)[0]) != []
