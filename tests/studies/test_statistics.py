"""Statistics against scipy, against arithmetic by hand, and in simulation (law 7).

Breaks these tests were tried with, each caught: MIN_SEEDS = 2; no look at whether the interval
covers zero; Holm's factor left out; the failed runs of the winning side not asked for.
"""

import math

import numpy as np
import pytest
from scipy import stats

from tlearn.studies import statistics as st


def seeded(values) -> dict[int, float]:
    return dict(enumerate(float(v) for v in values))


def test_t_interval_is_scipys():
    values = np.random.default_rng(0).normal(0.8, 0.05, 9)
    low, high = stats.t.interval(0.95, 8, values.mean(), stats.sem(values))
    interval = st.t_interval(values)
    np.testing.assert_allclose(
        [interval.center, interval.low, interval.high], [values.mean(), low, high], rtol=1e-12
    )
    assert interval.over == "seeds"
    assert "over seeds" in str(interval)


def test_paired_p_and_interval_are_scipys():
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.7, 0.1, 10), rng.normal(0.6, 0.1, 10)
    expected = stats.ttest_rel(a, b)
    got = st.compare({"new": seeded(a), "old": seeded(b)}, "old")["new"]
    assert got.p == pytest.approx(expected.pvalue, rel=1e-10)
    assert got.holm_p == got.p  # one comparison needs no correction
    low, high = expected.confidence_interval()
    assert got.interval is not None
    np.testing.assert_allclose([got.interval.low, got.interval.high], [low, high], rtol=1e-10)


@pytest.mark.parametrize(("correct", "total"), [(0, 20), (20, 20), (9, 10), (143, 153), (1, 1)])
def test_wilson_is_scipys(correct, total):
    expected = stats.binomtest(correct, total).proportion_ci(0.95, method="wilson")
    got = st.wilson(correct, total)
    np.testing.assert_allclose([got.low, got.high], [expected.low, expected.high], atol=1e-12)
    assert got.over == "examples"
    assert got.low <= got.center <= got.high


def test_holm_by_hand():
    # Sorted 0.01 0.02 0.03 0.04 times 4 3 2 1 gives 0.04 0.06 0.06 0.04, made monotone.
    assert st.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx((0.06, 0.04, 0.06, 0.06))
    assert st.holm([0.9, 0.8]) == (1.0, 1.0)
    assert st.holm([]) == ()


def test_holm_is_statsmodels():
    # statsmodels 0.15.0: multipletests(p, method="holm")[1].
    p = [0.04, 0.001, 0.03, 0.012, 0.2]
    assert st.holm(p) == pytest.approx((0.09, 0.005, 0.09, 0.048, 0.2), rel=1e-12)
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).beta(0.3, 1, 20).tolist()
    np.testing.assert_allclose(st.holm(p), multitest.multipletests(p, method="holm")[1], rtol=1e-10)


def test_levels_of_holms_steps():
    # 0.001 at 5 % / 4, 0.012 at 5 % / 3; 0.03 is not rejected at 5 % / 2 and holds back 0.04.
    levels = st.holm_levels([0.04, 0.001, 0.03, 0.012])
    assert levels == pytest.approx((0.975, 1 - 0.05 / 4, 0.975, 1 - 0.05 / 3))
    assert st.holm_levels([]) == ()
    rng = np.random.default_rng(1)
    for _ in range(200):
        p = rng.beta(0.3, 2, 6).tolist()
        rejected = [value < 1 - level for value, level in zip(p, st.holm_levels(p), strict=True)]
        assert rejected == [value < 0.05 for value in st.holm(p)]


def test_corrected_interval_covers_zero_exactly_where_holm_says_nothing():
    rng = np.random.default_rng(2)
    seen = set()
    for _ in range(30):
        arms = {name: seeded(rng.normal(rng.normal(0, 1.5), 1, 7)) for name in "abcde"}
        for got in st.compare({**arms, "base": seeded(np.zeros(7))}, "base").values():
            assert got.corrected is not None
            assert got.interval is not None
            assert got.holm_p is not None
            assert got.corrected.covers(0.0) == (got.holm_p >= 0.05)
            assert (got.verdict.kind == "undecided") == got.corrected.covers(0.0)
            assert got.corrected.half_width >= got.interval.half_width
            seen.add((got.interval.covers(0.0), got.corrected.covers(0.0)))
    assert seen == {(True, True), (False, True), (False, False)}
    alone = st.compare({"a": arms["a"], "base": seeded(np.zeros(7))}, "base")["a"]
    assert alone.corrected == alone.interval


def test_pairing_by_seed_and_not_by_order():
    base = {0: 0.1, 1: 0.5, 2: 0.9, 3: 0.3, 4: 0.7}
    gain = {0: 0.010, 1: 0.012, 2: 0.011, 3: 0.009, 4: 0.010}
    new = {seed: base[seed] + gain[seed] for seed in reversed(base)}
    got = st.compare({"base": base, "new": new}, "base")["new"]
    assert got.verdict.kind == "better"
    assert dict(got.differences) == pytest.approx(gain)


def test_four_seeds_never_win_five_may():
    base = seeded(np.zeros(4))
    four = st.compare({"a": seeded([1.0, 1.01, 0.99, 1.0]), "base": base}, "base")["a"]
    assert four.verdict.kind == "too few seeds"
    assert "4 paired seeds" in four.verdict.reason
    five = seeded([1.0, 1.01, 0.99, 1.0, 1.0])
    assert (
        st.compare({"a": five, "base": seeded(np.zeros(5))}, "base")["a"].verdict.kind == "better"
    )


