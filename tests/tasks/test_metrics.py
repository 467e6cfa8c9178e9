"""Metrics of whole parts: the definitions, by name, for the label they are for."""

import numpy as np
import pytest

from tlearn.data import DataError
from tlearn.tasks.metrics import check_metrics, compute

LABELS = np.array([0, 1, 1, 0, 1, 1, 0, 1])
SAID = np.array([0, 1, 0, 1, 1, 1, 0, 1])
OUTPUTS = np.eye(2)[SAID]
TP, TN, FP, FN = 4, 2, 1, 1


def figures(*names, labels=LABELS, outputs=OUTPUTS, label_names=("0", "1")):
    return compute(check_metrics(names, label_names), outputs, labels, label_names)


def test_classes_by_their_definitions():
    found = figures("accuracy", "f1", "matthews", "macro_f1")
    f1 = 2 * TP / (2 * TP + FP + FN)
    other = 2 * TN / (2 * TN + FN + FP)
    root = np.sqrt((TP + FP) * (TP + FN) * (TN + FP) * (TN + FN))
    assert found == pytest.approx(
        {
            "accuracy": 6 / 8,
            "f1": f1,
            "matthews": (TP * TN - FP * FN) / root,
            "macro_f1": (f1 + other) / 2,
        }
    )


def test_an_f1_is_for_a_label_and_not_for_a_place():
    turned = figures("f1", labels=1 - LABELS, outputs=OUTPUTS[:, ::-1], label_names=("1", "0"))
    assert turned == figures("f1")
    assert figures("f1:0")["f1"] == pytest.approx(2 * TN / (2 * TN + FN + FP))
    assert set(figures("f1:0", "f1:1")) == {"f1:0", "f1:1"}


def test_numbers_by_their_definitions():
    rng = np.random.default_rng(0)
    labels, outputs = rng.normal(size=50), rng.normal(size=(50, 1))
    found = figures("pearson", "spearman", labels=labels, outputs=outputs, label_names=())
    ranks = [np.argsort(np.argsort(x)) for x in (labels, outputs[:, 0])]
    assert found["pearson"] == pytest.approx(np.corrcoef(labels, outputs[:, 0])[0, 1])
    assert found["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_what_is_not_defined_is_nought():
    same = np.zeros((8, 1))
    assert figures("pearson", "spearman", outputs=same, label_names=()) == {
        "pearson": 0,
        "spearman": 0,
    }
    assert figures("matthews", outputs=np.eye(2)[np.zeros(8, int)]) == {"matthews": 0}
    assert figures("f1", outputs=np.eye(2)[np.zeros(8, int)]) == {"f1": 0}


@pytest.mark.parametrize(
    ("names", "label_names", "message"),
    [
        (("acuracy", "pearson"), ("a", "b"), r"(?s)'acuracy'.*accuracy.*'pearson' is no metric of"),
        (("accuracy",), (), "'accuracy' is no metric of numbers"),
        (("f1",), ("a", "b"), "write f1:LABEL for the label it is for, one of a, b"),
        (("f1:c",), ("a", "b"), "write f1:LABEL"),
        (("accuracy:a",), ("a", "b"), "no metric of classes"),
    ],
)
def test_metrics_there_are_not(names, label_names, message):
    with pytest.raises(DataError, match=message):
        check_metrics(names, label_names)
