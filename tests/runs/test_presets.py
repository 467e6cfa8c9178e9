"""Every preset is a config that can be built, and two of them can be compared."""

import pytest

from tlearn.runs.build import make_optimizer, make_strategy
from tlearn.runs.config import DataConfig, RunConfig
from tlearn.runs.presets import PRESETS, apply_preset, compare
from tlearn.transfer.strategy import stages

BASE = RunConfig(data=DataConfig(data="digits"), source="run:any")
LAYERS = ("stem", "stage_1", "stage_2", "stage_3")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_strategy_and_an_optimizer(name):
    config = apply_preset(BASE, name)
    strategy = make_strategy(config.strategy)
    assert stages(strategy, LAYERS)
    optimizer = make_optimizer(config, 50)
    factors = [float(optimizer.schedule.multiplier(t, 10_000)) for t in (0, 5_000, 9_999)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert PRESETS[name].citation in str(PRESETS[name])


def test_the_published_numbers():
    assert apply_preset(BASE, "ulmfit_layers").strategy.layer_decay == pytest.approx(0.384615, 1e-5)
    assert apply_preset(BASE, "l2_sp").strategy.pull_strength == 0.1
    assert apply_preset(BASE, "l2_sp").strategy.head_decay == 0.01
    bit = make_optimizer(apply_preset(BASE, "bit_hyperrule"), 50).schedule
    steps = [500, 2_999, 3_001, 6_001, 9_001]
    assert [float(bit.multiplier(t, 10_000)) for t in steps] == pytest.approx(
        [1, 1, 0.1, 0.01, 0.001], rel=1e-5
    )


def test_two_presets_differ_in_what_is_listed():
    lines = compare("electra_rates", "zhang_layers")
    assert "strategy.layer_decay: 0.8 -> 0.95" in lines
    assert "strategy.decay_convention: 'electra' -> 'zhang'" in lines
    assert "strategy.fresh: '' -> 'top:1'" in lines
    assert len(lines) == 3


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(ValueError, match="closest: \\['l2_sp'"):
        apply_preset(BASE, "l2sp")
