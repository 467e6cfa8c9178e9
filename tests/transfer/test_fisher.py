"""Diagonal Fisher: brute force, the closed form of logistic regression, masks, sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn.transfer.fisher import diagonal_fisher

WIDTH, HIDDEN, CLASSES = 4, 3, 3


def network(params, fixed, batch):
    hidden = jnp.tanh(batch["x"] @ params["body/kernel"] + params["body/bias"][None])
    return fixed * hidden @ params["head/kernel"]


def linear(params, fixed, batch):
    return batch["x"] @ params["kernel"] + params["bias"][None]


@pytest.fixture
def params():
    rng = np.random.default_rng(0)
    shapes = {
        "body/kernel": (WIDTH, HIDDEN),
        "body/bias": (HIDDEN,),
        "head/kernel": (HIDDEN, CLASSES),
    }
    return {path: jnp.asarray(rng.normal(size=s), jnp.float32) for path, s in shapes.items()}


def inputs(n, seed=1):
    return np.random.default_rng(seed).normal(size=(n, WIDTH)).astype(np.float32)


def brute_force(params, x, scale):
    total = {path: np.zeros(value.shape) for path, value in params.items()}

    @jax.jit
    def log_prob(params, row, k):
        return jax.nn.log_softmax(network(params, scale, {"x": row[None]})[0])[k]

    slope = jax.jit(jax.grad(log_prob))
    for row in x:
        for k in range(CLASSES):
            p = float(jnp.exp(log_prob(params, row, k)))
            for path, g in slope(params, row, k).items():
                total[path] += p * np.asarray(g) ** 2
    return {path: value / len(x) for path, value in total.items()}


@pytest.mark.parametrize("chunk", [3, 8])
def test_equals_a_loop_over_examples_and_classes(params, chunk):
    x = inputs(10)
    batches = [{"x": x[:6]}, {"x": x[6:]}]
    got = diagonal_fisher(network, params, batches, fixed=jnp.float32(1.5), chunk=chunk)
    want = brute_force(params, x, 1.5)
    assert sorted(got) == sorted(params)
    for path in params:
        np.testing.assert_allclose(got[path], want[path], rtol=2e-5, atol=1e-7)


def test_logistic_regression_in_closed_form():
    # F of a kernel entry is E[x_i² p_j (1 − p_j)], of a bias E[p_j (1 − p_j)].
    rng = np.random.default_rng(0)
    params = {
        "kernel": jnp.asarray(rng.normal(size=(WIDTH, CLASSES)), jnp.float32),
        "bias": jnp.asarray(rng.normal(size=CLASSES), jnp.float32),
    }
    x = inputs(50)
    p = np.asarray(jax.nn.softmax(linear(params, None, {"x": x})), np.float64)
    got = diagonal_fisher(linear, params, [{"x": x}])
    np.testing.assert_allclose(got["kernel"], (x**2).T @ (p * (1 - p)) / 50, rtol=1e-5)
    np.testing.assert_allclose(got["bias"], np.mean(p * (1 - p), axis=0), rtol=1e-5)


def test_padding_counts_nothing_even_where_it_is_not_finite(params):
    x = inputs(5)
    padded = np.concatenate([x, np.full((3, WIDTH), np.nan, np.float32)])
    batches = [{"x": padded, "mask": np.array([1, 1, 1, 1, 1, 0, 0, 0], np.float32)}]
    got = diagonal_fisher(network, params, batches, fixed=1.0, chunk=3)
    want = diagonal_fisher(network, params, [{"x": x}], fixed=1.0)
    for path in params:
        np.testing.assert_allclose(got[path], want[path], rtol=1e-5, atol=1e-7)


def test_sampled_labels_estimate_the_expectation(params):
    x = np.repeat(inputs(2), 3000, axis=0)
    batches = [{"x": x[i : i + 1500]} for i in range(0, 6000, 1500)]
    key = jax.random.key(3)
    options = {"fixed": 1.0, "labels": "sampled", "key": key, "chunk": 500}
    got = diagonal_fisher(network, params, batches, **options)
    want = diagonal_fisher(network, params, [{"x": inputs(2)}], fixed=1.0)
    for path in params:
        np.testing.assert_allclose(got[path], want[path], rtol=0.15, atol=5e-3)
        assert not np.array_equal(got[path], want[path])
    again = diagonal_fisher(network, params, batches, **options)
    assert all(np.array_equal(got[path], again[path]) for path in params)


def test_misuse_is_refused(params):
    with pytest.raises(ValueError, match="no example"):
        diagonal_fisher(network, params, [])
    with pytest.raises(ValueError, match="needs a key"):
        diagonal_fisher(network, params, [], labels="sampled")
