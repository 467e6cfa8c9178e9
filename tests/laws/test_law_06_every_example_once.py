"""Law 6: no example is dropped, none is counted twice, in any evaluation, on any devices.

Breaks tried: batches that leave out the incomplete last one; the objective without the mask;
padding marked as real; the check in `evaluate` reduced to the count (a dropped and a repeated
example then cancel); predictions left in the order of the batches.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tlearn.data import ArrayDataset, Batches, Pipeline
from tlearn.model import variables
from tlearn.objectives import Classification
from tlearn.train.evaluate import evaluate, make_eval_step
from tlearn.train.mesh import make_mesh, place_batch

NETWORK = tiny.still()
PARAMS, STATISTICS = tiny.drawn(NETWORK)
SIZE = 4


@pytest.fixture(scope="module")
def step():
    return make_eval_step(NETWORK, Classification(tiny.CLASSES))


def dataset(count):
    given = tiny.batch(size=count)
    return ArrayDataset(given["image"], given["label"], ("a", "b", "c"))


def batches(count, shuffle=False):
    return Batches(dataset(count), Pipeline(), SIZE, seed=0, shuffle=shuffle)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 13])
@pytest.mark.parametrize("devices", [1, 4])
def test_every_remainder_gives_the_means_over_the_examples(step, count, devices):
    mesh = make_mesh(devices)
    given = tiny.batch(size=count)
    found = evaluate(
        step,
        PARAMS,
        STATISTICS,
        batches(count, shuffle=count % 2 == 1),
        expected=count,
        place=lambda batch: place_batch(batch, mesh),
    )
    logits = reference(given)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    rows = np.arange(count)
    assert found.count == count
    assert found.metrics["loss"] == pytest.approx(-log_p[rows, given["label"]].mean(), rel=1e-5)
    assert found.metrics["accuracy"] == pytest.approx((logits.argmax(-1) == given["label"]).mean())
    # In the order of the dataset, whatever the order of the batches.
    np.testing.assert_allclose(found.predictions, logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.labels, given["label"])


def reference(given):
    """Outputs without batches or padding: one call on all examples."""
    tree = variables(PARAMS, STATISTICS)
    return np.asarray(NETWORK.apply(tree, jnp.asarray(given["image"])), np.float64)


class Faulty:
    """Batches that are not one pass."""

    def __init__(self, fault, count=6):
        self.below, self.fault, self.count = batches(count), fault, count

    @property
    def steps_per_epoch(self):
        return self.below.steps_per_epoch - (self.fault == "drops the last batch")

    def at(self, step):
        batch = dict(self.below.at(step))
        if self.fault == "counts padding":
            batch["mask"] = np.ones_like(batch["mask"])
        if self.fault == "repeats one for another" and step == 0:
            batch["index"] = np.array([0, 1, 1, 3])
        if self.fault == "repeats a batch" and step == 1:
            return self.below.at(0)
        return batch


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("drops the last batch", r"counted 4 examples.* 6: .*drop \[4, 5\] and repeat \[\]"),
        ("counts padding", "counted 8 examples, the dataset has 6"),
        ("repeats one for another", r"counted 6 examples.*drop \[2\] and repeat \[1\]"),
        ("repeats a batch", r"drop \[4, 5\] and repeat \[0, 1, 2, 3\]"),
    ],
)
def test_batches_that_drop_or_repeat_are_an_error(step, fault, says):
    with pytest.raises(RuntimeError, match=says):
        evaluate(step, PARAMS, STATISTICS, Faulty(fault), expected=6)


def test_an_evaluation_prints_what_it_counted(step):
    found = evaluate(step, PARAMS, STATISTICS, batches(5), expected=5)
    assert str(found).endswith("over 5 examples")
    assert "loss" in str(found)
