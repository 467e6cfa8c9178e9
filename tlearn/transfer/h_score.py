"""H-score: how much of the features' variance lies between classes.

Shapes: n examples, d width.
"""

import numpy as np
from jaxtyping import Float, Int

from tlearn.transfer.labelled import checked


def h_score(features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]) -> float:
    """tr(cov(f)⁻¹ cov(E[f | label])): between 0 and the number of classes less one.

    Invertible linear maps of the features do not change it. With no more examples than numbers in a
    feature it is the upper bound for all features alike; see `shrunk_h_score`.

    Args:
        features: [n d].
        labels: [n], any whole numbers.

    Raises:
        ValueError: As `checked` says.

    Reference: Bao et al. 2019, definition 2.
    """
    x, means = _centred(features, labels)
    n = len(x)
    inverse = np.linalg.pinv(x.T @ x / n, hermitian=True)
    return float(np.sum((means @ inverse) * means) / n)


def shrunk_h_score(features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]) -> float:
    """H-score with the covariance shrunk toward a multiple of the identity, as Ledoit and Wolf do.

    Rotations and scalings of the features do not change it.

    Args:
        features: [n d].
        labels: [n], any whole numbers.

    Raises:
        ValueError: As `checked` says.

    Reference: Ibrahim et al. 2021, section 3; Ledoit & Wolf 2004 for the amount.
    """
    from sklearn.covariance import ledoit_wolf

    x, means = _centred(features, labels)
    if not x.any():
        return 0.0
    covariance, shrinkage = ledoit_wolf(x, assume_centered=True)
    solved = np.linalg.solve(covariance, means.T)
    return float((1 - shrinkage) * np.sum(solved.T * means) / len(x))


def _centred(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]
) -> tuple[np.ndarray, np.ndarray]:
    """Centred features, and for every example the mean of its class."""
    x, y, classes = checked(features, labels)
    x = x - x.mean(axis=0)
    means = np.stack([x[y == k].mean(axis=0) for k in range(classes)])
    return x, means[y]
