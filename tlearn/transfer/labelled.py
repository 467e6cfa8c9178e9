"""Features with labels, as every score of a source takes them.

Shapes: n examples, d width, k classes.
"""

import numpy as np
from jaxtyping import Float, Int


def checked(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " m"]
) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " m"], int]:
    """Gives features in float64, labels counted 0 to k - 1 over those that occur, and k.

    Raises:
        ValueError: Naming all that is wrong: lengths, numbers that are not finite, a single class.
    """
    x = np.asarray(features, np.float64)
    problems = []
    if len(x) != len(labels):
        problems.append(f"{len(x)} rows of features for {len(labels)} labels")
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(bad):
        problems.append(f"features that are not finite, of examples {bad[:10].tolist()}")
    names, dense = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        problems.append(f"{len(names)} class; there is nothing to tell apart")
    if problems:
        raise ValueError("features cannot be scored:\n  " + "\n  ".join(problems))
    return x, dense.astype(np.int64), len(names)


def indicators(labels: Int[np.ndarray, " n"], classes: int) -> Float[np.ndarray, "n k"]:
    """A column a class: 1 where the example is of it, else 0."""
    return np.eye(classes)[labels]
