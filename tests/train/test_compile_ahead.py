"""A step compiled while weights are read: the same step, compiled once, errors where they belong.

Breaks tried: `step` not waiting for the thread; a state of other shapes given ahead.
"""

import gc

import jax
import pytest

from tests import tiny
from tlearn.objectives import Classification
from tlearn.tracing import uncollected
from tlearn.train.loop import Program, timeline
from tlearn.train.schedules import Constant
from tlearn.train.state import SourceWeights, init
from tlearn.train.step import Recipe
from tlearn.transfer.optimizer import adamw
from tlearn.transfer.plan import plans
from tlearn.transfer.strategy import Strategy

COMPILED = "/jax/core/compile/backend_compile_duration"
ADAM = adamw(1e-2, Constant())


@pytest.fixture
def compiled():
    """Names what was compiled since the last look."""
    found = []

    def listen(name, seconds, **about):
        if name == COMPILED:
            found.append(about.get("fun_name", name))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


def made(width):
    network = tiny.still(stage_widths=(width,))
    params, statistics = tiny.drawn(network)
    rows = plans(params, Strategy(), layers=network.body.layer_names)
    line = timeline(rows, steps_per_epoch=2, steps=4)
    objective = Classification(tiny.CLASSES)
    program = Program(network, rows, objective, Recipe(optimizer=ADAM), line)

    def start():
        return init(rows[0], params, statistics, ADAM, total=4, key=jax.random.key(0))

    return program, start


def test_the_step_ahead_is_the_step_and_is_compiled_once(compiled):
    program, start = made(5)
    batch, source = tiny.batch(0), SourceWeights()
    state = start()
    plain, _ = program.step(0)(state, batch, source)

    again, start = made(5)
    described, state = jax.eval_shape(start), start()
    compiled.clear()
    again.compile_ahead(0, described, jax.eval_shape(dict, batch), source)
    step = again.step(0)
    assert len(compiled) == 1
    ahead, _ = step(state, batch, source)
    assert len(compiled) == 1
    assert not tiny.differing(plain, ahead)


def test_a_batch_of_another_size_is_compiled_when_it_comes(compiled):
    program, start = made(6)
    state, source = start(), SourceWeights()
    ahead = jax.eval_shape(dict, tiny.batch(0, size=4))
    program.compile_ahead(0, jax.eval_shape(start), ahead, source)
    program.step(0)
    compiled.clear()
    state, _ = program.step(0)(state, tiny.batch(0), source)
    assert len(compiled) == 1
    assert int(state.step) == 1


@uncollected()
def broken():
    assert not gc.isenabled()
    with uncollected():
        pass
    assert not gc.isenabled()
    raise KeyError


def test_the_collector_is_held_back_and_let_go_on_errors_too():
    assert gc.isenabled()
    with pytest.raises(KeyError):
        broken()
    assert gc.isenabled()
