"""Linear CKA: what it does not see, what it does."""

import numpy as np
import pytest

from tlearn.studies.cka import linear_cka

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6))


def test_rotation_scale_and_shift_are_not_seen():
    turn, _ = np.linalg.qr(RNG.normal(size=(6, 6)))
    assert linear_cka(X, 3.0 * X @ turn + 5.0) == pytest.approx(1.0, abs=1e-12)


def test_both_ways_of_computing_agree():
    wide = RNG.normal(size=(40, 60))
    # With more features than examples, products of examples are taken; here once more by hand.
    x, y = X - X.mean(0), wide - wide.mean(0)
    by_hand = np.linalg.norm(y.T @ x) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)
    assert linear_cka(X, wide) == pytest.approx(by_hand, rel=1e-12)
    assert linear_cka(X, wide) == pytest.approx(linear_cka(wide, X), rel=1e-12)


def test_unlike_features_are_far_and_constant_ones_are_like_nothing():
    many = RNG.normal(size=(4000, 3))
    assert linear_cka(many, RNG.normal(size=(4000, 3))) < 0.01
    assert np.isnan(linear_cka(X, np.ones((40, 2))))
    with pytest.raises(ValueError, match="at least 3"):
        linear_cka(X[:2], X[:2])
