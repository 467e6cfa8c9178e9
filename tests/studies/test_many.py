"""Many runs in one program are the runs one by one, and a sweep over numbers compiles once.

Breaks tried: the rate a constant of the step (all runs of a sweep are then equal); padding runs not
dropped; every run on the first run's order; the first run's key in all runs.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tlearn import heads
from tlearn.model import Model
from tlearn.objectives import Classification
from tlearn.params import split
from tlearn.studies import many
from tlearn.train.mesh import make_mesh
from tlearn.train.schedules import Linear
from tlearn.train.state import SourceWeights, init
from tlearn.train.step import Recipe, make_step
from tlearn.transfer.optimizer import sgd
from tlearn.transfer.plan import plan
from tlearn.transfer.strategy import Strategy

NETWORK = Model(
    tiny.body(stage_blocks=(1,), stage_widths=(4,), drop_path=0.1),
    heads.Linear(tiny.CLASSES, kernel_init="scaled", dropout=0.1),
)
OPTIMIZER = sgd(0.1, Linear(), momentum=0.9, clip=1.0)
STEPS, SIZE, COUNT = 3, 4, 12
GIVEN = tiny.batch(size=COUNT)
DATA = {"image": GIVEN["image"], "label": GIVEN["label"]}
ORDERS = many.orders([np.arange(COUNT)] * 3, steps=STEPS, batch_size=SIZE, seeds=[0, 1, 2])


class World:
    """One strategy's pure step, made once, and states that differ in weights, key and rate."""

    def __init__(self, freeze):
        params, _ = tiny.drawn(NETWORK)
        self.rows = plan(params, Strategy(freeze=freeze), layers=NETWORK.body.layer_names)
        objective = Classification(tiny.CLASSES)
        self.step = make_step(NETWORK, self.rows, objective, Recipe(optimizer=OPTIMIZER))
        self.alone = jax.jit(self.step, compiler_options=tiny.QUICK)

    def state(self, run):
        params, statistics = tiny.drawn(NETWORK, seed=run)
        state = init(self.rows, params, statistics, OPTIMIZER, total=STEPS, key=jax.random.key(run))
        return state.replace(numbers=state.numbers | {"peak": jnp.float32(0.1 / (run + 1))})

    def single(self, run):
        """The run by itself, batch after batch, from the host."""
        state, logs = self.state(run), []
        for index in ORDERS[run]:
            batch = {name: jnp.asarray(array[index]) for name, array in DATA.items()}
            batch |= {"mask": jnp.ones(SIZE), "index": jnp.asarray(index)}
            state, log = self.alone(state, batch, SourceWeights())
            logs.append(log)
        return state, logs


@pytest.fixture(scope="module")
def worlds():
    return {freeze: World(freeze) for freeze in ("body", "none")}


@pytest.fixture(scope="module")
def singles(worlds):
    return {freeze: [world.single(run) for run in range(3)] for freeze, world in worlds.items()}


# Through batch statistics and small batches float noise grows; a head alone stays at 1e-6.
@pytest.mark.parametrize(
    ("freeze", "how", "devices"),
    [
        ("body", "map", None),
        ("body", "vmap", None),
        ("body", "map", 2),
        ("none", "map", None),
        ("none", "vmap", 2),
    ],
)
def test_together_is_one_by_one(worlds, singles, freeze, how, devices):
    world, noise = worlds[freeze], {"body": 1e-6, "none": 2e-4}[freeze]
    mesh = None if devices is None else make_mesh(devices)
    states = many.stack([world.state(run) for run in range(3)])
    # Three runs on two devices: one is repeated to fill up, and must be gone again.
    done = many.train_many(world.step, states, SourceWeights(), DATA, ORDERS, how=how, mesh=mesh)
    assert done.states.step.shape == (3,)
    assert all(log.shape == (3, STEPS) for log in done.logs.values())
    for run, (want, logs) in enumerate(singles[freeze]):
        got = many.unstack(done.states, run)
        assert int(got.step) == int(got.update) == STEPS
        for path, value in want.params.items():
            np.testing.assert_allclose(got.params[path], value, atol=noise, err_msg=path)
        for path in want.frozen:
            assert np.array_equal(got.frozen[path], want.frozen[path]), path
        losses = [float(log["loss"]) for log in logs]
        np.testing.assert_allclose(done.logs["loss"][run], losses, rtol=max(noise, 1e-5) * 10)
        rates = [float(log["rate"]) for log in logs]
        np.testing.assert_allclose(done.logs["rate"][run], rates, rtol=1e-6)
        assert got.key == jax.random.key(run)


