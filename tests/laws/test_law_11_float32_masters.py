"""Law 11: numbers stay in float32 where they accumulate; bfloat16 is for compute.

Breaks tried: `init` without the cast to float32 of what trains; BatchNorm without the cast of its
input to float32; the objective without the cast of the logits (red in tests/objectives).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tlearn.bodies.norm import BatchNorm
from tlearn.heads import Linear
from tlearn.model import Model
from tlearn.params import merge
from tlearn.train.schedules import Constant
from tlearn.train.state import restage
from tlearn.transfer.optimizer import adamw
from tlearn.transfer.plan import plan
from tlearn.transfer.strategy import Strategy

SMALL = {"stage_blocks": (1,), "stage_widths": (4,), "drop_path": 0.0}
HALF = Model(tiny.body(**SMALL, dtype="bfloat16"), Linear(tiny.CLASSES, kernel_init="scaled"))
OPTIMIZER = adamw(1e-2, Constant(), clip=1.0)
FREEZE = Strategy(freeze="bottom:1")


def dtypes(tree):
    return {leaf.dtype for leaf in jax.tree.leaves(tree)}


@pytest.fixture(scope="module")
def after():
    """A state whose weights came in bfloat16, after three steps that compute in it."""
    recipe = {"accumulate": 2, "ema": 0.9}
    _, rows, state, step, source = tiny.start(FREEZE, OPTIMIZER, network=HALF, recipe=recipe)
    state, log = tiny.run(state, step, source, 3)
    return rows, state, log


def test_the_body_does_compute_in_bfloat16():
    params, statistics = tiny.drawn(HALF)
    tree = tiny.variables(params, statistics)
    layers = HALF.apply(tree, jnp.asarray(tiny.batch()["image"]), method="features").layers
    assert {layer.dtype for layer in layers.values()} == {jnp.bfloat16.dtype}


@pytest.mark.parametrize(
    "part", ["trainable", "frozen", "collections", "ema", "gathered", "numbers"]
)
def test_what_accumulates_is_float32(after, part):
    _, state, _ = after
    floats = {d for d in dtypes(getattr(state, part)) if jnp.issubdtype(d, jnp.floating)}
    assert floats == {jnp.float32.dtype}


def test_slots_and_logs_are_float32(after):
    _, state, log = after
    assert dtypes((state.slots.first, state.slots.second)) == {jnp.float32.dtype}
    for name in ("loss", "count", "accuracy", "gradient_norm", "rate"):
        assert log[name].dtype == jnp.float32, name


def test_weights_in_bfloat16_become_float32_masters():
    params, statistics = tiny.drawn(HALF)
    half = {path: value.astype(jnp.bfloat16) for path, value in params.items()}
    rows = plan(half, FREEZE, layers=HALF.body.layer_names)
    state = tiny.init(rows, half, statistics, OPTIMIZER, total=1, key=jax.random.key(0))
    assert dtypes(state.trainable) == {jnp.float32.dtype}


def test_small_updates_are_not_rounded_away():
    """An update of 1e-5 of a weight is lost in bfloat16 and kept in float32."""
    optimizer = adamw(1e-5, Constant())
    _, _, state, step, source = tiny.start(FREEZE, optimizer, network=HALF)
    before = {path: np.array(value) for path, value in state.trainable.items()}
    state, _ = tiny.run(state, step, source, 2)
    for path, value in before.items():
        moved = np.abs(np.asarray(state.trainable[path]) - value)
        assert 1e-6 < moved.max() < 1e-4, path


def test_statistics_of_bfloat16_pictures_are_taken_in_float32():
    """A mean of numbers like 100 + noise has digits that bfloat16 sums lose."""
    norm = BatchNorm(momentum=0.0, dtype="bfloat16")
    x = jnp.asarray(100 + np.random.default_rng(0).normal(size=(16, 8, 8, 2)), jnp.bfloat16)
    start = norm.init(jax.random.key(0), x, False)
    y, updated = norm.apply(start, x, True, mutable=["batch_stats"])
    exact = np.asarray(x, np.float64)
    found = updated["batch_stats"]
    assert y.dtype == jnp.bfloat16
    assert dtypes(found) == {jnp.float32.dtype}
    np.testing.assert_allclose(found["mean"], exact.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(found["var"], exact.var((0, 1, 2), ddof=1), rtol=1e-4)


def test_frozen_weights_may_be_bfloat16_on_request():
    _, rows, state, step, source = tiny.start(
        FREEZE, OPTIMIZER, network=HALF, frozen_dtype=jnp.bfloat16
    )
    frozen = tiny.host(state.frozen)
    assert dtypes(state.frozen) == {jnp.bfloat16.dtype}
    assert dtypes(state.trainable) == {jnp.float32.dtype}
    state, log = tiny.run(state, step, source, 2)
    assert log["finite"]
    assert tiny.differing(frozen, state.frozen) == []
    # Thawed, they are float32 masters again.
    everything = plan(merge(state.trainable, state.frozen), Strategy(), layers=("stem", "stage_1"))
    assert dtypes(restage(state, everything, OPTIMIZER, 1).trainable) == {jnp.float32.dtype}
    assert rows.frozen
