"""k nearest neighbours by cosine, every example judged by the others.

Shapes: n examples, d width.
"""

import numpy as np
from jaxtyping import Float, Int

from tlearn.transfer.labelled import checked, indicators

_ROWS = 1024
"""Examples whose cosines with all others are in memory at a time."""


def neighbours_accuracy(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], *, k: int = 5
) -> float:
    """Share of examples whose nearest others are mostly of their own class.

    Nearest is by the cosine of the features as they are. A tie between classes goes to the one with
    the larger sum of cosines.

    Args:
        features: [n d].
        labels: [n], any whole numbers.
        k: Neighbours that vote; all others where there are fewer.

    Raises:
        ValueError: As `checked` says, or if k is below 1.
    """
    x, y, classes = checked(features, labels)
    if k < 1:
        raise ValueError(f"k is {k}; at least one neighbour must vote")
    k = min(k, len(x) - 1)
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    unit = x / np.where(norms > 0, norms, 1.0)
    member = indicators(y, classes)
    right = 0
    for start in range(0, len(x), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(x)))
        cosine = unit[rows] @ unit.T
        cosine[np.arange(len(rows)), rows] = -np.inf  # Nobody is its own neighbour.
        nearest = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        near = np.take_along_axis(cosine, nearest, axis=1)
        # Cosines are moved to [0, 2]: less than one vote in all, and in the order of their sums.
        weight = 1 + (near + 1) / (2 * k + 1)
        votes = (member[nearest] * weight[..., None]).sum(axis=1)
        right += int(np.sum(votes.argmax(axis=1) == y[rows]))
    return right / len(x)
