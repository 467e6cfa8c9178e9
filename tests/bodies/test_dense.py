"""Dense layers, activations and norms: their own gradient rules against plain differentiation.

Breaks tried: the two factors of the kernel's gradient swapped; the second term of gelu's slope.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn.bodies.activations import ACTIVATIONS
from tlearn.bodies.dense import Dense, affine
from tlearn.bodies.layer_norm import LayerNorm, RMSNorm


def draw(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def both(mine, plain, *args):
    """Values and all gradients of two functions, weighted so that nothing cancels."""
    weight = jnp.cos(jnp.arange(jnp.size(plain(*args)))).reshape(jnp.shape(plain(*args)))
    which = tuple(range(len(args)))
    runs = [
        jax.jit(jax.value_and_grad(lambda *a, f=f: (f(*a) * weight).sum(), which))(*args)
        for f in (mine, plain)
    ]
    return zip(*(jax.tree.leaves(run) for run in runs), strict=True)


@pytest.mark.parametrize("rows", [(5,), (2, 3), (2, 2, 3)])
def test_values_and_gradients_are_those_of_plain_differentiation(rows):
    args = draw(*rows, 4), draw(4, 6, seed=1), draw(6, seed=2)
    plain = lambda x, w, b: jnp.einsum("...i,io->...o", x, w) + jnp.broadcast_to(b, (*rows, 6))  # noqa: E731
    for got, want in both(affine, plain, *args):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_runs_side_by_side_and_gradients_of_gradients():
    kernels = draw(3, 4, 6)
    x = draw(2, 5, 4, seed=1)
    loss = lambda w: jnp.square(affine(x, w)).sum()  # noqa: E731
    plain = lambda w: jnp.square(x @ w).sum()  # noqa: E731
    np.testing.assert_allclose(
        jax.vmap(jax.grad(loss))(kernels), jax.vmap(jax.grad(plain))(kernels), rtol=1e-4
    )
    twice = [jax.grad(lambda w, f=f: jnp.square(jax.grad(f)(w)).sum()) for f in (loss, plain)]
    np.testing.assert_allclose(twice[0](kernels[0]), twice[1](kernels[0]), rtol=1e-4)


def test_no_gradient_transposes_an_operand_in_memory():
    """In the jaxpr: a compiler may still choose layouts, but is not asked to copy."""
    step = jax.make_jaxpr(jax.grad(lambda w, x: affine(x, w).sum(), (0, 1)))
    assert "transpose[" not in str(step(draw(4, 6), draw(2, 5, 4)))


def test_the_module_names_its_parameters_and_computes_in_its_dtype():
    layer, x = Dense(6, dtype="bfloat16"), draw(2, 3, 4)
    params = layer.init(jax.random.key(0), x)["params"]
    assert {name: value.shape for name, value in params.items()} == {
        "kernel": (4, 6),
        "bias": (6,),
    }
    assert all(value.dtype == jnp.float32 for value in params.values())
    assert layer.apply({"params": params}, x).dtype == jnp.bfloat16
    loss = lambda p: layer.apply({"params": p}, x).astype(jnp.float32).sum()  # noqa: E731
    assert all(g.dtype == jnp.float32 for g in jax.grad(loss)(params).values())
    assert set(Dense(6, use_bias=False).init(jax.random.key(0), x)["params"]) == {"kernel"}


PLAIN = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "quick_gelu": lambda x: x / (1 + jnp.exp(-1.702 * x)),
    "relu": lambda x: jnp.maximum(x, 0),
    "silu": lambda x: x / (1 + jnp.exp(-x)),
    "swish": lambda x: x / (1 + jnp.exp(-x)),
    "tanh": jnp.tanh,
    "sigmoid": lambda x: 1 / (1 + jnp.exp(-x)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_their_slopes(name):
    x = jnp.concatenate([jnp.linspace(-8, 8, 101), jnp.array([1e-4, -1e-4, 30.0, -30.0])])
    for got, want in both(ACTIVATIONS[name], PLAIN[name], x):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-6)


def test_norms_are_their_formulas_even_far_from_zero():
    x = draw(3, 5, 16) + 100.0
    scale, bias = 1 + 0.1 * draw(16, seed=1), draw(16, seed=2)
    wide = np.asarray(x, np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    want = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    found = LayerNorm(1e-6).apply({"params": {"scale": scale, "bias": bias}}, x)
    np.testing.assert_allclose(found, want * np.asarray(scale) + np.asarray(bias), atol=2e-5)
    want = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-6)
    found = RMSNorm(1e-6).apply({"params": {"scale": scale}}, x)
    np.testing.assert_allclose(found, want * np.asarray(scale), rtol=1e-5)


def test_norms_keep_statistics_in_float32():
    x = (draw(2, 64) * 300).astype(jnp.bfloat16)
    for norm in (LayerNorm(), RMSNorm()):
        params = norm.init(jax.random.key(0), x)
        assert norm.apply(params, x).dtype == jnp.bfloat16
        exact = norm.apply(params, x.astype(jnp.float32))
        np.testing.assert_allclose(
            norm.apply(params, x).astype(jnp.float32), exact, rtol=0.01, atol=0.01
        )
