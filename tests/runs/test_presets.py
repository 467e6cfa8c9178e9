"""Every preset is a config that can be built, and two of them can be compared."""

from types import SimpleNamespace

import pytest

from tlearn.cli.main import main
from tlearn.runs.build import make_optimizer, make_strategy
from tlearn.runs.config import DataConfig, RunConfig, replace
from tlearn.runs.presets import PRESETS, about, apply_preset, compare
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


SMALL = "--settings width=8 hidden=8 depth=1 vocab_size=50 --batch-size 2 --row-length 4"
OURS = "not of the preset but tlearn's defaults: length='10ep', weight_decay=0.0"


def test_explain_says_what_the_paper_leaves_open_and_what_is_our_default(capsys):
    small = SMALL.split()
    assert main(["explain", "--preset", "ulmfit_pretrain", "--data", "planned:1000", *small]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"preset ulmfit_pretrain: {PRESETS['ulmfit_pretrain'].citation}"
    assert said[1] == PRESETS["ulmfit_pretrain"].note
    assert "nor the epochs; name --length" in said[1]
    assert said[2] == OURS


@pytest.mark.parametrize("quiet", [False, True])
def test_a_run_says_the_same_once_before_it_begins(capsys, monkeypatch, quiet):
    def begun(config, out, *, say, quiet):
        say("the task")
        return SimpleNamespace(exit_code=0)

    monkeypatch.setattr("tlearn.runs.training.start", begun)
    asked = f"--preset ulmfit_pretrain --data here --tokenizer there --out out {SMALL}".split()
    assert main(["pretrain", *asked, *(["--quiet"] if quiet else [])]) == 0
    *said, last = capsys.readouterr().out.splitlines()
    assert last == "the task"
    preset = PRESETS["ulmfit_pretrain"]
    told = [f"preset ulmfit_pretrain: {preset.citation}", preset.note]
    assert said == ([] if quiet else [*told, OURS])


def test_what_is_told_as_our_default():
    config = apply_preset(BASE, "gpt2_pretrain")
    said = about("gpt2_pretrain", config)
    assert said.splitlines()[-1] == (
        "not of the preset but tlearn's defaults: length='10ep', rate=0.01, schedule='cosine', "
        "weight_decay=0.0"
    )
    assert "name --rate, --schedule, --length" in said
    named = replace(config, length="10ep", rate=1.0)
    last = about("gpt2_pretrain", named, {"length", "rate"}).splitlines()[-1]
    assert "length" not in last
    assert " rate=" not in last
    assert "defaults" not in about("bert_2018", apply_preset(BASE, "bert_2018"))


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(ValueError, match="closest: \\['l2_sp'"):
        apply_preset(BASE, "l2sp")