def test_interval_covering_zero_is_undecided():
    new = seeded([0.1, -0.1, 0.2, -0.15, 0.05, 0.0])
    got = st.compare({"a": new, "base": seeded(np.zeros(6))}, "base")["a"]
    assert got.verdict.kind == "undecided"
    assert "covers zero" in got.verdict.reason


def test_holm_can_take_back_what_one_interval_gives():
    rng = np.random.default_rng(3)
    base = seeded(np.zeros(8))
    noise = rng.normal(0, 1, 8)
    weak = noise - noise.mean() + 0.9 * noise.std(ddof=1)  # p about 0.04 alone
    alone = st.compare({"weak": seeded(weak), "base": base}, "base")["weak"]
    assert alone.verdict.kind == "better"
    others = {f"null {i}": seeded(rng.normal(0, 1, 8)) for i in range(5)}
    together = st.compare({"weak": seeded(weak), **others, "base": base}, "base")["weak"]
    assert together.interval == alone.interval
    assert together.family == 6
    assert together.verdict.kind == "undecided"
    assert "Holm" in together.verdict.reason


def test_lower_is_better_turns_the_verdict():
    losses = {"a": seeded([1.0, 1.1, 0.9, 1.0, 1.2]), "base": seeded([2.0, 2.2, 2.1, 1.9, 2.0])}
    assert st.compare(losses, "base", higher_is_better=False)["a"].verdict.kind == "better"
    assert st.compare(losses, "base")["a"].verdict.kind == "worse"


def test_failed_runs_are_counted_and_cannot_win():
    summary = st.summarize({0: 0.9, 1: None, 2: 0.92, 3: math.nan})
    assert summary.failed == (1, 3)
    assert summary.runs == "2 (2 failed)"
    assert summary.mean == pytest.approx(0.91)
    assert "2 failed" in str(summary)
    base = seeded(0.5 + 0.01 * np.arange(8))
    new = {**seeded(np.linspace(0.9, 0.95, 8)), 7: None}
    got = st.compare({"a": new, "base": base}, "base")["a"]
    assert got.unpaired == (7,)
    assert got.verdict.kind == "undecided"
    assert "failed" in got.verdict.reason
    # The reference's failures do not keep another arm from winning on the pairs that are left.
    new_ok, base_bad = seeded(np.linspace(0.9, 0.95, 8)), {**base, 7: None}
    assert st.compare({"a": new_ok, "base": base_bad}, "base")["a"].verdict.kind == "better"


def test_all_failed_and_one_left():
    summary = st.summarize({0: None, 1: math.inf})
    assert summary.mean is None
    assert summary.interval is None
    assert "no interval" in str(summary)
    got = st.compare({"a": {0: 1.0, 1: None}, "base": {0: 0.5, 1: 0.4}}, "base")["a"]
    assert got.p is None
    assert got.verdict.kind == "too few seeds"


def test_no_spread_is_no_evidence():
    base = seeded(np.linspace(0, 1, 6))
    same = st.compare({"a": base, "base": base}, "base")["a"]
    assert same.verdict.reason == "equal on all 6 seeds"
    shifted = seeded(np.linspace(0, 1, 6) + 0.25)
    constant = st.compare({"a": shifted, "base": base}, "base")["a"]
    assert constant.p == 1.0
    assert constant.verdict.kind == "undecided"


def test_errors_name_everything():
    with pytest.raises(ValueError, match="no arm"):
        st.compare({"a": {0: 1.0}}, "scratch")
    with pytest.raises(ValueError, match="have other seeds") as raised:
        st.compare({"a": {0: 1.0}, "b": {0: 1.0, 2: 1.0}, "base": {0: 1.0, 1: 0.5}}, "base")
    assert "a: missing [1], extra []" in str(raised.value)
    assert "b: missing [1], extra [2]" in str(raised.value)
    with pytest.raises(ValueError, match="no runs"):
        st.summarize({})
    with pytest.raises(ValueError, match="3 of 2"):
        st.wilson(3, 2)
    with pytest.raises(ValueError, match="n=1"):
        st.t_interval([1.0])


def test_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(4)
    draws = rng.normal(0.3, 2.0, (1500, 6))
    covered = np.mean([st.t_interval(row).covers(0.3) for row in draws])
    assert 0.93 < covered < 0.97
    counts = rng.binomial(150, 0.9, 1500)
    assert 0.93 < np.mean([st.wilson(int(c), 150).covers(0.9) for c in counts]) < 0.97


def test_null_arms_seldom_win():
    rng = np.random.default_rng(5)
    studies, wrong = 400, 0
    for _ in range(studies):
        arms = {name: seeded(rng.normal(0, 1, 6)) for name in "abcd"}
        arms["base"] = seeded(rng.normal(0, 1, 6))
        kinds = [c.verdict.kind for c in st.compare(arms, "base").values()]
        wrong += any(kind in ("better", "worse") for kind in kinds)
    # 5 % of studies may be wrong; without Holm it would be about 15 %. 4 standard errors of room.
    assert wrong / studies < 0.05 + 4 * math.sqrt(0.05 * 0.95 / studies)
