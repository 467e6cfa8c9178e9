"""The optimizer's one step against NumPy: directions, rates, decay, and where the pull acts."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import tiny
from tlearn.train.schedules import Constant
from tlearn.transfer.optimizer import Optimizer, adamw, sgd, take_step
from tlearn.transfer.pull import Pull

BODY, HEAD = "body/a/kernel", "head/b"
DRAW = np.random.default_rng(0)


def some():
    return {
        BODY: DRAW.normal(size=(3, 2)).astype(np.float32),
        HEAD: DRAW.normal(size=2).astype(np.float32),
    }


WEIGHTS, SOURCE, GRADIENTS = some(), some(), [some() for _ in range(4)]
RATE = {BODY: 0.5, HEAD: 2.0}
DECAY = {BODY: 0.1, HEAD: 0.3}
PEAK, FACTOR, STRENGTH = 0.05, 0.8, 0.7
ETA = PEAK * FACTOR


def go(optimizer, pull=None, gradients=GRADIENTS, decay=DECAY):
    """Takes a step for every gradient; returns weights after each, and the last log."""
    pull = pull or Pull()
    pulled = (BODY,) if pull.strength else ()
    numbers = {
        "peak": jnp.float32(PEAK),
        "rate": jnp.array([RATE[BODY], RATE[HEAD]]),
        "decay": jnp.array([decay[BODY], decay[HEAD]]),
        "pull": jnp.array([pull.strength, 0.0]),
    }
    weights = {path: jnp.asarray(value) for path, value in WEIGHTS.items()}
    slots, found = optimizer.direction().init(weights), []
    for gradient in gradients:
        weights, slots, log = take_step(
            optimizer,
            pull,
            pulled,
            gradients={path: jnp.asarray(g) for path, g in gradient.items()},
            slots=slots,
            trainable=weights,
            source={path: jnp.asarray(value) for path, value in SOURCE.items()},
            fisher=None,
            numbers=numbers,
            factor=jnp.float32(FACTOR),
            strength_factor=jnp.float32(1.0),
        )
        found.append({path: np.asarray(value) for path, value in weights.items()})
    return found, log


def same(found, want):
    for got, wanted in zip(found, want, strict=True):
        for path, value in wanted.items():
            np.testing.assert_allclose(got[path], value, rtol=2e-5, atol=1e-6, err_msg=path)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("coupled", [False, True])
def test_sgd(momentum, nesterov, coupled):
    w = {path: value.astype(np.float64) for path, value in WEIGHTS.items()}
    trace = {path: np.zeros_like(value) for path, value in w.items()}
    want = []
    for gradient in GRADIENTS:
        for path in w:
            g = gradient[path] + (DECAY[path] * w[path] if coupled else 0)
            trace[path] = momentum * trace[path] + g
            step = g + momentum * trace[path] if nesterov else trace[path]
            step = step + (0 if coupled else DECAY[path] * w[path])
            w[path] = w[path] - ETA * RATE[path] * step
        want.append(dict(w))
    optimizer = sgd(PEAK, Constant(), momentum=momentum, nesterov=nesterov, coupled_decay=coupled)
    same(go(optimizer)[0], want)


def test_adamw():
    w = {path: value.astype(np.float64) for path, value in WEIGHTS.items()}
    first = {path: np.zeros_like(value) for path, value in w.items()}
    second = {path: np.zeros_like(value) for path, value in w.items()}
    want = []
    for t, gradient in enumerate(GRADIENTS, start=1):
        for path, g in gradient.items():
            first[path] = 0.8 * first[path] + 0.2 * g
            second[path] = 0.95 * second[path] + 0.05 * g.astype(np.float64) ** 2
            step = first[path] / (1 - 0.8**t)
            step = step / (np.sqrt(second[path] / (1 - 0.95**t)) + 1e-6)
            w[path] = w[path] - ETA * RATE[path] * (step + DECAY[path] * w[path])
        want.append(dict(w))
    same(go(adamw(PEAK, Constant(), b1=0.8, b2=0.95, eps=1e-6))[0], want)


def test_adam_directions_are_optax():
    ours, theirs = adamw(1.0, Constant()).direction(), optax.scale_by_adam()
    weights = {path: jnp.asarray(value) for path, value in WEIGHTS.items()}
    a, b = ours.init(weights), theirs.init(weights)
    for gradient in GRADIENTS:
        gradient = {path: jnp.asarray(g) for path, g in gradient.items()}
        left, a = ours.update(gradient, a, weights)
        right, b = theirs.update(gradient, b, weights)
        for path in weights:
            np.testing.assert_allclose(left[path], right[path], atol=1e-6)


def test_without_bias_correction_steps_are_longer_by_the_published_factor():
    """Zhang et al. 2021, section 4: (1 - b1^t) / sqrt(1 - b2^t), 6.569 at its largest, t = 12."""
    free = {BODY: 0.0, HEAD: 0.0}
    still = [GRADIENTS[0]] * 12
    plain, raw = (
        go(adamw(PEAK, Constant(), eps=1e-12, debias=debias), None, still, free)[0]
        for debias in (True, False)
    )
    for t in (1, 5, 12):
        before = [found[t - 2][BODY] if t > 1 else WEIGHTS[BODY] for found in (plain, raw)]
        moved = [found[t - 1][BODY] - old for found, old in zip((plain, raw), before, strict=True)]
        factor = (1 - 0.9**t) / np.sqrt(1 - 0.999**t)
        np.testing.assert_allclose(moved[1] / moved[0], factor, rtol=1e-3)
    assert factor == pytest.approx(6.569, abs=1e-3)


def test_lamb():
    """You et al. 2020, algorithm 2; biases keep Adam's step."""
    paths = {"body/a/kernel": BODY, "head/bias": HEAD}
    w = {path: WEIGHTS[old].astype(np.float64) for path, old in paths.items()}
    theirs = optax.lamb(ETA, b1=0.8, b2=0.95, eps=1e-6, weight_decay=0.1)
    state = theirs.init({"body/a/kernel": jnp.asarray(WEIGHTS[BODY])})
    kernel = {"body/a/kernel": jnp.asarray(WEIGHTS[BODY])}
    optimizer = Optimizer(name="lamb", rate=PEAK, schedule=Constant(), b1=0.8, b2=0.95, eps=1e-6)
    numbers = {
        "peak": jnp.float32(ETA),
        "rate": jnp.ones(2),
        "decay": jnp.array([0.1, 0.0]),
        "pull": jnp.zeros(2),
    }
    weights = {path: jnp.asarray(value, jnp.float32) for path, value in w.items()}
    slots = optimizer.direction().init(weights)
    adam = optax.adam(ETA, b1=0.8, b2=0.95, eps=1e-6)
    bias, adams = weights["head/bias"], adam.init(weights["head/bias"])
    for gradient in GRADIENTS:
        given = {path: jnp.asarray(gradient[old]) for path, old in paths.items()}
        weights, slots, _ = take_step(
            optimizer,
            Pull(),
            (),
            gradients=given,
            slots=slots,
            trainable=weights,
            source={},
            fisher=None,
            numbers=numbers,
            factor=jnp.float32(1.0),
            strength_factor=jnp.float32(1.0),
        )
        change, state = theirs.update({"body/a/kernel": given["body/a/kernel"]}, state, kernel)
        kernel = optax.apply_updates(kernel, change)
        change, adams = adam.update(given["head/bias"], adams)
        bias = bias + change
    np.testing.assert_allclose(weights["body/a/kernel"], kernel["body/a/kernel"], rtol=1e-5)
    np.testing.assert_allclose(weights["head/bias"], bias, rtol=1e-5)


