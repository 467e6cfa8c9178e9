"""Law 8: randomness by named streams; a key is used once; same seed, same bits.

Breaks tried: the step's key without the step (`stream(state.key, "train")`); dropout on the state's
key itself; the name left out (`fold_in(key, counter)`); the name left out of the data room's key.
"""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import tiny
from tlearn.data import streams
from tlearn.train.random import stream
from tlearn.train.schedules import Constant
from tlearn.transfer.optimizer import sgd
from tlearn.transfer.strategy import Strategy

NAMES = ("init", "run", "train", "dropout", "fresh", "")


def bits(key):
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_no_two_streams_or_counters_share_a_key():
    root = jax.random.key(7)
    keys = [root]
    for name in NAMES:
        keys += [stream(root, name, counter) for counter in (0, 1, 2, 1000)]
    inner = stream(root, "train", 1)
    keys += [stream(inner, name) for name in NAMES]
    assert len({bits(key) for key in keys}) == len(keys)


def test_a_key_is_a_function_of_seed_name_and_counter():
    assert bits(stream(jax.random.key(7), "train", 3)) == bits(
        stream(jax.random.key(7), "train", 3)
    )
    traced = jax.jit(lambda counter: stream(jax.random.key(7), "train", counter))(3)
    assert bits(traced) == bits(stream(jax.random.key(7), "train", 3))
    assert bits(stream(jax.random.key(8), "train", 3)) != bits(traced)


places = st.tuples(
    st.integers(0, 3), st.sampled_from(["order", "augment", "mix"]), st.integers(0, 5),
    st.integers(0, 5),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(places, places)
def test_streams_of_numbers_are_functions_of_their_coordinates(here, there):
    draws = [streams.stream(*place).integers(0, 2**63, 4).tolist() for place in (here, there)]
    assert (draws[0] == draws[1]) == (here == there)
    if here != there:
        assert not set(draws[0]) & set(draws[1])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 5), st.integers(1, 40), st.integers(0, 3))
def test_an_order_is_a_permutation_of_its_own_epoch(seed, count, epoch):
    order = streams.permutation(seed, "order", count, epoch)
    assert sorted(order) == list(range(count))
    np.testing.assert_array_equal(order, streams.permutation(seed, "order", count, epoch))
    if count > 20:
        assert list(order) != list(streams.permutation(seed, "order", count, epoch + 1))


def losses(seed, steps=4):
    """Losses of one batch, step after step, while next to nothing moves but the dropout."""
    _, _, state, step, source = tiny.start(Strategy(freeze="bottom:2"), sgd(1e-12, Constant()))
    state = state.replace(key=jax.random.key(seed))
    found = []
    for _ in range(steps):
        state, log = step(state, tiny.batch(), source)
        found.append(float(log["loss"]))
    return found


def test_dropout_differs_from_step_to_step_and_seed_to_seed():
    first, second = losses(1), losses(2)
    assert len(set(first)) == len(first)
    assert not set(first) & set(second)


def test_same_seed_same_bits():
    runs = []
    for _ in range(2):
        _, _, state, step, source = tiny.start(
            Strategy(freeze="bottom:2"), tiny.optimizers()["sgd"]
        )
        runs.append(tiny.host(tiny.run(state, step, source, 3)[0]))
    assert tiny.differing(*runs) == []


def test_no_key_is_used_twice_within_and_between_steps():
    """JAX's own checker follows every key through the program and from call to call."""
    with jax.debug_key_reuse(True):
        key = jax.random.key(0)
        jax.random.normal(key)
        with pytest.raises(jax.errors.KeyReuseError):  # The checker is awake.
            jax.random.normal(key)
        _, _, state, step, source = tiny.start(
            Strategy(freeze="bottom:2"), tiny.optimizers()["sgd"]
        )
        tiny.run(state, step, source, 2)
