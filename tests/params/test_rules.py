"""Rules: full match, first wins; one error names every misfit and its nearest misses."""

import re

import pytest

from tlearn.params import RuleError, resolve

PATHS = ["body/stem/kernel", "body/stage_1/kernel", "body/head_norm/scale", "head/bias"]


def test_the_first_rule_that_matches_in_full_wins():
    rules = [("head/.*", 10), ("body/stage_1/.*", 2), ("body/.*", 1)]
    assert resolve(rules, PATHS) == {
        "body/stem/kernel": 1,
        "body/stage_1/kernel": 2,
        "body/head_norm/scale": 1,
        "head/bias": 10,
    }
    assert list(resolve(rules, PATHS)) == PATHS


def test_a_pattern_must_match_the_whole_path():
    # 'head' is part of 'body/head_norm/scale', which nobody meant.
    with pytest.raises(RuleError, match="'head' matches nothing"):
        resolve([("head", 1)], PATHS, default=0)


def test_defaults_serve_what_no_rule_claims():
    assert resolve([], PATHS, default=3) == dict.fromkeys(PATHS, 3)
    assert resolve([("head/.*", None)], ["head/bias"], default=1) == {"head/bias": None}


def test_one_error_names_all_misfits():
    rules = [
        ("body/stage_1/.*", 1),
        ("body/stage_1/kernel", 2),
        ("body/stge_1/.*", 3),
        ("he(ad", 4),
    ]
    with pytest.raises(RuleError) as error:
        resolve(rules, PATHS, what="freeze rule")
    text = str(error.value)
    for path in ("body/stem/kernel", "body/head_norm/scale", "head/bias"):
        assert f"no freeze rule for parameter {path}" in text
    assert "no freeze rule for parameter body/stage_1/kernel" not in text
    assert "'he(ad' is no regular expression" in text
    assert re.search(r"'body/stge_1/\.\*' matches nothing \(closest: body/stage_1[,)]", text)
    assert "'body/stage_1/kernel' is never reached: earlier rules claim all" in text


def test_long_lists_of_unclaimed_parameters_are_cut_and_counted():
    with pytest.raises(RuleError, match=r"and for 5 more"):
        resolve([], [f"body/p{i}" for i in range(25)])
