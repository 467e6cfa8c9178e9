"""Labels with two passes that should answer alike: its parts, limits and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import entropy

from tlearn.objectives import Classification, ConsistentLabels
from tlearn.objectives.consistent_labels import divergence

LABELS = Classification(3)
BATCH = {"label": jnp.array([0, 2, 1, 1]), "mask": jnp.array([1.0, 1.0, 1.0, 0.0])}


@pytest.fixture
def outputs():
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(0, 2, (4, 3)), jnp.float32) for _ in range(2))


def test_it_is_both_losses_mean_and_both_divergences_mean(outputs):
    found = ConsistentLabels(LABELS, 0.7)(outputs, BATCH)
    one, two = (LABELS(logits, BATCH) for logits in outputs)
    p, q = (np.asarray(jax.nn.softmax(logits), np.float64)[:3] for logits in outputs)
    apart = np.sum(entropy(p, q, axis=1) + entropy(q, p, axis=1)) / 2
    assert found.metrics["inconsistency"] == pytest.approx(apart, rel=1e-5)
    assert found.metrics["label_loss"] == pytest.approx(float(one.loss + two.loss) / 2, rel=1e-6)
    assert found.loss == pytest.approx(float(one.loss + two.loss) / 2 + 0.7 * apart, rel=1e-5)
    assert found.metrics["accuracy"] == (one.metrics["accuracy"] + two.metrics["accuracy"]) / 2
    assert found.count == 3


def test_passes_that_agree_leave_the_labels_loss(outputs):
    found = ConsistentLabels(LABELS, 5.0)((outputs[0], outputs[0]), BATCH)
    assert found.loss == LABELS(outputs[0], BATCH).loss
    assert found.metrics["inconsistency"] == 0


def test_the_difference_pulls_both_passes_together(outputs):
    def apart(pair):
        return jnp.sum(divergence(*pair))

    assert not any(np.asarray(g).any() for g in jax.grad(apart)((outputs[0], outputs[0])))
    down = jax.tree.map(lambda x, g: x - 0.1 * g, outputs, jax.grad(apart)(outputs))
    assert apart(down) < apart(outputs)
    # What is added to all logits of a pass changes no chance.
    assert apart((outputs[0] + 3, outputs[1])) == pytest.approx(float(apart(outputs)), rel=1e-5)


def test_certain_answers_stay_finite():
    far = jnp.array([[200.0, -200.0]]), jnp.array([[-200.0, 200.0]])
    assert divergence(*far).tolist() == [400.0]
    gradients = jax.grad(lambda pair: divergence(*pair).sum())(far)
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_a_weight_of_nothing_is_refused(weight):
    with pytest.raises(ValueError, match="must be above 0"):
        ConsistentLabels(LABELS, weight)
