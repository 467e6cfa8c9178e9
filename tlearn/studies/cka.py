"""How alike two representations of the same examples are: linear CKA."""

import numpy as np
from jaxtyping import Float


def linear_cka(a: Float[np.ndarray, "n p"], b: Float[np.ndarray, "n q"]) -> float:
    """Compares two representations by linear centred kernel alignment.

    1 for representations that are rotations or scalings of each other, 0 for unrelated ones. A
    representation that is the same for all examples is like nothing: NaN.

    Args:
        a: A row an example.
        b: The same examples elsewhere.

    Raises:
        ValueError: If there are fewer than three examples: two centred rows are always alike.

    Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", section 3.
    """
    if len(a) < 3:
        raise ValueError(f"CKA of {len(a)} examples: give at least 3")
    x, y = (np.asarray(v, np.float64) - np.mean(v, axis=0, dtype=np.float64) for v in (a, b))
    # The products of the smaller size: examples by examples where features are more.
    if max(x.shape[1], y.shape[1]) > len(x):
        k, m = x @ x.T, y @ y.T
        cross, own = np.sum(k * m), np.sqrt(np.sum(k * k) * np.sum(m * m))
    else:
        cross = np.sum((y.T @ x) ** 2)
        own = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(cross / own) if own > 0 else float("nan")
