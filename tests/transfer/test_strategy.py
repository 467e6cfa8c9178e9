"""Strategies as data: what is asked is checked when it is asked, stages are spelt out."""

import pytest

from tlearn.transfer.strategy import (
    ULMFIT_FACTOR,
    Stage,
    Strategy,
    fresh_layers,
    frozen_layers,
    stages,
)

LAYERS = ("stem", "stage_1", "stage_2", "stage_3")


def test_freezing_counts_layers_from_the_input():
    assert frozen_layers("none", LAYERS) == ()
    assert frozen_layers("bottom:2", LAYERS) == ("stem", "stage_1")
    assert frozen_layers("bottom:4", LAYERS) == frozen_layers("body", LAYERS) == LAYERS
    with pytest.raises(ValueError, match="'bottom:5' asks for 5 layers, the body has 4: stem, "):
        frozen_layers("bottom:5", LAYERS)


def test_drawing_afresh_counts_from_the_head():
    assert fresh_layers("top:1", LAYERS) == ("stage_3",)
    assert fresh_layers("top:4", LAYERS) == LAYERS
    assert fresh_layers("all", LAYERS) == LAYERS
    # By name, in the order of the body.
    assert fresh_layers(("stage_3", "stem"), LAYERS) == ("stem", "stage_3")
    with pytest.raises(ValueError, match=r"\['stage3'\].*closest: \['stage_3'"):
        fresh_layers(("stage3",), LAYERS)
    with pytest.raises(ValueError, match="top:9"):
        fresh_layers("top:9", LAYERS)


def freezes(unfreeze):
    return [stage.freeze for stage in stages(Strategy(unfreeze=unfreeze), LAYERS)]


def test_gradual_unfreezing_adds_a_layer_an_epoch_from_the_top():
    """Howard & Ruder 2018, section 3.3: the last layer first, then the next lower, to the end."""
    assert freezes("gradual") == ["body", "bottom:3", "bottom:2", "bottom:1", "none"]
    found = stages(Strategy(unfreeze="gradual", stage_epochs=0.5), LAYERS)
    assert [stage.epochs for stage in found] == [0.5, 0.5, 0.5, 0.5, None]


def test_chain_thaw_trains_each_layer_alone_then_all():
    """Felbo et al. 2017, section 3.3: new layers, each layer from the first on, all layers."""
    found = freezes("chain-thaw")
    assert found[0] == "body"
    assert found[-1] == "none"
    assert found[1:-1] == [((f"body/{name}/.*", False), (".*", True)) for name in LAYERS]


def test_head_first_is_two_stages():
    assert stages(Strategy(unfreeze="head-first", stage_epochs=3.0), LAYERS) == (
        Stage("body", 3.0),
        Stage("none"),
    )


def test_without_stages_there_is_one():
    rules = ((".*bias", True), (".*", False))
    assert stages(Strategy(freeze=rules), LAYERS) == (Stage(rules),)


def test_the_ulmfit_factor():
    assert ULMFIT_FACTOR == 2.6


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"freeze": "bottom"}, "'bottom' is unknown; use none or body or bottom:K"),
        ({"freeze": "bottom:0"}, "bottom:K"),
        ({"freeze": "bottom:-1"}, "bottom:K"),
        ({"freeze": "top:1"}, "bottom:K"),
        ({"fresh": "bottom:1"}, "top:K"),
        ({"layer_decay": 0.0}, "above 0"),
        ({"head_rate": 0.0}, "a rate of 0 is no freezing: use freeze"),
        ({"rates": (("body/stem/.*", 0.0),)}, r"say freeze=\(\('body/stem/\.\*', True\)"),
        ({"weight_decay": -1.0}, "at least 0"),
        ({"head_decay": -1.0}, "at least 0"),
        ({"modes": (("stem", "evaluation"),)}, "use train, eval, statistics"),
        ({"unfreeze": "gradual", "freeze": "body"}, "declares its own freezing; drop freeze"),
        ({"stage_epochs": 0.0}, "above 0"),
    ],
)
def test_what_cannot_be_carried_out_says_why(asked, says):
    with pytest.raises(ValueError, match=says):
        Strategy(**asked)


def test_all_problems_come_at_once():
    with pytest.raises(ValueError, match="freeze") as error:
        Strategy(freeze="bottom", layer_decay=-1.0, head_rate=0.0)
    assert len(str(error.value).splitlines()) == 4
