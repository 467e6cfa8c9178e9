"""Law 10: distances are safe at zero, through the real step.

At the source, where every run with a pull starts, the gradient of an unsquared norm is 0, not NaN.

Break tried: `_safe_sqrt` replaced by `jnp.sqrt`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tlearn.train.schedules import Constant
from tlearn.train.state import SourceWeights
from tlearn.transfer.optimizer import sgd
from tlearn.transfer.pull import FORMS, Pull
from tlearn.transfer.strategy import Strategy

NETWORK = tiny.still()
# Only a vector and a kernel of the body train: the programs stay small.
FREEZE = (("body/stage_1/block_01/(conv_2/kernel|norm_2/bias)|head/.*", False), (".*", True))


@pytest.mark.parametrize("form", FORMS)
def test_the_first_step_from_the_source_is_that_of_no_pull(form):
    """At the source the pull's gradient is 0: the first step is bit for bit the plain one."""
    pull = Pull(form=form, strength=10.0, way="loss")
    optimizer = sgd(0.1, Constant(), momentum=0.9, clip=1.0)
    _, rows, state, step, source = tiny.start(
        Strategy(freeze=FREEZE, pull=pull), optimizer, network=NETWORK
    )
    assert len(rows.pulled) == 2
    if form == "fisher":
        source = source.replace(fisher={p: jnp.ones_like(v) for p, v in source.params.items()})
    state, log = step(state, tiny.batch(), source)
    _, _, plain, bare, _ = tiny.start(Strategy(freeze=FREEZE), optimizer, network=NETWORK)
    plain, plain_log = bare(plain, tiny.batch(), SourceWeights())
    assert log["finite"]
    assert log["gradient_norm"] == pytest.approx(float(plain_log["gradient_norm"]), rel=1e-6)
    for path, value in state.trainable.items():
        np.testing.assert_allclose(value, plain.trainable[path], rtol=1e-6, atol=1e-7)
    # And away from the source it pulls, with a finite gradient.
    state, log = step(state, tiny.batch(1), source)
    assert log["finite"]
    assert all(np.isfinite(v).all() for v in jax.tree.leaves(state.trainable))
    plain, plain_log = bare(plain, tiny.batch(1), SourceWeights())
    assert abs(float(log["gradient_norm"]) - float(plain_log["gradient_norm"])) > 1e-4
