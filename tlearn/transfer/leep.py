"""LEEP and NLEEP: how well a source's own outputs, or clusters of its features, tell labels.

Shapes: n examples, d width, z outputs of the source.
"""

import warnings

import numpy as np
from jaxtyping import Float, Int

from tlearn.transfer.labelled import checked, indicators


def leep(probabilities: Float[np.ndarray, "n z"], labels: Int[np.ndarray, " n"]) -> float:
    """Mean log-likelihood of labels given the source's label, drawn as its head says.

    It is never above 0, and at least what the shares of the classes alone give: outputs that know
    nothing of the labels reach exactly that.

    Args:
        probabilities: [n z], of the source's labels for the target's examples; rows sum to 1.
        labels: [n], any whole numbers.

    Raises:
        ValueError: If rows are no probabilities, or as `checked` says.

    Reference: Nguyen et al. 2020, section 3.
    """
    p, y, classes = checked(probabilities, labels)
    if p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError(
            f"these are no probabilities: they run from {p.min():g} to {p.max():g}, rows sum to "
            f"{p.sum(axis=1).min():g} to {p.sum(axis=1).max():g}; apply a softmax"
        )
    joint = indicators(y, classes).T @ p
    total = joint.sum(axis=0)
    # An output that is never given has no part in the sum below.
    given = joint / np.where(total > 0, total, 1.0)
    likelihood = (given[y] * p).sum(axis=1)
    return float(np.mean(np.log(np.minimum(likelihood, 1.0))))


def nleep(
    features: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    *,
    per_class: int = 5,
    variance: float = 0.8,
    seed: int = 0,
) -> float:
    """LEEP with the clusters of a Gaussian mixture in place of the source's labels.

    Features are projected on the principal components that hold most of their variance. Covariances
    of the clusters are diagonal there: some hundred examples do not settle full ones. There are
    fewer clusters than asked for where each would have fewer than ten examples, but never fewer
    than classes.

    Args:
        features: [n d].
        labels: [n], any whole numbers.
        per_class: Clusters per class of the target.
        variance: Share of the variance that the components hold.
        seed: Where the mixture starts.

    Raises:
        ValueError: As `checked` says.

    Reference: Li et al. 2021, section 3.3.
    """
    from sklearn.decomposition import PCA
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    x, y, classes = checked(features, labels)
    spread = float(x.std(axis=0).max())
    if not spread > 0:
        raise ValueError("all examples have the same features: there are no clusters to find")
    count = max(classes, min(per_class * classes, len(x) // 10))
    kept = PCA(n_components=variance, svd_solver="full").fit_transform(x / spread)
    # In units of the largest spread, so that the mixture's own floor means the same everywhere.
    kept /= kept.std(axis=0).max()
    mixture = GaussianMixture(count, covariance_type="diag", random_state=seed, reg_covar=1e-4)
    with warnings.catch_warnings():
        # A mixture that stops a little early clusters as well.
        warnings.simplefilter("ignore", ConvergenceWarning)
        clusters = mixture.fit(kept).predict_proba(kept)
    return leep(clusters, y)
