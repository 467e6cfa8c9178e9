"""Meshes: one device and four give the same run, copied or split; splitting saves memory.

Breaks tried: every device given the first one's rows; the layout ignored (always copied); a new
stage's step compiled without it.
"""

import jax
import numpy as np
import pytest

from tests import tiny
from tlearn import heads
from tlearn.model import Model
from tlearn.objectives import Classification
from tlearn.train.loop import Program, fit, timeline
from tlearn.train.mesh import SMALLEST, make_mesh, place_batch, state_shardings
from tlearn.train.schedules import Constant
from tlearn.train.state import SourceWeights, init
from tlearn.train.step import Recipe, make_step
from tlearn.transfer.optimizer import sgd
from tlearn.transfer.plan import plans
from tlearn.transfer.strategy import Strategy

# Kernels large enough to be split, few enough to compile quickly; dropout and statistics stay on.
NETWORK = Model(
    tiny.body(stage_blocks=(1,), stage_widths=(16,), stem_width=16),
    heads.Linear(tiny.CLASSES, kernel_init="scaled", dropout=0.1),
)
OPTIMIZER = sgd(0.1, Constant(), momentum=0.9, clip=1.0)
RECIPE = Recipe(optimizer=OPTIMIZER, ema=0.9)
ROWS = plans(tiny.drawn(NETWORK)[0], Strategy(), layers=NETWORK.body.layer_names)


def beginning():
    params, statistics = tiny.drawn(NETWORK)
    return init(ROWS[0], params, statistics, OPTIMIZER, total=3, key=jax.random.key(0), ema=True)


def ends(devices, layout, steps=3):
    mesh = make_mesh(devices)
    state = beginning()
    shardings = state_shardings(state, mesh, layout)
    state = jax.device_put(state, shardings)
    step = jax.jit(
        make_step(NETWORK, ROWS[0], Classification(tiny.CLASSES), RECIPE),
        donate_argnums=0,
        out_shardings=(shardings, None),
        compiler_options=tiny.QUICK,
    )
    logs = []
    for i in range(steps):
        state, log = step(state, place_batch(tiny.batch(i, real=7), mesh), SourceWeights())
        logs.append({name: float(value) for name, value in log.items()})
    return state, logs


@pytest.fixture(scope="module")
def single():
    return ends(1, "replicated")


@pytest.fixture(scope="module", params=["replicated", "sharded"])
def several(request):
    return request.param, *ends(4, request.param)


def test_four_devices_are_one(single, several):
    _, state, logs = several
    for path, value in tiny.host(single[0]).items():
        np.testing.assert_allclose(tiny.host(state)[path], value, atol=1e-6, err_msg=path)
    for one, four in zip(single[1], logs, strict=True):
        assert four == pytest.approx(one, rel=1e-5)
        assert four["count"] == 7


def test_split_states_take_less_memory_and_stay_split(several):
    layout, state, _ = several
    for part in (state.trainable, state.slots, state.ema):
        held = [leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(part)]
        whole = [leaf.nbytes for leaf in jax.tree.leaves(part)]
        sizes = [leaf.size for leaf in jax.tree.leaves(part)]
        if layout == "replicated":
            assert held == whole
            continue
        for size, mine, all_ in zip(sizes, held, whole, strict=True):
            assert mine == (all_ / 4 if size >= SMALLEST else all_)
        assert sum(held) < 0.5 * sum(whole)


def test_fit_places_what_a_new_stage_trains():
    """After a change of stage the state is laid out as before, and the run that of one device."""
    params, statistics = tiny.drawn(NETWORK)
    rows = plans(params, Strategy(unfreeze="head-first"), layers=NETWORK.body.layer_names)
    line = timeline(rows, steps_per_epoch=1, steps=2)
    recipe = Recipe(optimizer=OPTIMIZER)

    def run(mesh):
        state = init(rows[0], params, statistics, OPTIMIZER, total=2, key=jax.random.key(0))
        given, place = map(tiny.batch, range(2)), None
        made = Program(NETWORK, rows, Classification(tiny.CLASSES), recipe, line)
        if mesh is None:
            made._compiled.update({i: tiny.compiled(NETWORK, rows[i], recipe) for i in range(2)})
        else:
            given = (place_batch(batch, mesh) for batch in given)

            def place(state):
                return state_shardings(state, mesh, "sharded")

            state = jax.device_put(state, place(state))
        for last, _ in fit(made, state, given, SourceWeights(), shardings=place):  # noqa: B007
            pass
        return last

    one, four = run(None), run(make_mesh(4))
    for leaves in (four.trainable, four.slots.trace):
        kernel = leaves["body/stage_1/block_01/conv_1/kernel"]
        assert tuple(kernel.sharding.spec) == (None, None, "data", None)
    for name, value in tiny.host(one).items():
        np.testing.assert_allclose(tiny.host(four)[name], value, atol=1e-6, err_msg=name)


def test_a_batch_that_does_not_divide_is_an_error():
    with pytest.raises(ValueError, match=r"6 examples \(image\) does not divide over 4 devices"):
        place_batch(tiny.batch(size=6), make_mesh(4))


@pytest.mark.parametrize("devices", [0, 5])
def test_a_mesh_larger_than_the_machine_is_an_error(devices):
    with pytest.raises(ValueError, match=f"{devices} devices was asked for; this machine has 4"):
        make_mesh(devices)


def test_a_placed_batch_is_a_copy():
    """The loader may write into its buffer again while the device still reads."""
    given = tiny.batch()
    want = given["image"].copy()
    placed = place_batch(given, make_mesh(1))
    given["image"][:] = -1
    np.testing.assert_array_equal(placed["image"], want)
