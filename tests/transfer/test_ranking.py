"""Which source to take: every score against another way to compute it, and what leaves it be."""

import math

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from tlearn.transfer import linear_probe as linear_probe_module
from tlearn.transfer import neighbours
from tlearn.transfer.evidence import log_evidence, logme
from tlearn.transfer.h_score import h_score, shrunk_h_score
from tlearn.transfer.labelled import checked
from tlearn.transfer.leep import leep, nleep
from tlearn.transfer.linear_probe import folds_of, linear_probe
from tlearn.transfer.neighbours import neighbours_accuracy
from tlearn.transfer.ranking import (
    SCORES,
    Examined,
    agreement,
    score,
    unknown_scores,
    weighted_tau,
)

RNG = np.random.default_rng(0)
LABELS = np.arange(120) % 3
NOISE = RNG.normal(size=(120, 8))
GOOD = NOISE + 2.0 * np.eye(3, 8)[LABELS]
ROTATION = np.linalg.qr(RNG.normal(size=(8, 8)))[0]


def marginal(x, y, alpha, beta):
    """log N(y; 0, I/β + XXᵀ/α), without the singular basis."""
    covariance = np.eye(len(x)) / beta + x @ x.T / alpha
    _, log_determinant = np.linalg.slogdet(covariance)
    fit = y @ np.linalg.solve(covariance, y)
    return -0.5 * (len(x) * math.log(2 * math.pi) + log_determinant + fit)


@pytest.mark.parametrize(("n", "d"), [(40, 6), (20, 30), (20, 20)])
def test_the_evidence_is_the_largest_marginal_likelihood(n, d):
    from scipy.optimize import minimize

    x = RNG.normal(size=(n, d)) + 1
    y = (x[:, 0] + RNG.normal(size=n) > 1).astype(float)
    starts = [(a, b) for a in (0.0, 4.0) for b in (0.0, 3.0)]
    found = [
        minimize(lambda t: -marginal(x, y, *np.exp(t)), s, method="L-BFGS-B", bounds=[(-9, 14)] * 2)
        for s in starts
    ]
    best = -min(one.fun for one in found)
    assert log_evidence(x, y[:, None])[0] == pytest.approx(best, abs=1e-6)


def test_logme_is_the_mean_over_classes_and_examples():
    targets = np.eye(3)[LABELS]
    each = [log_evidence(GOOD, targets[:, [k]])[0] for k in range(3)]
    assert logme(GOOD, LABELS) == pytest.approx(np.mean(each) / 120, rel=1e-12)
    assert logme(GOOD, LABELS) == pytest.approx(logme(GOOD, 7 * LABELS - 3), rel=1e-12)


@pytest.mark.parametrize("change", [lambda x: x @ ROTATION, lambda x: 1e3 * x])
@pytest.mark.parametrize("measure", [logme, shrunk_h_score, h_score])
def test_rotation_and_scale_change_nothing(measure, change):
    assert measure(change(GOOD), LABELS) == pytest.approx(measure(GOOD, LABELS), rel=1e-6)


def test_leep_by_hand():
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
    y = np.array([0, 0, 1, 1])
    # P(y=0 | z) = 1.5 / 2.0 and 0.5 / 2.0.
    told = np.array([0.75 * a + 0.25 * b for a, b in p])
    expected = np.mean(np.log(np.where(y == 0, told, 1 - told)))
    assert leep(p, y) == pytest.approx(expected, rel=1e-12)


def test_leep_lies_between_the_shares_of_classes_and_zero():
    y = np.repeat([0, 1, 2], [60, 40, 20])
    shares = np.array([0.5, 1 / 3, 1 / 6])
    entropy = -np.sum(shares * np.log(shares))
    same = np.tile([0.2, 0.5, 0.3, 0.0], (120, 1))
    assert leep(same, y) == pytest.approx(-entropy, rel=1e-12)
    assert leep(np.eye(3)[y][:, [2, 0, 1]], y) == pytest.approx(0.0, abs=1e-12)
    drawn = RNG.dirichlet(np.ones(4), 120)
    assert -entropy <= leep(drawn, y) < 0


