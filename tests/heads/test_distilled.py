"""The head of a distilled vision transformer: the mean of two affine maps of two tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import heads
from tlearn.bodies import Features

SEQUENCE = jax.random.normal(jax.random.key(0), (3, 5, 4))


def test_the_logits_are_the_mean_over_both_tokens():
    head = heads.create("distilled", classes=2, kernel_init="scaled")
    features = Features(sequence=SEQUENCE)
    variables = head.init(jax.random.key(1), features)
    own, other = (variables["params"][name] for name in ("dense", "distilled_dense"))
    wanted = (SEQUENCE[:, 0] @ own["kernel"] + SEQUENCE[:, 1] @ other["kernel"]) / 2
    np.testing.assert_allclose(head.apply(variables, features), wanted, atol=1e-6)
    assert not np.allclose(own["kernel"], other["kernel"])
    changed = SEQUENCE.at[:, 2:].set(jnp.nan)
    assert np.isfinite(head.apply(variables, Features(sequence=changed))).all()


def test_it_is_described_and_needs_tokens():
    head = heads.create("distilled", classes=2, dropout=0.1)
    assert heads.build(heads.describe(head)) == head
    with pytest.raises(ValueError, match=r"distilled head reads features\.sequence"):
        head.init(jax.random.key(0), Features(pooled=SEQUENCE[:, 0]))
    with pytest.raises(ValueError, match="classes must be at least 1"):
        heads.create("distilled", classes=0)
