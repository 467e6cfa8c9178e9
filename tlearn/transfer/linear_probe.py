"""A linear probe judged on examples it did not see: logistic regression, cross-validated.

Shapes: n examples, d width, k classes.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from tlearn.transfer.labelled import checked

PENALTIES = (1.0, 0.1, 0.01, 0.001)
"""Of the mean loss on standardised features, the strongest first."""


@dataclasses.dataclass(frozen=True)
class Probed:
    """What a cross-validated probe found.

    Attributes:
        right: [n] whether each example was labelled right by the probe that did not see it.
        penalties: The penalty chosen in every fold.
    """

    right: Bool[np.ndarray, " n"]
    penalties: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """Share of examples labelled right."""
        return float(self.right.mean())

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Wilson's interval of the accuracy over examples, the probes held.

        Reference: Wilson 1927; Brown, Cai & DasGupta 2001, section 3.1.1.
        """
        from scipy.stats import norm

        n, share, z = len(self.right), self.accuracy, float(norm.ppf((1 + level) / 2))
        middle = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return float(max(middle - half, 0.0)), float(min(middle + half, 1.0))


def linear_probe(
    features: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    *,
    folds: int = 5,
    penalties: tuple[float, ...] = PENALTIES,
    seed: int = 0,
) -> Probed:
    """Cross-validates logistic regression; the penalty is chosen within the other folds.

    Every fold is judged once. Of the folds that are left, one chooses the penalty (ties go to the
    strongest), then all of them are learned from.

    Args:
        features: [n d].
        labels: [n], any whole numbers.
        folds: Parts of equal size and mix of classes.
        penalties: What is tried, the strongest first.
        seed: Who is in which fold.

    Raises:
        ValueError: As `checked` says, or if there are fewer than three folds or than examples for
            them.
    """
    x, y, classes = checked(features, labels)
    if not 3 <= folds <= len(x):
        raise ValueError(
            f"{folds} folds of {len(x)} examples; a fold is judged, one chooses and one is learned "
            "from, so there must be three at least, and an example in each"
        )
    fold = folds_of(y, folds, seed)
    right, chosen = np.zeros(len(x), bool), []
    for held in range(folds):
        choosing = fold == (held + 1) % folds
        judged = fold == held
        learned = ~(choosing | judged)
        scores = [_right(x, y, classes, learned, choosing, penalty).mean() for penalty in penalties]
        best = penalties[int(np.argmax(scores))]
        chosen.append(best)
        right[judged] = _right(x, y, classes, ~judged, judged, best)
    return Probed(right, tuple(chosen))


def folds_of(labels: Int[np.ndarray, " n"], count: int, seed: int) -> Int[np.ndarray, " n"]:
    """Deals examples to folds, class after class: sizes differ by one at most, a class's too."""
    rng = np.random.default_rng([seed, len(labels)])
    order = np.concatenate(
        [rng.permutation(np.flatnonzero(labels == k)) for k in np.unique(labels)]
    )
    fold = np.empty(len(labels), np.int64)
    fold[order] = np.arange(len(labels)) % count
    return fold


def _right(
    x: np.ndarray,
    y: np.ndarray,
    classes: int,
    learned: np.ndarray,
    judged: np.ndarray,
    penalty: float,
) -> np.ndarray:
    """Which judged examples a regression on the learned ones labels right."""
    from tlearn.transfer.logistic import logistic_regression

    mean, spread = x[learned].mean(axis=0), x[learned].std(axis=0)
    scaled = (x - mean) / np.where(spread > 0, spread, 1.0)
    train, test = scaled[learned], scaled[judged]
    if train.shape[1] > len(train):
        # The optimum lies in the span of what is learned from: the same fit in fewer numbers.
        basis = np.linalg.svd(train, full_matrices=False)[2]
        train, test = train @ basis.T, test @ basis.T
    fit = logistic_regression(train, y[learned], classes, penalty)
    return fit.logits(test).argmax(axis=1) == y[judged]