def test_a_sweep_of_eight_rates_compiles_once(worlds):
    world = worlds["body"]
    before = many._train._cache_size()
    ends = []
    for rates in (np.geomspace(1e-3, 1, 8), np.geomspace(1e-4, 0.1, 8)):
        states = []
        for rate in rates:
            state = world.state(0)
            states.append(state.replace(numbers=state.numbers | {"peak": jnp.float32(rate)}))
        orders = np.repeat(ORDERS[:1], 8, axis=0)
        done = many.train_many(world.step, many.stack(states), SourceWeights(), DATA, orders)
        ends.append(np.asarray(done.states.trainable["head/dense/kernel"]))
    assert many._train._cache_size() == before + 1
    assert len({end.tobytes() for end in np.concatenate(ends)}) == 16
    # One by one as well: the rate is an argument of the step.
    size = world.alone._cache_size()
    world.single(0)
    world.single(1)
    assert world.alone._cache_size() == max(size, 1)


@pytest.mark.parametrize(("how", "devices"), [("map", 2), ("vmap", None)])
def test_predictions_of_many_are_those_of_each(worlds, how, devices):
    world = worlds["body"]
    states = [world.state(run) for run in range(3)]
    mesh = None if devices is None else make_mesh(devices)
    got = many.predict_many(NETWORK, many.stack(states), DATA["image"], how=how, mesh=mesh)
    assert got.shape == (3, COUNT, tiny.CLASSES)
    for run, state in enumerate(states):
        tree = tiny.variables(state.params, state.collections)
        want = jax.jit(lambda t: NETWORK.apply(t, jnp.asarray(DATA["image"])))(tree)
        np.testing.assert_allclose(got[run], want, atol=1e-5)


def test_unstacking_undoes_stacking_bit_for_bit(worlds):
    states = [worlds["none"].state(run) for run in range(2)]
    for run in range(2):
        assert tiny.differing(many.unstack(many.stack(states), run), states[run]) == []


def test_runs_of_different_plans_share_no_program(worlds):
    with pytest.raises(ValueError, match="group them by plan"):
        many.stack([worlds["none"].state(0), worlds["body"].state(0)])


def test_every_run_needs_an_order(worlds):
    states = many.stack([worlds["body"].state(0)])
    with pytest.raises(ValueError, match="3 orders for 1 states"):
        many.train_many(worlds["body"].step, states, SourceWeights(), DATA, ORDERS)


def test_orders_visit_every_example_of_their_subset_equally_often():
    subsets = [np.array([3, 5, 8, 9, 11]), np.arange(4)]
    found = many.orders(subsets, steps=4, batch_size=5, seeds=[0, 1])
    assert found.shape == (2, 4, 5)
    assert np.bincount(found[0].ravel(), minlength=12)[subsets[0]].tolist() == [4] * 5
    assert sorted(found[0, 0]) == subsets[0].tolist()
    assert np.bincount(found[1].ravel()).tolist() == [5] * 4
    again = many.orders(subsets, steps=4, batch_size=5, seeds=[0, 0])
    np.testing.assert_array_equal(again[0], found[0])
    assert not np.array_equal(again[1], found[1])


def test_frozen_weights_are_those_each_run_came_with(worlds):
    world = worlds["body"]
    _, frozen = split(tiny.drawn(NETWORK, seed=1)[0], world.rows.trainable)
    assert tiny.differing(world.state(1).frozen, frozen) == []
