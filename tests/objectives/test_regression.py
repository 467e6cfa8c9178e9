"""Regression: the sums are those of the definition, whatever fills the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn.objectives import Regression

OUTPUTS = np.array([[0.5], [2.0], [-1.0]], np.float32)
LABEL = np.array([1.0, 2.0, 3.0], np.float32)


def sums(outputs=OUTPUTS, label=LABEL, mask=(1, 1, 1)):
    batch = {"label": jnp.asarray(label), "mask": jnp.asarray(mask, jnp.float32)}
    return Regression()(jnp.asarray(outputs), batch)


@pytest.mark.parametrize("outputs", [OUTPUTS, OUTPUTS[:, 0]])
def test_sums_are_the_definition(outputs):
    found = sums(outputs)
    assert float(found.loss) == pytest.approx(0.25 + 0 + 16)
    assert float(found.metrics["absolute_error"]) == pytest.approx(0.5 + 0 + 4)
    assert float(found.count) == 3


def test_rows_that_fill_the_batch_count_for_nothing():
    whole = sums(OUTPUTS[:2], LABEL[:2], (1, 1))
    filled = sums(mask=(1, 1, 0))
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(filled), strict=True):
        assert float(one) == float(other)


def test_low_precision_is_summed_in_float32():
    found = sums(OUTPUTS.astype(jnp.bfloat16))
    assert found.loss.dtype == jnp.float32


def test_the_gradient_is_twice_the_error():
    batch = {"label": jnp.asarray(LABEL), "mask": jnp.ones(3)}
    gradient = jax.grad(lambda x: Regression()(x, batch).loss)(jnp.asarray(OUTPUTS))
    np.testing.assert_allclose(gradient[:, 0], 2 * (OUTPUTS[:, 0] - LABEL))
