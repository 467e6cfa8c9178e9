"""Figures of a whole part at once: what no mean over batches gives.

Shapes: ``n`` examples, ``k`` classes.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlearn.data import DataError
from tlearn.params.paths import nearest

CLASSES = ("accuracy", "f1", "macro_f1", "matthews")
NUMBERS = ("pearson", "spearman")
GLUE: dict[str, tuple[str, ...]] = {
    "cola": ("matthews",),
    "mrpc": ("f1",),
    "qqp": ("f1",),
    "stsb": NUMBERS,
}
"""What the tasks of GLUE report beside loss and accuracy; the others report nothing more.

Wang et al. 2019, https://arxiv.org/abs/1804.07461, table 1.
"""
_POSITIVE = ("1", "true", "yes", "positive", "equivalent", "duplicate")


def check_metrics(names: Sequence[str], label_names: Sequence[str]) -> tuple[str, ...]:
    """Checks the names of metrics, and gives each F1 the label it is for: ``f1:1``.

    Args:
        names: ``accuracy``, ``f1`` (of the one label that means yes) or ``f1:LABEL``,
            ``macro_f1``, ``matthews``; for numbers ``pearson``, ``spearman``.
        label_names: The classes; empty where labels are numbers.

    Raises:
        DataError: Naming every metric there is not for such labels, with the nearest one.
    """
    known = CLASSES if label_names else NUMBERS
    problems, found = [], []
    for name in names:
        kind, _, label = name.partition(":")
        if kind not in known or (label and kind != "f1"):
            what = "classes" if label_names else "numbers"
            problems.append(f"{name!r} is no metric of {what}; closest: {nearest(name, known)}")
            continue
        if kind == "f1":
            positive = [label] if label else [x for x in label_names if x.lower() in _POSITIVE]
            if len(positive) != 1 or positive[0] not in label_names:
                problems.append(
                    f"{name!r}: write f1:LABEL for the label it is for, one of "
                    + ", ".join(label_names[:20])
                )
                continue
            name = f"f1:{positive[0]}"
        found.append(name)
    if problems:
        raise DataError("metrics that cannot be computed:\n  " + "\n  ".join(problems))
    return tuple(dict.fromkeys(found))


def compute(
    names: Sequence[str],
    outputs: np.ndarray,
    labels: np.ndarray,
    label_names: Sequence[str],
) -> dict[str, float]:
    """Computes metrics of all examples of a part.

    Args:
        names: From `check_metrics`.
        outputs: Outputs of the head [n k], or [n 1] where labels are numbers.
        labels: [n].
        label_names: The classes; empty where labels are numbers.

    Returns:
        The figures by name, the one F1 as ``f1``. A correlation or Matthews coefficient that is not
        defined, because all outputs or labels are equal, is 0.
    """
    found: dict[str, float] = {}
    if not label_names:
        values = np.asarray(outputs, np.float64).reshape(len(labels))
        return {name: _correlation(name, values, labels) for name in names}
    from sklearn import metrics

    sk: Any = metrics  # Its annotations lack what it takes.

    said = np.argmax(outputs, axis=-1)
    for name in names:
        kind, _, label = name.partition(":")
        if kind == "accuracy":
            found[name] = float(sk.accuracy_score(labels, said))
        elif kind == "matthews":
            found[name] = float(sk.matthews_corrcoef(labels, said))
        elif kind == "macro_f1":
            every = np.arange(len(label_names))
            found[name] = float(
                sk.f1_score(labels, said, labels=every, average="macro", zero_division=0)
            )
        else:
            one = [tuple(label_names).index(label)]
            found["f1" if sum(n.startswith("f1") for n in names) == 1 else name] = float(
                sk.f1_score(labels, said, labels=one, average="macro", zero_division=0)
            )
    return found


def _correlation(name: str, values: np.ndarray, labels: np.ndarray) -> float:
    from scipy import stats

    correlate: Any = stats.pearsonr if name == "pearson" else stats.spearmanr
    if len(labels) < 2 or np.ptp(values) == 0 or np.ptp(labels) == 0:
        return 0.0
    found = correlate(values, labels)
    value = float(found.statistic)
    return value if math.isfinite(value) else 0.0
