"""Bootstrap and example intervals against scipy, statsmodels, enumeration and their own laws.

Breaks these tests were tried with, each caught: the expansion without √(n/(n−1)); a percentile
interval in place of BCa; each run counted as a test set of its own; no imagined examples.
"""

import itertools
import math

import numpy as np
import pytest
from scipy import special, stats

from tlearn.studies import intervals as iv
from tlearn.studies.statistics import t_interval, wilson

VALUES = [0.8125, 0.84375, 0.796875, 0.859375, 0.828125, 0.8046875, 0.875]
"""Sums of these are exact, so that scipy counts resamples equal to the sample as such."""


def ends(interval):
    return [interval.low, interval.high]


@pytest.mark.parametrize(
    # scipy 1.17.1: stats.bootstrap(method="BCa", n_resamples=9999, rng=default_rng(0)).
    ("level", "low", "high"),
    [(0.95, 0.8136160714285714, 0.8526785714285714), (0.9, 0.8158482142857144, 0.8493303571428571)],
)
def test_unexpanded_is_scipys(level, low, high):
    got = iv.bca_interval(VALUES, level=level, expanded=False)
    np.testing.assert_allclose([*ends(got), got.center], [low, high, np.mean(VALUES)], rtol=1e-10)
    assert (got.over, got.level) == ("seeds", level)
    found = stats.bootstrap(
        (np.asarray(VALUES),),
        np.mean,
        method="BCa",
        confidence_level=level,
        rng=np.random.default_rng(0),
    ).confidence_interval
    np.testing.assert_allclose(ends(got), [found.low, found.high], rtol=1e-10)


@pytest.mark.parametrize("expanded", [False, True])
def test_bca_of_all_resamples_there_are(expanded):
    """Efron's formula over all 5^5 resamples, without a random number."""
    x = np.asarray([0.1, 0.2, 0.25, 0.6, 0.9])
    means = np.asarray([np.mean(s) for s in itertools.product(x, repeat=5)])
    below = np.mean(means < x.mean() - 1e-12) + np.mean(np.abs(means - x.mean()) < 1e-12) / 2
    left = x.mean() - (x.sum() - x) / 4
    z0, a = special.ndtri(below), np.sum(left**3) / (6 * np.sum(left**2) ** 1.5)
    tail = stats.norm.cdf(-math.sqrt(5 / 4) * stats.t.ppf(0.975, 4)) if expanded else 0.025
    z = z0 + special.ndtri([tail, 1 - tail])
    expected = np.quantile(means, special.ndtr(z0 + z / (1 - a * z)))
    got = iv.bca_interval(x, resamples=100_000, expanded=expanded)
    np.testing.assert_allclose(ends(got), expected, atol=0.03 if expanded else 0.012)


def test_as_long_as_students_without_skew():
    x = stats.norm.ppf((np.arange(20) + 0.5) / 20)
    got, t = iv.bca_interval(x), t_interval(x)
    assert got.half_width == pytest.approx(t.half_width, rel=0.03)
    assert iv.bca_interval(x, expanded=False).half_width < 0.95 * t.half_width


def test_many_studies_at_once_are_each_alone():
    many = np.random.default_rng(0).gamma(2, size=(3, 2, 6))
    many[1, 0] = 0.5  # One without spread among them.
    low, high = iv.bca_bounds(many, resamples=199)
    assert low.shape == high.shape == (3, 2)
    for at in np.ndindex(3, 2):
        alone = iv.bca_interval(many[at], resamples=199)
        np.testing.assert_allclose([low[at], high[at]], ends(alone), rtol=1e-12)


@pytest.mark.parametrize("expanded", [False, True])
@pytest.mark.parametrize("n", [2, 3, 5, 12])
def test_shift_scale_sign_and_range(n, expanded):
    x = np.random.default_rng(n).gamma(1, size=n)

    def bounds(values):
        return np.asarray(ends(iv.bca_interval(values, resamples=999, expanded=expanded)))

    own = bounds(x)
    np.testing.assert_allclose(bounds(3 * x + 7), 3 * own + 7, rtol=1e-9)
    np.testing.assert_allclose(bounds(-x), -own[::-1], rtol=1e-9)
    assert x.min() <= own[0] <= x.mean() <= own[1] <= x.max()


def test_seeded_and_degenerate():
    values = np.random.default_rng(0).normal(size=12)
    assert iv.bca_interval(values) == iv.bca_interval(values)
    assert iv.bca_interval(values, seed=1) != iv.bca_interval(values)
    same = iv.bca_interval([0.5, 0.5, 0.5])
    assert (same.low, same.center, same.high) == (0.5, 0.5, 0.5)
    one_off = iv.bca_interval([0, 0, 0, 0, 1])
    assert 0 <= one_off.low < 0.2 < one_off.high <= 1
    for bad, match in [([1.0], "n=1"), ([1.0, math.nan], "1 of 2 figures are not finite")]:
        with pytest.raises(ValueError, match=match):
            iv.bca_interval(bad)
    with pytest.raises(ValueError, match="level=1"):
        iv.bca_interval(VALUES, level=1.0)


