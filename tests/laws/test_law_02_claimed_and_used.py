"""Law 2: every parameter is claimed and every rule is used; nothing trainable is an error.

Breaks tried: `resolve` ignoring idle rules; `resolve` giving unclaimed paths the first value;
`_plan` raising at the first kind of rule that does not fit; nothing trainable let pass.
"""

import pytest

from tests import tiny
from tlearn.params import RuleError
from tlearn.transfer.plan import plan, plans, redraw
from tlearn.transfer.pull import Pull
from tlearn.transfer.strategy import Strategy

NETWORK = tiny.model()
PARAMS, _ = tiny.drawn(NETWORK)


def planned(**strategy):
    return plan(PARAMS, Strategy(**strategy), layers=NETWORK.body.layer_names)


def test_every_parameter_has_a_row():
    rows = planned().rows
    assert [row.path for row in rows] == sorted(PARAMS)
    assert all(row.shape == PARAMS[row.path].shape for row in rows)


def test_one_error_names_everything_that_does_not_fit():
    with pytest.raises(RuleError) as error:
        planned(
            freeze=(("body/stem/.*", True), ("body/stagee_1/.*", True), ("head/.*", False)),
            rates=(("body/stem/conv/kernl", 2.0),),
            modes=(("stage_9", "eval"),),
            pull=Pull(strength=1.0, layers=(("stage1", 2.0),)),
        )
    text = str(error.value)
    unclaimed = [path for path in PARAMS if path.startswith("body/stage")]
    assert len(unclaimed) > 5
    for path in unclaimed:
        assert f"no freeze rule for parameter {path}" in text
    assert "freeze rule 'body/stagee_1/.*' matches nothing (closest: body/stage_1, " in text
    assert "rate rule 'body/stem/conv/kernl' matches nothing (closest: body/stem/conv/kern" in text
    assert "mode rule 'stage_9' matches nothing (closest: stage_" in text
    assert "pull layer rule 'stage1' matches nothing (closest: stage_1, " in text


def test_a_rule_that_earlier_rules_leave_nothing_is_an_error():
    with pytest.raises(RuleError, match=r"'body/stem/\.\*' is never reached"):
        planned(freeze=((".*kernel", False), ("body/.*|head/.*", True), ("body/stem/.*", True)))


@pytest.mark.parametrize("freeze", [((".*", True),), (("body/.*", True), ("head/.*", True))])
def test_nothing_trainable_is_an_error(freeze):
    with pytest.raises(ValueError, match="nothing would train"):
        planned(freeze=freeze)


def test_stages_are_held_to_the_same():
    with pytest.raises(RuleError, match="rate rule 'bod' matches nothing"):
        plans(
            PARAMS,
            Strategy(unfreeze="gradual", rates=(("bod", 2.0),)),
            layers=NETWORK.body.layer_names,
        )


def test_drawing_afresh_what_is_not_there_is_an_error():
    with pytest.raises(RuleError, match=r"fresh rule 'body/stag_1/\.\*' matches nothing \(closest"):
        redraw(PARAMS, PARAMS, ["head/.*", "body/stag_1/.*"])