def test_adafactor_directions_are_optax():
    """Matrices of 128 and more are factored, over the two longest axes; others are not."""
    shapes = {"a": (130, 140), "b": (2, 150, 128), "c": (127, 300), "d": (300,)}
    weights = {p: jnp.asarray(DRAW.normal(size=s), jnp.float32) for p, s in shapes.items()}
    optimizer = Optimizer(name="adafactor", rate=1.0, schedule=Constant())
    ours, theirs = optimizer.direction(), optax.adafactor(1.0)
    a, b = ours.init(weights), theirs.init(weights)
    for _ in range(3):
        given = {p: jnp.asarray(DRAW.normal(size=s), jnp.float32) for p, s in shapes.items()}
        left, a = ours.update(given, a, weights)
        right, b = theirs.update(given, b, weights)
        for path in shapes:
            np.testing.assert_allclose(left[path], -right[path], rtol=2e-4, err_msg=path)
    kept = sum(value.size for tree in (a.rows, a.columns) for value in tree.values())
    assert kept == 130 + 140 + 2 * (150 + 128)


@pytest.mark.parametrize("way", ["loss", "decoupled", "proximal"])
def test_where_the_pull_acts(way):
    """As a gradient before the direction, from the old weights beside it, or on the new ones."""
    pull = Pull(form="l2sp", way=way, strength=STRENGTH)
    size = ETA * RATE[BODY] * STRENGTH
    w = {path: value.astype(np.float64) for path, value in WEIGHTS.items()}
    trace = {path: np.zeros_like(value) for path, value in w.items()}
    want = []
    for gradient in GRADIENTS:
        for path in w:
            pulled = path == BODY
            apart = w[path] - SOURCE[path]
            g = gradient[path] + (STRENGTH * apart if pulled and way == "loss" else 0)
            trace[path] = 0.9 * trace[path] + g
            new = w[path] - ETA * RATE[path] * (trace[path] + DECAY[path] * w[path])
            if pulled and way == "decoupled":
                new = new - size * apart
            if pulled and way == "proximal":
                new = (new + size * SOURCE[path]) / (1 + size)
            w[path] = new
        want.append(dict(w))
    found, log = go(sgd(PEAK, Constant(), momentum=0.9), pull)
    same(found, want)
    assert log["pull_step"] == pytest.approx(size, rel=1e-6)
    assert log["rate"] == pytest.approx(ETA, rel=1e-6)


