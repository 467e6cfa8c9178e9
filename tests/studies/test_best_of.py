"""Best of n against all draws there are, and against its own laws.

Breaks these tests were tried with, each caught: chosen on the reported figures; ties given to the
last run; the lowest taken where the highest is asked for; the exponent off by one.
"""

import itertools

import numpy as np
import pytest

from tlearn.studies.best_of import best_of

VALIDATION = [0.70, 0.82, 0.75, 0.82, 0.60]
TEST = [0.71, 0.78, 0.80, 0.74, 0.66]


def enumerated(validation, test, n, best=max):
    """The mean over all ordered draws with replacement; ties share."""
    found = []
    for drawn in itertools.product(range(len(validation)), repeat=n):
        top = best(validation[i] for i in drawn)
        found.append(np.mean([test[i] for i in drawn if validation[i] == top]))
    return float(np.mean(found))


@pytest.mark.parametrize("higher", [True, False])
def test_all_draws_there_are(higher):
    curve = best_of(VALIDATION, TEST, 5, higher_is_better=higher)
    assert curve.n == (1, 2, 3, 4, 5)
    expected = [enumerated(VALIDATION, TEST, n, max if higher else min) for n in curve.n]
    np.testing.assert_allclose(curve.expected, expected, rtol=1e-12)
    assert curve.expected[0] == pytest.approx(np.mean(TEST))


def test_dodges_own_curve_is_the_expected_maximum():
    values = np.random.default_rng(0).normal(0.8, 0.05, 12)
    curve = best_of(values, values, 12)
    ordered, i = np.sort(values), np.arange(1, 13)
    # Dodge et al. (2019): sum over runs of value × ((i/N)^n − ((i−1)/N)^n).
    expected = [np.sum(ordered * ((i / 12) ** n - ((i - 1) / 12) ** n)) for n in curve.n]
    np.testing.assert_allclose(curve.expected, expected, rtol=1e-12)
    assert list(curve.expected) == sorted(curve.expected)
    assert curve.expected[-1] < values.max()


def test_luck_on_validation_does_not_count():
    rng = np.random.default_rng(1)
    validation, test = rng.normal(size=400), rng.normal(size=400)
    chosen = best_of(validation, test, 20, resamples=50)
    assert abs(chosen.expected[-1]) < 0.5
    assert best_of(validation, validation, 20, resamples=50).expected[-1] > 1.5


def test_order_shift_scale_and_sign():
    rng = np.random.default_rng(2)
    validation, test = rng.normal(size=9), rng.normal(size=9)
    own = best_of(validation, test, 9)
    mixed = rng.permutation(9)
    other = best_of(validation[mixed], test[mixed], 9)
    np.testing.assert_allclose(other.expected, own.expected, rtol=1e-12)
    # Choosing knows only the order of validation; the reported figures are linear in the curve.
    moved = best_of(np.exp(validation), 3 * test + 2, 9)
    for name in ("expected", "low", "high"):
        np.testing.assert_allclose(getattr(moved, name), 3 * np.asarray(getattr(own, name)) + 2)
    losses = best_of(-validation, -test, 9, higher_is_better=False)
    np.testing.assert_allclose(losses.expected, -np.asarray(own.expected), rtol=1e-12)
    np.testing.assert_allclose(losses.low, -np.asarray(own.high), rtol=1e-12)


def test_band_is_seeded_and_of_the_right_size():
    rng = np.random.default_rng(3)
    validation, test = rng.normal(size=50), rng.normal(size=50)
    curve = best_of(validation, test, 3)
    assert curve == best_of(validation, test, 3)
    assert curve != best_of(validation, test, 3, seed=1)
    assert (curve.runs, curve.level) == (50, 0.95)
    # At n = 1 the curve is the mean, and the band its bootstrap interval.
    error = test.std() / np.sqrt(50)
    assert curve.high[0] - curve.low[0] == pytest.approx(2 * 1.96 * error, rel=0.1)
    for low, middle, high in zip(curve.low, curve.expected, curve.high, strict=True):
        assert low < middle < high
    narrow = best_of(validation, test, 3, level=0.5)
    assert narrow.high[0] - narrow.low[0] < 0.5 * (curve.high[0] - curve.low[0])


def test_one_run_equal_runs_and_half_by_default():
    one = best_of([0.5], [0.4])
    assert (one.n, one.expected, one.low, one.high) == ((1,), (0.4,), (0.4,), (0.4,))
    flat = best_of([0.5] * 6, [*TEST, 0.9])
    np.testing.assert_allclose(flat.expected, np.mean([*TEST, 0.9]), rtol=1e-12)
    assert len(flat.n) == 3


def test_errors_all_at_once():
    with pytest.raises(ValueError, match="2 figures on validation, 3 reported") as raised:
        best_of([0.1, np.nan], [0.1, 0.2, 0.3], 4, level=2.0)
    for part in ("not finite", "n_max = 4, but there are 2 runs", "level = 2.0"):
        assert part in str(raised.value)
    with pytest.raises(ValueError, match="0 figures on validation"):
        best_of([], [])