def correct(runs, n=150, chance=0.9, seed=0):
    return (np.random.default_rng(seed).random((runs, n)) < chance).astype(np.float32)


def test_one_run_is_wilsons_and_copies_add_nothing():
    # statsmodels 0.15.0: proportion_confint(143, 153, method="wilson").
    right = np.repeat([[1.0, 0.0]], [143, 10], axis=1)
    np.testing.assert_allclose(
        ends(iv.examples_interval(right)), [0.8838761830582917, 0.9641138892098424], rtol=1e-10
    )
    assert ends(iv.examples_interval(np.ones((1, 20)))) == ends(wilson(20, 20))
    once = correct(1)
    copies = iv.examples_interval(np.repeat(once, 4, axis=0))
    np.testing.assert_allclose(ends(copies), ends(iv.examples_interval(once)), rtol=1e-12)
    assert iv.examples_interval(once.astype(bool)) == iv.examples_interval(once)


def test_runs_that_err_elsewhere_shorten_the_interval_at_most_as_more_examples_would():
    many = correct(5)
    got = iv.examples_interval(many)
    assert got.over == "examples"
    assert got.half_width < iv.examples_interval(many[:1]).half_width
    pooled = iv.examples_interval(many.reshape(1, -1))
    assert got.half_width >= pooled.half_width * (1 - 1e-12)
    # Two runs that are never right on the same example: no spread over examples, an interval still.
    opposed = np.asarray([[1.0, 0.0] * 10, [0.0, 1.0] * 10])
    assert iv.examples_interval(opposed).half_width > 0.1


def test_examples_mirror():
    c = correct(3, 40, 0.95)
    right, wrong = iv.examples_interval(c), iv.examples_interval(1 - c)
    np.testing.assert_allclose(ends(right), [1 - wrong.high, 1 - wrong.low], rtol=1e-10)
    all_right = iv.examples_interval(np.ones((3, 40)))
    assert all_right.high == 1
    assert 0.9 < all_right.low < 1


def test_paired_examples_by_hand():
    # 21 examples, 1 that only a gets right, 7 that only b does (Bonett and Price: add one to each).
    a = np.repeat([[1.0, 1.0, 0.0, 0.0]], [1, 1, 7, 12], axis=1)
    b = np.repeat([[1.0, 0.0, 1.0, 0.0]], [1, 1, 7, 12], axis=1)
    win, lose = 2 / 23, 8 / 23
    half = stats.norm.ppf(0.975) * math.sqrt((win + lose - (win - lose) ** 2) / 23)
    got = iv.paired_examples(a, b)
    np.testing.assert_allclose(ends(got), [win - lose - half, win - lose + half], rtol=1e-10)
    assert got.center == pytest.approx(-6 / 21)
    back = iv.paired_examples(b, a)
    np.testing.assert_allclose(ends(back), [-got.high, -got.low], rtol=1e-10)


def test_pairing_helps_and_agreement_is_not_certainty():
    rng = np.random.default_rng(0)
    hard = rng.random((1, 400)) < 0.3
    a, b = ((~hard) ^ (rng.random((2, 400)) < 0.02) for _ in range(2))
    paired = iv.paired_examples(a, b)
    apart = iv.paired_examples(a, rng.permutation(b, axis=1))
    assert paired.half_width < 0.5 * apart.half_width
    same = iv.paired_examples(a, a)
    assert same.covers(0)
    assert 0 < same.half_width < 0.02


def test_several_runs_a_side_count_as_more_examples():
    a, b = correct(4, chance=0.9, seed=1), correct(3, chance=0.8, seed=2)
    got = iv.paired_examples(a, b)
    assert got.center == pytest.approx(a.mean() - b.mean())
    assert got.half_width < 0.8 * iv.paired_examples(a[:1], b[:1]).half_width
    copies = iv.paired_examples(np.repeat(a[:1], 3, 0), np.repeat(b[:1], 2, 0))
    np.testing.assert_allclose(ends(copies), ends(iv.paired_examples(a[:1], b[:1])), rtol=1e-10)
    each = a.mean(0) - b.mean(0)
    assert got.half_width == pytest.approx(1.96 * each.std() / math.sqrt(150), rel=0.05)
    back = iv.paired_examples(b, a)
    np.testing.assert_allclose(ends(got), [-back.high, -back.low], rtol=1e-10)


@pytest.mark.parametrize("call", [iv.examples_interval, lambda c: iv.paired_examples(c, c)])
def test_example_errors(call):
    with pytest.raises(ValueError, match=r"2 of 6 values lie outside \[0, 1\], the first is 3"):
        call(np.asarray([[0.0, 1.0, 3.0], [1.0, 0.5, math.nan]]))
    with pytest.raises(ValueError, match="at least one run"):
        call(np.zeros((0, 4)))
