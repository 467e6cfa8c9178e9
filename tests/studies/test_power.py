"""Power against statsmodels, published tables and simulated tests.

Breaks these tests were tried with, each caught: the central t in place of the non-central; n in
place of √n; no division by the number of arms; fewer than five seeds; a search off by one.
"""

import numpy as np
import pytest
from scipy import stats

from tlearn.studies.power import power, seeds_needed, seeds_text, sight_text, smallest_difference


@pytest.mark.parametrize(
    # statsmodels 0.15.0: TTestPower().power(difference, n, error).
    ("n", "difference", "arms", "expected"),
    [
        (5, 1.0, 1, 0.4013899173717948),
        (10, 0.5, 1, 0.2931756065140767),
        (10, 0.5, 10, 0.061717646413975834),
        (20, 0.9, 10, 0.7869060249637778),
    ],
)
def test_power_is_statsmodels(n, difference, arms, expected):
    assert power(n, 1.0, difference, arms=arms) == pytest.approx(expected, rel=1e-10)
    # Only difference over spread counts, whatever its sign.
    assert power(n, 0.02, -0.02 * difference, arms=arms) == pytest.approx(expected, rel=1e-9)


def test_statsmodels_itself():
    statsmodels = pytest.importorskip("statsmodels.stats.power")
    for n, difference in ((6, 0.8), (12, 0.3), (40, 0.6)):
        expected = statsmodels.TTestPower().power(difference, n, 0.05)
        assert power(n, 1.0, difference) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("difference", "n"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_sizes_every_table_has(difference, n):
    # Small, medium and large effects of Cohen (1988) for paired values, power 0.8, error 0.05.
    assert seeds_needed(1.0, difference) == n


def test_simulated_tests_see_as_often_as_promised():
    rng = np.random.default_rng(0)
    for n, arms in ((5, 1), (8, 4)):
        p = stats.ttest_1samp(rng.normal(1.2, 1.0, (20_000, n)), 0, axis=1).pvalue
        seen = np.mean(p < 0.05 / arms)
        assert seen == pytest.approx(power(n, 1.0, 1.2, arms=arms), abs=0.015)


@pytest.mark.parametrize("arms", [1, 3, 10])
@pytest.mark.parametrize("difference", [0.003, 0.1, 0.4, 0.9])
def test_the_fewest_seeds_that_are_enough(difference, arms):
    n = seeds_needed(1.0, difference, power=0.9, arms=arms)
    assert power(n, 1.0, difference, arms=arms) >= 0.9
    assert n == 5 or power(n - 1, 1.0, difference, arms=arms) < 0.9


def test_never_fewer_than_a_winner_needs():
    for difference in (10, 100, 1e6):
        assert seeds_needed(1.0, difference, arms=10) == 5


@pytest.mark.parametrize("arms", [1, 10])
@pytest.mark.parametrize("n", [5, 10, 37])
def test_smallest_difference_and_back(n, arms):
    seen = smallest_difference(n, 0.02, arms=arms)
    assert power(n, 0.02, seen, arms=arms) == pytest.approx(0.8, abs=1e-9)
    assert seeds_needed(0.02, seen, arms=arms) == n
    assert smallest_difference(n, 0.04, arms=arms) == pytest.approx(2 * seen, rel=1e-9)


def test_no_difference_is_seen_by_error_only():
    assert power(10, 1.0, 0.0) == pytest.approx(0.05, abs=1e-12)
    assert power(10, 1.0, 0.0, arms=5) == pytest.approx(0.01, abs=1e-12)
    assert smallest_difference(10, 1.0, power=0.04) == 0.0
    # Where scipy loses the far tail.
    assert power(5, 1.0, 30.0, arms=10) == pytest.approx(1.0)


def test_sentences():
    assert seeds_text(0.012, -0.01, arms=9) == (
        "To see a difference of 0.010 with this spread (standard deviation 0.012 between paired "
        "seeds) you need 23 seeds (power 80 %, error 5 %, corrected over 9 arms)."
    )
    told = sight_text(10, 0.012)
    assert told.startswith("10 seeds with this spread")
    assert "a difference of 0.012 (power 80 %, error 5 %)" in told


def test_errors_all_at_once():
    with pytest.raises(ValueError, match="n = 1") as raised:
        power(1, 0.0, 0.1, level=1.5, arms=0)
    for part in ("std = 0.0", "level = 1.5", "arms = 0"):
        assert part in str(raised.value)
    with pytest.raises(ValueError, match="power = 1"):
        seeds_needed(1.0, 0.1, power=1.0)
    with pytest.raises(ValueError, match="not zero, got 0"):
        seeds_needed(1.0, 0.0)
    with pytest.raises(ValueError, match="finite, got nan"):
        power(5, 1.0, float("nan"))
