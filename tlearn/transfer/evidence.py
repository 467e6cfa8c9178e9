"""LogME: how likely labels are under a linear model of features, its priors set by the data.

Shapes: n examples, d width, k classes, r rank of the features.
"""

import numpy as np
from jaxtyping import Float, Int

from tlearn.transfer.labelled import checked, indicators

# Where features explain labels wholly, or not at all, the evidence has its supremum at infinity.
_FLOOR = 1e-10
_RATIO = (1e-12, 1e12)


def logme(features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]) -> float:
    """Scores features by the evidence of each class's indicator, a mean over classes and examples.

    It does not change when features are rotated or scaled. Features are not centred, as in the
    paper.

    Args:
        features: [n d].
        labels: [n], any whole numbers.

    Raises:
        ValueError: If they do not fit each other, are not finite, or there is one class only.

    Reference: You et al. 2021, section 4.2 and algorithm 1.
    """
    x, y, classes = checked(features, labels)
    return float(np.mean(log_evidence(x, indicators(y, classes)))) / len(x)


def log_evidence(
    features: Float[np.ndarray, "n d"],
    targets: Float[np.ndarray, "n k"],
    *,
    tolerance: float = 1e-9,
    iterations: int = 1000,
) -> Float[np.ndarray, " k"]:
    """Maximises log p(target | features, α, β) over α and β, for every column of targets.

    The model is target = features · w + noise with w ~ N(0, 1/α) and noise ~ N(0, 1/β). The two
    precisions are a fixed point, iterated in the singular basis of the features.

    Args:
        features: [n d].
        targets: [n k].
        tolerance: Largest relative change of α/β at the end.
        iterations: Most iterations.

    Reference: MacKay 1992; Bishop 2006, section 3.5.2; You et al. 2021, equations 2 to 4.
    """
    x, y = np.asarray(features, np.float64), np.asarray(targets, np.float64)
    n = len(x)
    left, singular, _ = np.linalg.svd(x, full_matrices=False)
    sigma = singular[:, None] ** 2
    z = (left.T @ y) ** 2
    size = (y**2).sum(axis=0)
    # What no weights can explain: the part of a target outside the span of the features.
    outside = np.maximum(size - z.sum(axis=0), _FLOOR * size)
    if n <= x.shape[1] and singular[-1] > singular[0] * n * np.finfo(np.float64).eps:
        outside = np.zeros_like(size)
    low, high = (bound * max(float(sigma[0, 0]), np.finfo(np.float64).tiny) for bound in _RATIO)

    def precisions(ratio: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """α and β one step on from their ratio, with ‖w‖² and the squared residual."""
        share = sigma / (sigma + ratio)
        weights = (share * z / (sigma + ratio)).sum(axis=0)
        residual = (z * (1 - share) ** 2).sum(axis=0) + outside
        used = share.sum(axis=0)
        free = n - len(sigma) + (1 - share).sum(axis=0)
        floor = np.finfo(np.float64).tiny
        alpha = used / np.maximum(weights, floor)
        return alpha, free / np.maximum(residual, floor), weights, residual

    ratio = np.full(y.shape[1], np.clip(1.0, low, high))
    for _ in range(iterations):
        alpha, beta, _, _ = precisions(ratio)
        new = np.clip(alpha / beta, low, high)
        done = np.abs(new - ratio) <= tolerance * new
        ratio = new
        if done.all():
            break
    alpha, beta, weights, residual = precisions(ratio)
    # At a bound the two no longer have this ratio; β is what is measured there.
    alpha = np.where((ratio <= low) | (ratio >= high), ratio * beta, alpha)
    spread = np.log(alpha) - np.log(alpha + beta * sigma)
    return 0.5 * (
        n * np.log(beta / (2 * np.pi)) - beta * residual - alpha * weights + spread.sum(axis=0)
    )
