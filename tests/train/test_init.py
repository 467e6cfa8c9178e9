"""The state at step 0: of arrays of its own, or of those it was given to keep.

Breaks tried: taking without being told; taking an array of another dtype; taking NumPy's memory.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tlearn.train.schedules import Constant
from tlearn.train.state import init
from tlearn.transfer.optimizer import sgd
from tlearn.transfer.plan import plan
from tlearn.transfer.strategy import Strategy


def made(params, statistics, **options):
    network = tiny.still()
    rows = plan(params, Strategy(freeze="bottom:1"), layers=network.body.layer_names)
    key = jax.random.key(0)
    return init(rows, params, statistics, sgd(0.1, Constant()), total=1, key=key, **options)


def leaves(state):
    return {**state.params, **state.collections}


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_a_state_takes_what_fits_and_is_the_state_of_copies(dtype):
    params, statistics = tiny.drawn(tiny.still())
    given = {**params, **statistics}
    copied = made(params, statistics, frozen_dtype=dtype)
    taken = made(params, statistics, frozen_dtype=dtype, take=True)
    assert not tiny.differing(copied, taken)
    assert not any(value is given[path] for path, value in leaves(copied).items())
    cast = set() if dtype is None else set(taken.frozen)
    assert taken.frozen
    for path, value in leaves(taken).items():
        assert (value is given[path]) == (path not in cast), path


def test_what_numpy_holds_is_copied_even_when_taken():
    params, statistics = tiny.drawn(tiny.still())
    mine = {path: np.array(value) for path, value in params.items()}
    state = jax.block_until_ready(made(mine, statistics, take=True))
    for value in mine.values():
        value += 1
    for path, value in state.params.items():
        np.testing.assert_array_equal(value, params[path], err_msg=path)
