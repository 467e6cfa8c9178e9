"""Pulls in function space: the loss grows by exactly the distance; zero and flat at the source.

Breaks tried: the source features without `stop_gradient` (the source body on the moving weights);
the distance divided by the batch; the source body run in training mode; the moving weights standing
in for absent source weights (the check in `_forward` removed).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tlearn.heads import Linear
from tlearn.train.schedules import Constant
from tlearn.train.state import SourceWeights
from tlearn.transfer.function_pull import FunctionPull
from tlearn.transfer.optimizer import sgd
from tlearn.transfer.strategy import Strategy

NETWORK = tiny.still()
PULLS = {
    "features": FunctionPull(form="features", strength=0.5),
    "logits": FunctionPull(form="logits", strength=0.5, temperature=3.0),
}
HEAD = Linear(5)  # The source's: other classes.
# Evaluation mode, as the source's: at the source both bodies then compute the same.
CALM = Strategy(freeze="bottom:1", modes=((".*", "eval"),))
OPTIMIZER = sgd(1.0, Constant())


def start(form, **recipe):
    recipe = {"function_pull": PULLS[form], "source_head": HEAD} | recipe
    _, rows, state, step, _ = tiny.start(CALM, OPTIMIZER, network=NETWORK, recipe=recipe)
    draw = np.random.default_rng(1)
    head = {
        "head/dense/kernel": jnp.asarray(draw.normal(size=(4, 5)), jnp.float32),
        "head/dense/bias": jnp.asarray(draw.normal(size=5), jnp.float32),
    }
    source = SourceWeights(
        params={p: jnp.array(v) for p, v in state.params.items() if p.startswith("body/")},
        collections={p: jnp.array(v) for p, v in state.collections.items()},
        head=head,
    )
    return rows, state, step, source


def away(state):
    """A state whose body has left the source."""
    moved = {
        path: value + 0.3 * jnp.cos(jnp.arange(value.size, dtype=jnp.float32)).reshape(value.shape)
        for path, value in state.trainable.items()
    }
    return state.replace(trainable=moved)


def reference(form, params, source, given, collections):
    """λ times the sum of distances over real examples, written out."""

    def pooled(flat):
        tree = tiny.variables(flat, collections)
        return NETWORK.apply(tree, jnp.asarray(given["image"]), method="features").pooled

    here, there = pooled(params), pooled(params | source.params)
    if form == "features":
        each = 0.5 * jnp.sum((here - there) ** 2, axis=-1)
    else:
        kernel, bias = source.head["head/dense/kernel"], source.head["head/dense/bias"]
        log_p, log_q = (jax.nn.log_softmax((x @ kernel + bias[None]) / 3.0) for x in (there, here))
        each = 9.0 * jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)
    return 0.5 * jnp.sum(each * given["mask"])


@pytest.mark.parametrize("form", PULLS)
def test_the_step_follows_loss_plus_distance(form):
    rows, state, step, source = start(form)
    state, given = away(state), tiny.batch(real=6)
    _, plain = tiny.gradients(NETWORK, rows, state, given)
    before = {path: np.array(value) for path, value in state.trainable.items()}
    params, collections = state.params, state.collections

    def distance(trainable):
        return reference(form, params | trainable, source, given, collections)

    value, slope = jax.value_and_grad(distance)(state.trainable)
    assert value > 0.01
    state, log = step(state, given, source)
    assert log["function_pull"] == pytest.approx(float(value), rel=1e-5)
    for path in rows.trainable:
        want = plain[path] + np.asarray(slope[path]) / 6
        np.testing.assert_allclose(
            before[path] - state.trainable[path], want, rtol=1e-4, atol=1e-5, err_msg=path
        )


@pytest.mark.parametrize("form", PULLS)
def test_at_the_source_it_is_zero_and_flat(form):
    rows, state, step, source = start(form)
    _, plain = tiny.gradients(NETWORK, rows, state, tiny.batch())
    before = {path: np.array(value) for path, value in state.trainable.items()}
    state, log = step(state, tiny.batch(), source)
    assert log["finite"]
    assert abs(float(log["function_pull"])) < 1e-5
    for path in rows.trainable:
        np.testing.assert_allclose(
            before[path] - state.trainable[path], plain[path], atol=1e-5, err_msg=path
        )


def test_source_weights_are_never_made_up():
    _, state, step, source = start("features")
    path = "body/stage_1/block_01/conv_1/kernel"
    partial = source.replace(params={p: v for p, v in source.params.items() if p != path})
    with pytest.raises(ValueError, match=f"needs the source's weights.*{path}"):
        step(state, jax.device_put(tiny.batch()), partial)


def test_a_logit_pull_needs_the_source_head():
    _, state, step, source = start("logits", source_head=None)
    with pytest.raises(ValueError, match="needs the source's head"):
        step(state, jax.device_put(tiny.batch()), source)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"strength": -1.0}, "at least 0"),
        ({"temperature": 0.0}, "above 0"),
    ],
)
def test_a_pull_that_cannot_be_made_says_why(changes, says):
    with pytest.raises(ValueError, match=says):
        FunctionPull(**{"form": "features", "strength": 1.0} | changes)


@pytest.mark.parametrize("form", PULLS)
def test_a_sweep_over_strengths_compiles_once(form):
    # Tried with the strength as a constant of the program: the pull did not change.
    _, state, step, source = start(form)
    state, before, found = away(state), step._cache_size(), []
    for strength in (0.0, 0.5, 1.0):
        given = jax.tree.map(jnp.copy, state)  # The step takes its state's arrays with it.
        given.numbers["function_pull"] = jnp.float32(strength)
        found.append(float(step(given, tiny.batch(), source)[1]["function_pull"]))
    assert found[0] == 0
    assert found[2] == pytest.approx(2 * found[1])
    assert step._cache_size() <= before + 1