def test_nleep_of_clusters_that_are_the_classes_is_zero():
    tight = np.eye(3, 8)[LABELS] + 1e-3 * NOISE
    assert nleep(tight, LABELS) == pytest.approx(0.0, abs=1e-6)
    assert nleep(NOISE, LABELS) < nleep(GOOD, LABELS) < 0
    assert nleep(100 * GOOD, LABELS) == pytest.approx(nleep(GOOD, LABELS), rel=1e-6)


def test_h_score_is_the_trace_of_its_definition():
    within = GOOD - GOOD.mean(0)
    means = np.stack([GOOD[LABELS == k].mean(0) for k in range(3)])[LABELS]
    between = np.cov(means.T, bias=True)
    expected = np.trace(np.linalg.inv(np.cov(within.T, bias=True)) @ between)
    assert h_score(GOOD, LABELS) == pytest.approx(expected, rel=1e-9)
    assert 0 < expected < 2
    peer = LedoitWolf().fit(GOOD)
    shrunk = np.trace(np.linalg.inv(peer.covariance_) @ ((1 - peer.shrinkage_) * between))
    assert shrunk_h_score(GOOD, LABELS) == pytest.approx(shrunk, rel=1e-9)


def test_h_score_knows_nothing_where_there_are_fewer_examples_than_numbers():
    wide = RNG.normal(size=(30, 50))
    assert h_score(wide, np.arange(30) % 3) == pytest.approx(2.0, rel=1e-6)
    found = score(Examined(wide, np.arange(30) % 3), ["h_score", "h_score_shrunk"])
    assert found["h_score"].value is None
    assert "30 examples for 50 numbers" in found["h_score"].why
    assert found["h_score_shrunk"].value == pytest.approx(0, abs=0.2)


def test_neighbours_are_those_of_scikit_learn(monkeypatch):
    right = []
    for i in range(120):
        others = np.arange(120) != i
        peer = KNeighborsClassifier(1, metric="cosine").fit(NOISE[others], LABELS[others])
        right.append(peer.predict(NOISE[[i]])[0] == LABELS[i])
    assert neighbours_accuracy(NOISE, LABELS, k=1) == np.mean(right)
    assert neighbours_accuracy(GOOD, LABELS) > 0.8
    whole = neighbours_accuracy(NOISE, LABELS)
    monkeypatch.setattr(neighbours, "_ROWS", 7)
    assert neighbours_accuracy(NOISE, LABELS) == whole
    # Two against two: the nearer pair decides.
    angles = np.array([0.0, 0.1, 0.2, 0.5, 0.6])
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert neighbours_accuracy(x, np.array([0, 0, 0, 1, 1]), k=4) == pytest.approx(3 / 5)


def test_a_probe_judges_every_example_once_and_never_on_what_it_learned():
    fold = folds_of(LABELS, 5, seed=0)
    counts = np.array([[np.sum((fold == f) & (LABELS == k)) for k in range(3)] for f in range(5)])
    assert (counts == 8).all()
    assert linear_probe(GOOD, LABELS).accuracy > 0.8
    # Labels by chance: who is judged on what it learned is right far more often.
    chance = linear_probe(NOISE, RNG.permutation(LABELS))
    assert 0.2 < chance.accuracy < 0.47
    low, high = chance.interval()
    assert low < chance.accuracy < high


