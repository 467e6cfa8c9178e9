"""Two one-sided tests against statsmodels and against their own interval.

Breaks these tests were tried with, each caught: the 95 % interval in place of the 90 % one; the
smaller p of the two; the error halved as in a two-sided test; fewer than five seeds let through.
"""

import numpy as np
import pytest

from tlearn.studies.equivalence import tost
from tlearn.studies.statistics import t_interval

DIFFERENCES = [0.012, -0.004, 0.009, 0.021, 0.003, 0.007, -0.001, 0.015]


@pytest.mark.parametrize(
    # statsmodels 0.15.0: DescrStatsW(differences).ttost_mean(-margin, margin)[0].
    ("margin", "p", "equivalent"),
    [(0.01, 0.23487193783933424, False), (0.02, 0.002119809884565362, True)],
)
def test_p_and_interval_are_statsmodels(margin, p, equivalent):
    got = tost(DIFFERENCES, margin)
    assert got.p == pytest.approx(p, rel=1e-10)
    assert got.equivalent is equivalent
    # DescrStatsW(differences).tconfint_mean(0.1).
    np.testing.assert_allclose(
        [got.interval90.low, got.interval90.high],
        [0.00217155401485379, 0.013328445985146212],
        rtol=1e-10,
    )
    assert (got.n, got.margin, got.interval90.level) == (8, margin, pytest.approx(0.9))


def test_statsmodels_itself():
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    rng = np.random.default_rng(0)
    for n in (2, 5, 30):
        values = rng.normal(0.3, 1, n)
        expected = weightstats.DescrStatsW(values).ttost_mean(-0.8, 0.8)[0]
        assert tost(values, 0.8).p == pytest.approx(expected, rel=1e-10)


def test_equivalent_exactly_where_the_interval_is_inside():
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(300):
        n = int(rng.integers(5, 20))
        got = tost(rng.normal(rng.normal(0, 0.5), 0.8, n), 1.0)
        inside = -1 < got.interval90.low and got.interval90.high < 1
        assert got.equivalent == inside
        seen.add(inside)
    assert seen == {True, False}


def test_sign_scale_and_margin():
    values = np.asarray(DIFFERENCES)
    got = tost(values, 0.015)
    assert tost(-values, 0.015).p == pytest.approx(got.p, rel=1e-12)
    assert tost(1000 * values, 15).p == pytest.approx(got.p, rel=1e-10)
    ps = [tost(values, margin).p for margin in (0.005, 0.01, 0.02, 0.05)]
    assert ps == sorted(ps, reverse=True)


def test_undecided_is_not_equivalent_and_different_may_be():
    wide = tost([1.0, -1.2, 0.8, -0.9, 0.4, -0.1], 0.1)
    assert t_interval([1.0, -1.2, 0.8, -0.9, 0.4, -0.1]).covers(0)
    assert not wide.equivalent
    assert "is not shown" in str(wide)
    assert "reaches beyond" in str(wide)
    small = tost([0.011, 0.012, 0.010, 0.011, 0.013], 0.05)
    assert small.equivalent
    assert not small.interval90.covers(0)  # A difference, but one that does not matter.
    assert "equivalent within ±0.050" in str(small)
    assert "5 paired seeds" in str(small)


def test_four_seeds_and_no_spread_show_nothing():
    four = tost([0.001, -0.001, 0.0005, -0.0005], 0.1)
    assert four.p < 0.001
    assert not four.equivalent
    assert "4 paired seeds, at least 5" in str(four)
    equal = tost([0.0] * 8, 0.1)
    assert (equal.p, equal.equivalent) == (1.0, False)
    assert "without spread" in str(equal)


def test_errors_all_at_once():
    with pytest.raises(ValueError, match="at least two") as raised:
        tost([np.nan], -1.0, level=0.4)
    for part in ("finite", "margin must be a positive number, got -1.0", "level must lie"):
        assert part in str(raised.value)
