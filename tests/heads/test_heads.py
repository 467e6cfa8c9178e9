"""What every head promises."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import heads
from tlearn.bodies import Features
from tlearn.params import flatten

HEADS = {
    "linear": heads.Linear(3, kernel_init="scaled", dropout=0.5),
    "mlp": heads.MLP(3, hidden=(6, 5), kernel_init="scaled", dropout=0.5),
    "cosine": heads.Cosine(3, dropout=0.5),
}
PATHS = {
    "linear": {"dense/bias", "dense/kernel"},
    "mlp": {
        "dense/bias",
        "dense/kernel",
        "hidden_1/bias",
        "hidden_1/kernel",
        "hidden_2/bias",
        "hidden_2/kernel",
    },
    "cosine": {"dense/kernel", "scale"},
}


def features(seed=0):
    return Features(pooled=jax.random.normal(jax.random.key(seed), (4, 8)))


@pytest.mark.parametrize("name", HEADS)
def test_heads_have_their_names_shapes_and_configs(name):
    head = HEADS[name]
    variables = head.init(jax.random.key(0), features())
    assert set(flatten(variables["params"])) == PATHS[name]
    logits = head.apply(variables, features())
    assert logits.shape == (4, 3)
    assert logits.dtype == jnp.float32
    assert heads.build(json.loads(json.dumps(heads.describe(head)))) == head


@pytest.mark.parametrize("name", HEADS)
def test_dropout_acts_only_in_training(name):
    head = HEADS[name]
    variables = head.init(jax.random.key(0), features())

    def run(train, seed):
        rngs = {"dropout": jax.random.key(seed)}
        return head.apply(variables, features(), train=train, rngs=rngs)

    np.testing.assert_array_equal(run(False, 1), run(False, 2))
    assert not np.array_equal(run(True, 1), run(True, 2))


@pytest.mark.parametrize("head", [heads.Linear(5), heads.MLP(5)])
def test_zero_heads_start_from_equal_logits(head):
    variables = head.init(jax.random.key(0), features())
    np.testing.assert_array_equal(head.apply(variables, features()), np.zeros((4, 5)))


def test_a_linear_head_is_affine():
    head = heads.Linear(3, kernel_init="scaled")
    variables = head.init(jax.random.key(0), features())
    flat = flatten(variables["params"])
    want = features().pooled @ flat["dense/kernel"] + flat["dense/bias"].reshape(1, -1)
    np.testing.assert_allclose(head.apply(variables, features()), want, rtol=1e-6)


def test_cosine_logits_are_scaled_cosines():
    head = heads.Cosine(3, scale=7.0)
    variables = head.init(jax.random.key(0), features())
    x, w = np.asarray(features().pooled), np.asarray(variables["params"]["dense"]["kernel"])
    want = 7 * (x @ w) / np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(w, axis=0))
    np.testing.assert_allclose(head.apply(variables, features()), want, rtol=1e-5)
    ten = Features(pooled=10 * features().pooled)
    np.testing.assert_allclose(head.apply(variables, ten), want, rtol=1e-5)


def test_cosine_is_finite_at_a_zero_feature():
    head = heads.Cosine(3)
    variables = head.init(jax.random.key(0), features())
    grad = jax.grad(lambda x: head.apply(variables, Features(pooled=x)).sum())(jnp.zeros((2, 8)))
    assert np.isfinite(grad).all()


def test_a_head_without_pooled_features_says_what_there_is():
    nothing = Features(layers={"stem": jnp.zeros((1, 2, 2, 3))})
    with pytest.raises(ValueError, match=r"features\.pooled.*'stem'"):
        heads.Linear(3).init(jax.random.key(0), nothing)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("linear", {"classes": 0}, "classes must be at least 1"),
        ("linear", {"classes": 2, "kernel_init": "zero"}, "kernel_init is one of"),
        ("mlp", {"classes": 2, "hidden": ()}, "use Linear"),
        ("cosine", {"classes": 2, "scale": -1.0}, "positive scale"),
        ("cosine", {"classes": 2, "kernel_init": "zeros"}, "unknown field"),
        ("linear", {}, "needs the field 'classes'"),
        ("liner", {"classes": 2}, "did you mean 'linear'"),
    ],
)
def test_impossible_heads_are_refused(name, fields, message):
    with pytest.raises(ValueError, match=message):
        heads.create(name, **fields)