def test_the_penalty_of_a_fold_is_chosen_without_that_fold(monkeypatch):
    asked, fold = [], folds_of(LABELS, 5, seed=0)

    def right(x, y, classes, learned, judged, penalty):
        asked.append((learned, judged, penalty))
        return np.full(judged.sum(), penalty == 0.1)

    monkeypatch.setattr(linear_probe_module, "_right", right)
    found = linear_probe(GOOD, LABELS, penalties=(1.0, 0.1))
    assert found.penalties == (0.1,) * 5
    assert found.accuracy == 1.0
    for held in range(5):
        *trials, final = asked[3 * held : 3 * held + 3]
        np.testing.assert_array_equal(final[1], fold == held)
        np.testing.assert_array_equal(final[0], fold != held)
        for learned, judged, _ in trials:
            assert not (judged & learned).any()
            assert not ((judged | learned) & (fold == held)).any()
            assert (judged | learned).sum() == (fold != held).sum()


def test_the_probes_interval_is_wilsons():
    from scipy.stats import binomtest

    found = linear_probe(GOOD, LABELS)
    peer = binomtest(int(found.right.sum()), 120).proportion_ci(0.95, "wilson")
    assert found.interval() == pytest.approx((peer.low, peer.high), rel=1e-9)


def test_a_probe_with_one_penalty_is_scikit_learns_in_every_fold():
    x, y = RNG.normal(size=(60, 70)) + np.eye(3, 70)[LABELS[:60]], LABELS[:60]
    found, fold = linear_probe(x, y, penalties=(0.1,)), folds_of(y, 5, seed=0)
    for f in range(5):
        train = fold != f
        scaled = (x - x[train].mean(0)) / x[train].std(0)
        peer = LogisticRegression(C=1 / (48 * 0.1), tol=1e-10, max_iter=10_000)
        peer.fit(scaled[train], y[train])
        np.testing.assert_array_equal(
            found.right[~train], peer.predict(scaled[~train]) == y[~train]
        )


def test_good_features_rank_above_noise_and_missing_scores_say_why():
    good, noise = score(Examined(GOOD, LABELS)), score(Examined(NOISE, LABELS))
    for name in SCORES:
        if name == "leep":
            assert good[name].value is None
            assert good[name].why == "the source has no labels of its own"
        else:
            assert good[name].value > noise[name].value, name
    assert good["probe"].interval[0] < good["probe"].value < good["probe"].interval[1]
    few = score(Examined(GOOD[:4], LABELS[:4]), ["probe"])
    assert "there are 4" in few["probe"].why


def test_what_cannot_be_scored_is_refused_at_once():
    broken = GOOD.copy()
    broken[[3, 5], 0] = np.nan
    with pytest.raises(ValueError, match=r"not finite, of examples \[3, 5\]") as told:
        score(Examined(broken, np.zeros(120, int)))
    assert "1 class" in str(told.value)
    with pytest.raises(ValueError, match="120 rows of features for 100 labels"):
        checked(GOOD, LABELS[:100])
    with pytest.raises(ValueError, match="no probabilities"):
        leep(GOOD, LABELS)
    with pytest.raises(ValueError, match="did you mean 'logme'"):
        score(Examined(GOOD, LABELS), ["logm"])
    assert unknown_scores(list(SCORES)) == []


def test_agreement_is_the_weighted_tau_of_what_both_know():
    a, b = [3.0, 2.0, 1.0, 0.0], [30.0, 20.0, 10.0, None]
    assert weighted_tau(a, b) == pytest.approx(1.0)
    assert weighted_tau(a, [-x for x in a]) == pytest.approx(-1.0)
    # Vigna's weights 1/(r+1) + 1/(s+1) of the pair that is exchanged, in both orders the same:
    # places 2 and 3 weigh 1/2 + 1/3, all pairs (1 + 1/2) + (1 + 1/3) + (1/2 + 1/3).
    swapped = [3.0, 1.0, 2.0]
    assert weighted_tau(a[:3], swapped) == pytest.approx(1 - 2 * (5 / 6) / (11 / 3))
    assert weighted_tau(a[:2], b[:2]) is None
    assert weighted_tau(a, [1.0] * 4) is None
    assert set(agreement({"x": a, "y": b, "z": a})) == {("x", "y"), ("x", "z"), ("y", "z")}
