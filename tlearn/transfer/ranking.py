"""Which source to take: scores of a source's features on the target, all under their names.

Higher is better for every score. Each costs seconds; none trains the body.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tlearn.params.paths import nearest
from tlearn.transfer.evidence import logme
from tlearn.transfer.h_score import h_score, shrunk_h_score
from tlearn.transfer.labelled import checked
from tlearn.transfer.leep import leep, nleep
from tlearn.transfer.linear_probe import linear_probe
from tlearn.transfer.neighbours import neighbours_accuracy

FOLDS = 5
FEWEST = 3
"""Sources that an order is compared over."""


@dataclasses.dataclass(frozen=True, eq=False)
class Examined:
    """What a source makes of the target's examples.

    Attributes:
        features: [n d].
        labels: [n].
        probabilities: [n z] of the source's own labels; None if it has none.
        why: Why it has none.
        seed: Of folds and mixtures.
    """

    features: Float[np.ndarray, "n d"]
    labels: Int[np.ndarray, " n"]
    probabilities: Float[np.ndarray, "n z"] | None = None
    why: str = "the source has no labels of its own"
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """One score of one source.

    Attributes:
        value: None where it cannot be computed.
        why: Why not.
        interval: 95 % over examples, where it has one.
        seconds: What it took.
    """

    value: float | None
    why: str = ""
    interval: tuple[float, float] | None = None
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Kind:
    """A score by name.

    Attributes:
        about: What it is, in a few words, with its paper.
        compute: Gives the score; one that cannot be has a reason.
    """

    about: str
    compute: Callable[[Examined], Score]


def _leep(given: Examined) -> Score:
    if given.probabilities is None:
        return Score(value=None, why=given.why)
    return Score(value=leep(given.probabilities, given.labels))


def _h_score(given: Examined) -> Score:
    n, d = given.features.shape
    if n <= d:
        why = f"{n} examples for {d} numbers: equal for all such features, see h_score_shrunk"
        return Score(value=None, why=why)
    return Score(value=h_score(given.features, given.labels))


def _probe(given: Examined) -> Score:
    if len(given.labels) < FOLDS:
        why = f"{FOLDS} folds need as many examples, there are {len(given.labels)}"
        return Score(value=None, why=why)
    found = linear_probe(given.features, given.labels, folds=FOLDS, seed=given.seed)
    return Score(value=found.accuracy, interval=found.interval())


def _nleep(given: Examined) -> Score:
    return Score(value=nleep(given.features, given.labels, seed=given.seed))


SCORES: dict[str, Kind] = {
    "logme": Kind(
        "log evidence of a linear model (You et al. 2021)",
        lambda given: Score(value=logme(given.features, given.labels)),
    ),
    "leep": Kind("likelihood given the source's labels (Nguyen et al. 2020)", _leep),
    "nleep": Kind("the same of clusters of the features (Li et al. 2021)", _nleep),
    "h_score": Kind("variance between classes (Bao et al. 2019)", _h_score),
    "h_score_shrunk": Kind(
        "the same with a shrunk covariance (Ibrahim et al. 2021)",
        lambda given: Score(value=shrunk_h_score(given.features, given.labels)),
    ),
    "probe": Kind("accuracy of logistic regression, cross-validated", _probe),
    "knn": Kind(
        "accuracy of 5 nearest neighbours by cosine, leaving one out",
        lambda given: Score(value=neighbours_accuracy(given.features, given.labels)),
    ),
}
"""All scores by name, in the order of tables."""


def unknown_scores(names: Sequence[str]) -> list[str]:
    """Says of every name that is no score which is nearest."""
    problems = []
    for name in names:
        if name not in SCORES:
            close = nearest(name, SCORES, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            problems.append(f"no score is called {name!r}: {hint}(there is: {', '.join(SCORES)})")
    return problems


def score(given: Examined, names: Sequence[str] = tuple(SCORES)) -> dict[str, Score]:
    """Scores a source; what cannot be computed has a reason in place of a value.

    Args:
        given: Features and labels.
        names: Which scores.

    Raises:
        ValueError: If a name is unknown, or the features cannot be scored at all.
    """
    if problems := unknown_scores(names):
        raise ValueError("; ".join(problems))
    checked(given.features, given.labels)
    found = {}
    for name in names:
        began = time.perf_counter()
        try:
            made = SCORES[name].compute(given)
        except ValueError as error:
            made = Score(value=None, why=str(error))
        found[name] = dataclasses.replace(made, seconds=time.perf_counter() - began)
    return found


def agreement(
    columns: Mapping[str, Sequence[float | None]],
) -> dict[tuple[str, str], float | None]:
    """Weighted Kendall τ between every two columns, over the sources that both have a value for.

    Exchanges near the top weigh more; neither of the two orders decides what the top is, the mean
    of both is taken. None with fewer than three such sources, or where all are equal.

    Args:
        columns: Values by name, a source a place.

    Reference: Vigna 2015; as in You et al. 2021, section 5.
    """
    found: dict[tuple[str, str], float | None] = {}
    names = list(columns)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            found[a, b] = weighted_tau(columns[a], columns[b])
    return found


def weighted_tau(first: Sequence[float | None], second: Sequence[float | None]) -> float | None:
    """Weighted Kendall τ over the places where both have a value; None as `agreement` says."""
    from scipy.stats import weightedtau

    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    if len(pairs) < FEWEST:
        return None
    a, b = np.array(pairs, np.float64).T
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    found: Any = weightedtau(a, b)
    value = float(found.statistic)
    return value if math.isfinite(value) else None
