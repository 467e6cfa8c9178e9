"""Classification: the sums are those of the definition, whatever fills the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn.objectives import Classification

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 4)).astype(np.float32)
LABEL = np.array([0, 3, 1, 2, 2, 0], np.int32)


def batch(mask=None, label=LABEL, **more):
    mask = np.ones(len(label)) if mask is None else mask
    return {"label": jnp.asarray(label), "mask": jnp.asarray(mask, jnp.float32)} | more


def sums_of(logits, given, **settings):
    return Classification(np.shape(logits)[-1], **settings)(jnp.asarray(logits), given)


def log_p(logits):
    logits = np.asarray(logits, np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_sums_are_the_definition():
    sums = sums_of(LOGITS, batch())
    want = -log_p(LOGITS)[np.arange(6), LABEL]
    assert sums.loss == pytest.approx(want.sum(), rel=1e-6)
    assert sums.count == 6
    assert sums.metrics["accuracy"] == (LOGITS.argmax(-1) == LABEL).sum()


def test_padding_counts_nothing_whatever_it_holds():
    mask = [1, 0, 1, 1, 0, 1]
    kept = np.flatnonzero(mask)
    want = sums_of(LOGITS[kept], batch(label=LABEL[kept]), smoothing=0.1)
    other = LOGITS.copy()
    other[[1, 4]] = 1e4
    for logits in (LOGITS, other):
        got = sums_of(logits, batch(mask), smoothing=0.1)
        assert got.loss == pytest.approx(float(want.loss), rel=1e-6)
        assert got.count == 4
        assert got.metrics["accuracy"] == want.metrics["accuracy"]


def test_smoothing_mixes_the_uniform_distribution():
    sums = sums_of(LOGITS, batch(), smoothing=0.2)
    target = 0.8 * np.eye(4)[LABEL] + 0.2 / 4
    assert sums.loss == pytest.approx(-(target * log_p(LOGITS)).sum(), rel=1e-6)


def test_soft_labels_of_one_class_are_labels():
    hard = sums_of(LOGITS, batch(), smoothing=0.1)
    soft = sums_of(LOGITS, batch(label_weights=jnp.eye(4)[LABEL]), smoothing=0.1)
    assert soft.loss == hard.loss
    weights = RNG.dirichlet(np.ones(4), 6).astype(np.float32)
    mixed = sums_of(LOGITS, batch(label_weights=jnp.asarray(weights)))
    assert mixed.loss == pytest.approx(-(weights * log_p(LOGITS)).sum(), rel=1e-6)


def test_sums_of_parts_add_up_to_the_sum_of_the_whole():
    whole = sums_of(LOGITS, batch())
    parts = [sums_of(LOGITS[s], batch(label=LABEL[s])) for s in (slice(0, 1), slice(1, 6))]
    total = jax.tree.map(lambda a, b: a + b, *parts)
    assert total.loss == pytest.approx(float(whole.loss), rel=1e-6)
    assert (total.count, total.metrics) == (whole.count, whole.metrics)


def test_losses_of_bfloat16_logits_are_float32():
    sums = sums_of(jnp.asarray(LOGITS, jnp.bfloat16), batch())
    assert sums.loss.dtype == sums.count.dtype == sums.metrics["accuracy"].dtype == jnp.float32
    rounded = np.asarray(jnp.asarray(LOGITS, jnp.bfloat16).astype(jnp.float32))
    want = -log_p(rounded)[np.arange(6), LABEL].sum()
    # 1e-6 is out of reach if the logarithm or the sum is taken in bfloat16.
    assert sums.loss == pytest.approx(want, rel=1e-6)


def test_huge_logits_give_a_finite_loss_and_gradient():
    logits = jnp.array([[1e4, -1e4, 0.0]])

    def loss(logits):
        return sums_of(logits, batch(label=np.array([1]))).loss

    assert loss(logits) == pytest.approx(2e4)
    assert np.isfinite(jax.grad(loss)(logits)).all()
