"""Law 4: one clip, over the trainable gradients, once; logged norms are of trainables.

Everything is compared with NumPy on gradients taken by no code of the step.

Breaks tried: a clip per parameter; the norm taken after the clip; the clip applied twice (before
and after coupled decay joins); the clip applied to every batch's gradient under accumulation.
"""

import numpy as np
import pytest

from tests import tiny
from tlearn.train.schedules import Constant
from tlearn.transfer.optimizer import adamw, clip, sgd
from tlearn.transfer.strategy import Strategy

NETWORK = tiny.still()
FREEZE = Strategy(freeze="bottom:1", weight_decay=0.5)


def moved(before, state):
    after = tiny.host(state.trainable)
    return {path: np.asarray(before[path], np.float64) - after[f"['{path}']"] for path in before}


def expected(rows, gradients, limit, decay=0.0, weights=None):
    """The clipped gradient of what trains, and its norm before the clip."""
    total = {p: gradients[p] for p in rows.trainable}
    if decay:
        decays = {row.path: row.decay for row in rows.rows}
        total = {p: g + decays[p] * weights[p] for p, g in total.items()}
    norm = tiny.norm(total)
    scale = 1.0 if limit is None else min(1.0, limit / norm)
    return {p: scale * g for p, g in total.items()}, norm


@pytest.mark.parametrize("limit", [0.3, 1e3, None])
def test_sgd_moves_by_the_clipped_gradient(limit):
    optimizer = sgd(1.0, Constant(), clip=limit, coupled_decay=True)
    _, rows, state, step, _ = tiny.start(FREEZE, optimizer, network=NETWORK)
    before = {p: np.array(v) for p, v in state.trainable.items()}
    _, gradients = tiny.gradients(NETWORK, rows, state, tiny.batch(real=6))
    want, norm = expected(rows, gradients, limit, decay=0.5, weights=before)
    # The frozen stem's gradient is there and would count: the norm must leave it out.
    assert tiny.norm(gradients) > 1.01 * tiny.norm({p: gradients[p] for p in rows.trainable})
    state, log = step(state, tiny.batch(real=6), tiny.SourceWeights())
    assert log["gradient_norm"] == pytest.approx(norm, rel=1e-5)
    got = moved(before, state)
    for path in rows.trainable:
        np.testing.assert_allclose(got[path], want[path], atol=2e-6, err_msg=path)
    assert tiny.norm(got) == pytest.approx(norm if limit is None else min(limit, norm), rel=1e-5)


def test_adam_sees_the_clipped_gradient():
    optimizer = adamw(1e-3, Constant(), clip=0.3)
    _, rows, state, step, _ = tiny.start(FREEZE, optimizer, network=NETWORK)
    _, gradients = tiny.gradients(NETWORK, rows, state, tiny.batch())
    want, norm = expected(rows, gradients, 0.3)
    state, log = step(state, tiny.batch(), tiny.SourceWeights())
    assert log["gradient_norm"] == pytest.approx(norm, rel=1e-5)
    for path in rows.trainable:
        np.testing.assert_allclose(state.slots.first[path], 0.1 * want[path], atol=1e-6)


def test_accumulated_gradients_are_clipped_once_when_they_are_whole():
    optimizer = sgd(1.0, Constant(), clip=0.3)
    network = tiny.still(norm="group", norm_groups=2)
    _, rows, state, step, _ = tiny.start(
        Strategy(freeze="bottom:1"), optimizer, network=network, recipe={"accumulate": 2}
    )
    before = {p: np.array(v) for p, v in state.trainable.items()}
    parts = [tiny.gradients(network, rows, state, tiny.batch(i))[1] for i in range(2)]
    mean = {p: (parts[0][p] + parts[1][p]) / 2 for p in rows.trainable}
    want, norm = expected(rows, mean, 0.3)
    state, log = tiny.run(state, step, tiny.SourceWeights(), 2)
    assert log["gradient_norm"] == pytest.approx(norm, rel=1e-5)
    got = moved(before, state)
    for path in rows.trainable:
        np.testing.assert_allclose(got[path], want[path], atol=2e-6, err_msg=path)


def test_a_clip_shortens_and_never_turns():
    gradients = {"a": np.float32([3.0, 0.0]), "b": np.float32([[4.0]])}
    shorter, norm = clip(gradients, 1.0)
    assert norm == 5.0
    np.testing.assert_allclose(shorter["a"], [0.6, 0.0], rtol=1e-6)
    np.testing.assert_allclose(shorter["b"], [[0.8]], rtol=1e-6)
    for limit in (5.0, 6.0, None):
        same, norm = clip(gradients, limit)
        assert norm == 5.0
        assert all(np.array_equal(same[p], gradients[p]) for p in gradients)
    nothing, norm = clip({"a": np.zeros(2, np.float32)}, 1.0)
    assert norm == 0
    assert not np.asarray(nothing["a"]).any()
