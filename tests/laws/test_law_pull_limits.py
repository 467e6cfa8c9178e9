"""The pull's limits, through the real step: λ = 0 is no pull, λ → ∞ a frozen body, and between.

Breaks tried: `prox` without its bit-for-bit end, `shrink` rounding through the source; the
decoupled pull taken at the new weights, and put through the moments; `prox` keeping a thousandth of
every difference.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tlearn.train.schedules import Constant
from tlearn.train.state import SourceWeights
from tlearn.transfer.optimizer import adamw, sgd, take_step
from tlearn.transfer.pull import FORMS, WAYS, Pull
from tlearn.transfer.strategy import Strategy

NETWORK = tiny.still()
# Two parameters of the body train beside the head, which keeps the programs small.
FREEZE = (("body/stage_1/block_01/(conv_2/kernel|norm_2/bias)|head/.*", False), (".*", True))
PLAIN = sgd(0.1, Constant())
ADAM = adamw(1e-2, Constant())


def trained(pull, optimizer, steps=3, exact=False, given=True):
    strategy = Strategy(freeze=FREEZE, pull=pull)
    _, rows, state, step, source = tiny.start(strategy, optimizer, network=NETWORK, exact=exact)
    assert len(rows.pulled) == 2
    state, _ = tiny.run(state, step, source if given else SourceWeights(), steps)
    return rows, state, source


@pytest.mark.parametrize("way", WAYS)
def test_strength_zero_is_bit_identical_to_no_pull_through_the_step(way):
    form = {"loss": "norm", "decoupled": "l2sp", "proximal": "group"}[way]
    none = trained(Pull(), ADAM, exact=True, given=False)[1]
    zero = trained(Pull(form=form, way=way), ADAM, exact=True)[1]
    # `numbers` too: nothing tells the two states apart.
    assert tiny.differing(none, zero) == []


@pytest.mark.parametrize("optimizer", [PLAIN, ADAM], ids=["sgd", "adamw"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", FORMS)
def test_strength_zero_is_bit_identical_to_no_pull_in_every_form(form, way, optimizer):
    """Away from the source as well, where a pull would act."""
    draw = np.random.default_rng(0)

    def some():
        return {
            "body/a/kernel": jnp.asarray(draw.normal(size=(3, 2)), jnp.float32),
            "head/b": jnp.asarray(draw.normal(size=2), jnp.float32),
        }

    weights, source, gradients = some(), some(), some()
    fisher = {path: jnp.abs(value) for path, value in some().items()}
    numbers = {"peak": jnp.float32(0.1), "rate": jnp.ones(2), "decay": jnp.full(2, 0.01)}
    numbers["pull"] = jnp.zeros(2)

    def go(pulled):
        return take_step(
            optimizer,
            Pull(form=form, way=way),
            pulled,
            gradients=gradients,
            slots=optimizer.direction().init(weights),
            trainable=weights,
            source=source if pulled else {},
            fisher=fisher if form == "fisher" else None,
            numbers=numbers,
            factor=jnp.float32(0.7),
            strength_factor=jnp.float32(1.0),
        )[:2]

    assert tiny.differing(go(("body/a/kernel",)), go(())) == []


def test_an_endless_pull_is_a_frozen_body():
    """Weights, and with them the head's whole course, in evaluation mode on both sides."""
    calm = ((".*", "eval"),)
    pull = Pull(form="l2sp", way="proximal", strength=1e12)
    pulled = tiny.start(Strategy(pull=pull, modes=calm), PLAIN, network=NETWORK)
    frozen = tiny.start(Strategy(freeze="body", modes=calm), PLAIN, network=NETWORK)
    before = tiny.host(pulled[2].trainable)
    a, _ = tiny.run(pulled[2], pulled[3], pulled[4], 4)
    b, _ = tiny.run(frozen[2], frozen[3], SourceWeights(), 4)
    for path, value in b.params.items():
        np.testing.assert_allclose(a.params[path], value, rtol=1e-5, atol=1e-6, err_msg=path)
    body = {path: value for path, value in before.items() if "body/" in path}
    for path, value in body.items():
        np.testing.assert_allclose(tiny.host(a.trainable)[path], value, atol=1e-9)
    assert not np.array_equal(before["['head/dense/kernel']"], a.trainable["head/dense/kernel"])


def test_a_stronger_pull_stays_nearer():
    distances = []
    for strength in (0.0, 1.0, 10.0, 100.0):
        pull = Pull(form="l2sp", way="proximal", strength=1.0)
        _, rows, state, step, source = tiny.start(
            Strategy(freeze=FREEZE, pull=pull), PLAIN, network=NETWORK
        )
        state = state.replace(numbers=state.numbers | {"pull": state.numbers["pull"] * strength})
        state, _ = tiny.run(state, step, source, 3)
        apart = {p: state.trainable[p] - source.params[p] for p in rows.pulled}
        distances.append(tiny.norm(apart))
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 2 * distances[-1]


@pytest.mark.parametrize("optimizer", [PLAIN, ADAM], ids=["sgd", "adamw"])
def test_loss_form_and_decoupled_form_agree_under_sgd_and_not_under_adam(optimizer):
    ends = [
        trained(Pull(form="l2sp", way=way, strength=0.5), optimizer, steps=6)[1].trainable
        for way in ("loss", "decoupled")
    ]
    apart = max(float(jnp.max(jnp.abs(ends[0][p] - ends[1][p]))) for p in ends[0])
    if optimizer is PLAIN:
        assert apart < 1e-6
    else:
        assert apart > 1e-4


def test_the_group_form_keeps_whole_channels_exactly_on_the_source():
    path = "body/stage_1/block_01/conv_2/kernel"
    ends = {}
    for way in ("proximal", "loss"):
        # A strength between: some channels stay, some leave.
        _, state, source = trained(Pull(form="group", way=way, strength=0.02), PLAIN, steps=3)
        d = np.asarray(state.trainable[path] - source.params[path])
        ends[way] = [int(np.count_nonzero(d[..., c])) for c in range(d.shape[-1])]
    size = d[..., 0].size
    assert 0 in ends["proximal"]
    assert set(ends["proximal"]) > {0}
    assert all(count in (0, size) or count > size // 2 for count in ends["proximal"])
    assert 0 not in ends["loss"]


def test_the_plan_names_what_has_no_source():
    strategy = Strategy(freeze=FREEZE, pull=Pull(strength=1.0))
    _, _, state, step, _ = tiny.start(strategy, PLAIN, network=NETWORK)
    with pytest.raises(ValueError, match=r"weights were not given for \['body/stage_1/block_01"):
        step(state, jax.device_put(tiny.batch()), SourceWeights())