def test_the_logged_norm_is_of_what_is_clipped():
    """With a pull in the loss its gradient counts: the clip holds all that enters the direction."""
    pull = Pull(form="l2sp", strength=STRENGTH)
    whole = dict(GRADIENTS[0])
    whole[BODY] = whole[BODY] + STRENGTH * (WEIGHTS[BODY] - SOURCE[BODY])
    found, log = go(sgd(PEAK, Constant(), clip=0.1), pull, GRADIENTS[:1], {BODY: 0.0, HEAD: 0.0})
    norm = tiny.norm(whole)
    assert log["gradient_norm"] == pytest.approx(norm, rel=1e-5)
    for path, g in whole.items():
        want = WEIGHTS[path] - ETA * RATE[path] * g * 0.1 / norm
        np.testing.assert_allclose(found[0][path], want, atol=1e-6)


def test_slots_are_counted():
    assert sgd(0.1, Constant()).slots == 0
    assert sgd(0.1, Constant(), momentum=0.9).slots == 1
    assert adamw(0.1, Constant()).slots == 2
    assert Optimizer(name="lamb", rate=0.1, schedule=Constant()).slots == 2
    assert Optimizer(name="adafactor", rate=0.1, schedule=Constant()).slots == 0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"rate": 0.0}, "rate is 0.0; it must be above 0"),
        ({"clip": 0.0}, "or None for no clip"),
        ({"momentum": 1.0}, r"momentum is 1.0; it must be in \[0, 1\)"),
        ({"b2": -0.1}, "b2"),
    ],
)
def test_optimizers_that_cannot_be_made(settings, says):
    with pytest.raises(ValueError, match=says):
        sgd(**{"rate": 0.1, "schedule": Constant()} | settings)
