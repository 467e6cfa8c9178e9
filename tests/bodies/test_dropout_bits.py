"""Dropout's bits: their statistics, and that they do not depend on how an array is cut.

Breaks tried: no second word a row (rows of close numbers repeat each other's bits in another
order); the element's number taken within the part that is computed; the seed left out of a round.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn.bodies.dropout import Dropout, drop, kept

SHAPE = (64, 32, 48)
COUNT = int(np.prod(SHAPE))


def bits(seed=0, rate=0.5, shape=SHAPE):
    return np.asarray(kept(jax.random.key(seed), shape, rate))


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_the_share_kept_is_the_chance_of_keeping(rate):
    for seed in range(5):
        share = bits(seed, rate).mean()
        assert abs(share - (1 - rate)) <= 4.5 * np.sqrt(rate * (1 - rate) / COUNT)


def correlation(a, b):
    a, b = a.astype(float).ravel() - 0.5, b.astype(float).ravel() - 0.5
    return (a * b).mean() * 4 * np.sqrt(a.size)  # Standard normal if independent.


def test_neighbours_along_every_axis_are_independent():
    for seed in range(3):
        mask = bits(seed)
        for axis, lag in [(0, 1), (0, 2), (0, 32), (1, 1), (1, 16), (2, 1), (2, 2), (2, 16)]:
            a, b = np.split(mask, [lag], axis)[1], np.split(mask, [-lag], axis)[0]
            assert abs(correlation(a, b)) < 4.5, (seed, axis, lag)


def test_steps_and_streams_are_independent():
    root = jax.random.key(0)
    masks = [np.asarray(kept(jax.random.fold_in(root, i), SHAPE, 0.5)) for i in range(6)]
    for i in range(6):
        for j in range(i):
            assert abs(correlation(masks[i], masks[j])) < 4.5


def test_no_row_is_another_one_in_another_order():
    """Under XOR of the element's number, as a hash seeded by one word would have it."""
    for seed in range(3):
        mask = bits(seed, shape=(32, 16, 16)).reshape(32, 256)
        order = np.arange(256)
        for shift in range(256):
            moved = mask[:, order ^ shift]
            same = (mask[:, None] == moved[None]).mean(-1)
            np.fill_diagonal(same, 0.5)
            assert 0.25 < same.min() <= same.max() < 0.75


def test_bits_are_even_in_every_place_and_every_run_of_eight():
    masks = np.stack([bits(seed, shape=(16, 8, 16)) for seed in range(400)])
    places = (masks.mean(0) - 0.5) * 2 * np.sqrt(400)
    assert abs(places).max() < 5.5
    assert 0.9 < places.std() < 1.1
    runs = np.packbits(masks.reshape(-1, 8), axis=-1).ravel()
    counts = np.bincount(runs, minlength=256)
    expected = runs.size / 256
    chi = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi - 255) < 5 * np.sqrt(2 * 255)


@pytest.mark.parametrize("axis", [1, 2])
def test_a_part_has_the_bits_of_the_whole(axis):
    key, x = jax.random.key(1), jax.random.normal(jax.random.key(2), (4, 6, 8))
    whole = drop(x, 0.4, key)
    for start in (0, 3, jnp.array(2)):
        at = slice(int(start), int(start) + 2)
        cut = (slice(None),) * axis + (at,)
        part = drop(x[cut], 0.4, key, axis=axis, start=start, total=x.shape[axis])
        np.testing.assert_array_equal(part, whole[cut])


def test_one_place_of_each_row_has_the_bits_of_the_whole():
    key, x = jax.random.key(1), jax.random.normal(jax.random.key(2), (4, 6, 8))
    place = jnp.array([0, 5, 2, 2])
    part = drop(jnp.take_along_axis(x, place[:, None, None], 1), 0.4, key, start=place, total=6)
    whole = jnp.take_along_axis(drop(x, 0.4, key), place[:, None, None], 1)
    np.testing.assert_array_equal(part, whole)


def test_bits_depend_neither_on_the_batch_size_nor_on_the_devices():
    key = jax.random.key(3)
    np.testing.assert_array_equal(kept(key, (8, 5, 3), 0.3)[:4], kept(key, (4, 5, 3), 0.3))
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    x = jax.random.normal(key, (8, 5, 3))
    run = jax.jit(lambda x: drop(x, 0.3, key))
    np.testing.assert_array_equal(run(jax.device_put(x, spread)), run(x))


def test_what_is_kept_is_scaled_and_the_gradient_drops_the_same():
    key, x = jax.random.key(4), jnp.full((4, 5), 2.0)
    y, pull = jax.vjp(lambda x: drop(x, 0.5, key), x)
    assert set(np.unique(y)) == {0.0, 4.0}
    np.testing.assert_array_equal(pull(jnp.ones((4, 5)))[0], y / 2)


def test_the_module_draws_from_its_stream_and_rests_when_told_to():
    x = jnp.ones((4, 50))
    run = lambda seed: Dropout(0.5).apply(  # noqa: E731
        {}, x, deterministic=False, rngs={"dropout": jax.random.key(seed)}
    )
    assert not np.array_equal(run(0), run(1))
    np.testing.assert_array_equal(run(0), run(0))
    np.testing.assert_array_equal(Dropout(0.5).apply({}, x, deterministic=True), x)
    np.testing.assert_array_equal(Dropout(0.0).apply({}, x, deterministic=False), x)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_that_is_no_chance_is_an_error(rate):
    with pytest.raises(ValueError, match=r"chance in \[0, 1\)"):
        kept(jax.random.key(0), (2, 2), rate)
