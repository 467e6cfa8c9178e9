"""The convex reference: scikit-learn's optimum, and honesty about convergence."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tlearn.transfer.logistic import logistic_regression

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, 120)
FEATURES = RNG.normal(size=(120, 20)) + 1.5 * np.eye(4, 20)[LABELS] + 3.0
# Widely different scales, as features of a body have them.
FEATURES = (FEATURES * np.geomspace(0.1, 10, 20)).astype(np.float32)


def objective(kernel, bias, l2):
    logits = FEATURES.astype(np.float64) @ kernel + bias
    shifted = logits - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(120), LABELS]
    return losses.mean() + 0.5 * l2 * np.sum(kernel**2)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-6), ("float32", 1e-4)])
@pytest.mark.parametrize("l2", [1e-1, 1e-3, 1e-5])
def test_reaches_the_optimum_of_scikit_learn(l2, dtype, tolerance):
    fit = logistic_regression(FEATURES, LABELS, 4, l2, dtype=dtype)
    peer = LogisticRegression(C=1 / (120 * l2), tol=1e-10, max_iter=20_000)
    peer.fit(FEATURES.astype(np.float64), LABELS)
    want = objective(peer.coef_.T, peer.intercept_, l2)
    got = objective(fit.kernel.astype(np.float64), fit.bias.astype(np.float64), l2)
    assert got <= want * (1 + tolerance)
    assert fit.objective == pytest.approx(got, rel=tolerance)
    assert fit.converged, fit
    assert fit.iterations < 100
    if dtype == "float64":
        assert got == pytest.approx(want, rel=1e-6)
    assert fit.kernel.dtype == dtype
    agree = np.argmax(fit.logits(FEATURES), axis=1) == peer.predict(FEATURES.astype(np.float64))
    assert agree.mean() > 0.99


def test_says_when_it_did_not_converge():
    fit = logistic_regression(FEATURES, LABELS, 4, 1e-4, iterations=3)
    assert not fit.converged
    assert fit.iterations == 3
    assert fit.gradient_norm > 1e-7


def test_parameters_fit_a_linear_head():
    params = logistic_regression(FEATURES, LABELS, 4, 1e-2).params()
    assert sorted(params) == ["head/dense/bias", "head/dense/kernel"]
    assert params["head/dense/kernel"].shape == (20, 4)
    assert params["head/dense/kernel"].dtype == np.float32


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="above 0"):
        logistic_regression(FEATURES, LABELS, 4, 0.0)
    with pytest.raises(ValueError, match="0 to 2"):
        logistic_regression(FEATURES, LABELS, 3, 1.0)
    with pytest.raises(ValueError, match=r"must be \[n d\]"):
        logistic_regression(FEATURES[:5], LABELS, 4, 1.0)
