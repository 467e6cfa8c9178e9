"""Distances in function space: definitions, limits, masks, and safety at distance zero."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

from tlearn.transfer.function_space import feature_distance, layer_distance, logit_distance

RNG = np.random.default_rng(0)
A = jnp.asarray(RNG.normal(size=(6, 4)), jnp.float32)
B = jnp.asarray(RNG.normal(size=(6, 4)), jnp.float32)
MAPS = {n: jnp.asarray(RNG.normal(size=(6, 2, 2, 3)), jnp.float32) for n in ("stem", "stage_1")}
ZERO = {name: jnp.zeros_like(value) for name, value in MAPS.items()}


def test_feature_distance_is_half_the_mean_square():
    got = feature_distance(A, B)
    assert got.mean == pytest.approx(float(0.5 * np.mean(np.sum((A - B) ** 2, axis=1))), rel=1e-6)
    assert got.count == 6


def test_layer_distance_weighs_layers():
    got = layer_distance(MAPS, ZERO, {"stem": 2.0, "stage_1": jnp.float32(0.5)})
    want = sum(s * 0.5 * np.sum(MAPS[n] ** 2) for n, s in (("stem", 2.0), ("stage_1", 0.5)))
    assert got.sum == pytest.approx(float(want), rel=1e-6)
    alone = layer_distance(MAPS, ZERO, {"stem": 1.0})
    assert alone.sum == pytest.approx(float(0.5 * np.sum(MAPS["stem"] ** 2)), rel=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 3.0])
def test_logit_distance_is_the_divergence(temperature):
    p = scipy.special.softmax(np.asarray(B, np.float64) / temperature, axis=1)
    q = scipy.special.softmax(np.asarray(A, np.float64) / temperature, axis=1)
    want = temperature**2 * np.sum(scipy.special.rel_entr(p, q))
    assert logit_distance(A, B, temperature=temperature).sum == pytest.approx(want, rel=1e-5)


def test_temperature_limits():
    # T = 1 has the gradient of cross-entropy with soft labels; T → ∞ is half the squared
    # distance of centred logits over the number of classes (Hinton et al. 2015, §2.1).
    soft = jax.grad(lambda a: optax.softmax_cross_entropy(a, jax.nn.softmax(B)).sum())(A)
    slope = jax.grad(lambda a: logit_distance(a, B, temperature=1.0).sum)(A)
    np.testing.assert_allclose(slope, soft, atol=1e-6)
    d = np.asarray((A - A.mean(1, keepdims=True)) - (B - B.mean(1, keepdims=True)))
    assert logit_distance(A, B, temperature=100.0).sum == pytest.approx(
        0.5 * np.sum(d**2) / 4, rel=0.03
    )


@pytest.mark.parametrize("distance", [feature_distance, logit_distance])
def test_at_the_source_value_and_gradient_are_zero(distance):
    value, slope = jax.jit(jax.value_and_grad(lambda a: distance(a, A).sum))(A)
    assert value == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(slope, 0, atol=1e-6)
    slopes = jax.vmap(jax.grad(lambda a, s: s * distance(a, A).sum), in_axes=(None, 0))
    assert np.isfinite(slopes(A, jnp.arange(3.0))).all()


def test_source_side_gets_no_gradient():
    for distance in (feature_distance, logit_distance):
        assert (np.asarray(jax.grad(lambda b, f=distance: f(A, b).sum)(B)) == 0).all()


def test_a_class_the_source_rules_out_is_finite():
    source = B.at[:, 0].set(-jnp.inf)
    both = A.at[:, 0].set(-jnp.inf)
    for logits in (A, both):
        value, slope = jax.value_and_grad(lambda a: logit_distance(a, source).sum)(logits)
        assert np.isfinite(value)
        assert np.isfinite(slope).all()


@pytest.mark.parametrize("distance", [feature_distance, logit_distance])
def test_padding_counts_nothing_and_batches_add_up(distance):
    mask = jnp.array([1.0, 1, 1, 1, 0, 0])
    broken = A.at[4:].set(jnp.nan)
    got = distance(broken, B, mask=mask)
    want = distance(A[:4], B[:4])
    assert got.count == 4
    assert got.sum == pytest.approx(float(want.sum), rel=1e-6)
    parts = [distance(A[:3], B[:3]), distance(A[3:4], B[3:4])]
    assert sum(float(p.sum) for p in parts) == pytest.approx(float(want.sum), rel=1e-6)
    slope = jax.grad(lambda a: distance(a, B, mask=mask).sum)(A)
    assert (np.asarray(slope[4:]) == 0).all()
    nothing = distance(A, B, mask=jnp.zeros(6))
    assert nothing.mean == 0


def test_bfloat16_is_summed_in_float32():
    a = jnp.full((1, 1000), 1.0078125, jnp.bfloat16)
    b = jnp.ones((1, 1000), jnp.bfloat16)
    assert feature_distance(a, b).sum == pytest.approx(500 * 0.0078125**2, rel=1e-6)


def test_misfits_are_named():
    other = {"stem": MAPS["stem"][:, :1], "stage_1": MAPS["stage_1"]}
    with pytest.raises(ValueError, match="no layer 'stage_2'") as caught:
        layer_distance(MAPS, other, {"stage_2": 1.0, "stem": 1.0})
    assert "'stem' has shape (6, 2, 2, 3), in the source (6, 1, 2, 3)" in str(caught.value)
    with pytest.raises(ValueError, match="names no layer"):
        layer_distance(MAPS, MAPS, {})
