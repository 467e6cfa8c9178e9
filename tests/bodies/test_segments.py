"""Positions and pooling by segments, with padding on either side and examples packed."""

import jax.numpy as jnp
import numpy as np
import pytest

from tlearn.bodies.embeddings import places
from tlearn.bodies.segments import place_of, pooled_by

SEGMENTS = jnp.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 1, 2, 2, 0], [1, 2, 2, 2, 2]])


def test_positions_restart_with_every_segment():
    found = jnp.where(SEGMENTS > 0, places(SEGMENTS), 0)
    np.testing.assert_array_equal(
        found, [[0, 1, 2, 0, 0], [0, 0, 0, 1, 2], [0, 1, 0, 1, 0], [0, 0, 1, 2, 3]]
    )


def test_first_and_last_are_real_tokens():
    np.testing.assert_array_equal(place_of(SEGMENTS, "first"), [0, 2, 0, 0])
    np.testing.assert_array_equal(place_of(SEGMENTS, "last"), [2, 4, 3, 4])
    assert place_of(SEGMENTS, "mean") is None


def test_mean_and_max_read_real_tokens_only():
    x = jnp.arange(20.0).reshape(4, 5, 1) - 30
    np.testing.assert_allclose(pooled_by(x, SEGMENTS, "mean")[:, 0], [-29, -22, -18.5, -13])
    np.testing.assert_allclose(pooled_by(x, SEGMENTS, "max")[:, 0], [-28, -21, -17, -11])
    empty = jnp.zeros((4, 5), jnp.int32)
    for pooling in ("mean", "max"):
        np.testing.assert_array_equal(pooled_by(x, empty, pooling), np.zeros((4, 1)))
    assert pooled_by(x, SEGMENTS, "none") is None
    with pytest.raises(ValueError, match="'mean' and 'max'"):
        pooled_by(x, SEGMENTS, "last")
