"""Law 1: frozen is frozen.

After any number of steps under any optimizer, decay, clip, metric and pull: parameters and
statistics bit-equal, no dropout, no gradient computed, no optimizer bytes.

Breaks tried: freezing by rate 0 (`Plan.trainable` returning every path, frozen rows with rate 0);
training mode in all layers (`train = True` in `make_step`); optimizer slots over all parameters
(`init(trainable | frozen)`); BatchNorm updating its statistics in evaluation mode.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tlearn import heads
from tlearn.model import Model, variables
from tlearn.train.schedules import Constant
from tlearn.transfer.optimizer import adamw, sgd
from tlearn.transfer.pull import Pull
from tlearn.transfer.strategy import Strategy

FREEZES = {
    "bottom": "bottom:1",
    "body": "body",
    # A frozen layer above a trained one, and a frozen kernel within a trained layer.
    "rules": (("body/stage_2/.*|body/stage_1/block_01/conv_1/kernel", True), (".*", False)),
}
# Every optimizer with another clip, way and form of the pull; decay and λ vary as numbers.
OPTIMIZERS = {
    "sgd": (sgd(0.1, Constant(), momentum=0.9, clip=0.01), Pull(form="l2sp", way="loss")),
    "coupled": (sgd(0.1, Constant(), coupled_decay=True), Pull(form="l1", way="decoupled")),
    "adamw": (adamw(1e-2, Constant(), clip=10.0), Pull(form="group", way="proximal")),
}
# No dropout in the head: whatever is random then comes from the body.
NETWORK = Model(tiny.body(), heads.Linear(tiny.CLASSES, kernel_init="scaled"))


def start(freeze, name, seed=0):
    optimizer, pull = OPTIMIZERS[name]
    strategy = Strategy(freeze=FREEZES[freeze], weight_decay=0.1, pull=pull)
    return tiny.start(
        strategy,
        optimizer,
        seed=seed,
        network=NETWORK,
        recipe={"ema": 0.9 if clips(name) else None},
    )


def clips(name):
    return OPTIMIZERS[name][0].clip is not None


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("freeze", FREEZES)
@pytest.mark.parametrize(("decay", "strength"), [(1.0, 0.0), (0.0, 0.5), (1.0, 0.5)])
def test_frozen_parameters_and_statistics_are_bit_equal(freeze, name, decay, strength):
    _, rows, state, step, source = start(freeze, name)
    numbers = {
        "decay": state.numbers["decay"] * decay,
        "pull": np.full_like(state.numbers["pull"], strength),
    }
    state = state.replace(numbers=state.numbers | numbers)
    still = {layer for layer, mode in rows.modes if mode == "eval"}
    frozen, moving, statistics = map(tiny.host, (state.frozen, state.trainable, state.collections))
    state, log = tiny.run(state, step, source, 4, real=7)
    assert log["finite"]
    assert tiny.differing(frozen, state.frozen) == []
    # All that trains did move, so that standing still means something.
    assert set(tiny.differing(moving, state.trainable)) == set(moving)
    changed = tiny.differing(statistics, state.collections)
    assert {path for path in statistics if any(f"body/{s}/" in path for s in still)} == (
        statistics.keys() - set(changed)
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("freeze", FREEZES)
def test_optimizer_holds_nothing_of_what_is_frozen(freeze, name):
    _, rows, state, _, _ = start(freeze, name)
    optimizer, _ = OPTIMIZERS[name]
    per_element = {path: leaf for path, leaf in tiny.host(state.slots).items() if leaf.ndim}
    for path in rows.frozen:
        assert not any(path in slot for slot in per_element)
    held = sum(leaf.nbytes for leaf in per_element.values())
    assert held == rows.totals(optimizer.slots)["optimizer_bytes"]
    trained = sum(row.size for row in rows.rows if row.trainable)
    assert held == 4 * trained * {"sgd": 1, "coupled": 0, "adamw": 2}[name]
    for averaged in (state.ema, state.trainable):
        assert averaged is None or set(averaged) == set(rows.trainable)


@pytest.mark.parametrize("freeze", ["body", "rules"])
def test_frozen_layers_drop_nothing(freeze):
    """Only stage_2 has paths to drop; frozen, the loss knows no randomness."""
    losses = []
    for seed in (0, 1, 2):
        _, rows, state, step, source = start(freeze, "sgd")
        assert "stage_2" not in rows.train_layers
        state = state.replace(key=jax.random.key(seed))
        losses.append(float(step(state, tiny.batch(), source)[1]["loss"]))
    assert len(set(losses)) == 1
    # The same paths are dropped where the layer trains.
    _, _, state, step, source = start("bottom", "sgd")
    state = state.replace(key=jax.random.key(1))
    moved = float(step(state, tiny.batch(), source)[1]["loss"])
    _, _, state, step, source = start("bottom", "sgd")
    state = state.replace(key=jax.random.key(2))
    assert moved != float(step(state, tiny.batch(), source)[1]["loss"])


def test_a_frozen_body_computes_its_evaluation_features():
    _, _, state, step, source = start("body", "sgd")
    given = tiny.batch()
    logits = NETWORK.apply(
        variables(state.params, state.collections), jnp.asarray(given["image"]), train=False
    )
    log_p = np.asarray(jax.nn.log_softmax(logits))
    want = -log_p[np.arange(8), given["label"]].sum()
    assert step(state, given, source)[1]["loss"] == pytest.approx(want, rel=1e-6)


def test_no_gradient_of_a_frozen_body_is_computed():
    """The compiled step costs the forward pass and the head; full training some three times."""
    _, _, state, step, source = start("body", "sgd")
    image = jnp.asarray(tiny.batch()["image"])
    costs = [tiny.flops(step, state, tiny.batch(), source)]
    forward = jax.jit(lambda p, c, x: NETWORK.apply(variables(p, c), x, train=False))
    alone = tiny.flops(forward, state.params, state.collections, image)
    _, _, state, step, source = start("bottom", "sgd")
    costs.append(tiny.flops(step, state, tiny.batch(), source))
    assert costs[0] < 1.1 * alone
    assert costs[1] > 2 * alone
