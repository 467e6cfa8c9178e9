"""Configs: read back as written, changed by name, and refused with every reason at once."""

import dataclasses
import inspect
import json
import subprocess
import sys
import typing

import pytest

from tlearn.runs import config as configs
from tlearn.runs.config import (
    BOOKKEEPING,
    DataConfig,
    RunConfig,
    TrainConfig,
    diff,
    from_json,
    replace,
    to_json,
)

BASE = RunConfig(data=DataConfig(data="digits"))
FULL = replace(
    BASE,
    source="run:somewhere",
    classes=("a", "b"),
    settings=("stage_widths=8,16",),
    unfreeze="gradual",
    pull="group",
    pull_strength=0.5,
    rate=1.0,
    batch_size=7,
)


@pytest.mark.parametrize("config", [BASE, FULL])
def test_what_is_written_is_read_back(config):
    text = json.dumps(to_json(config))
    assert from_json(json.loads(text)) == config
    assert to_json(from_json(json.loads(text))) == to_json(config)


def test_defaults_fill_what_a_file_leaves_out():
    assert from_json({"data": {"data": "digits"}}) == BASE
    assert from_json({"data": {"data": "digits"}, "optimizer": {"rate": 1}}).optimizer.rate == 1


def test_fields_are_changed_by_name_wherever_they_are():
    assert FULL.optimizer.rate == 1.0
    assert FULL.train.batch_size == 7
    assert FULL.data.classes == ("a", "b")
    assert FULL.source == "run:somewhere"
    # Names of a group and of a field in it: a value of the group's class is the group.
    assert replace(BASE, optimizer="adamw").optimizer.optimizer == "adamw"
    assert replace(BASE, data="mnist:x").data.data == "mnist:x"
    group = TrainConfig(seed=3)
    assert replace(BASE, train=group).train is group
    assert replace(BASE, train=group, batch_size=9).train == TrainConfig(seed=3, batch_size=9)


def test_differences_are_listed_by_group():
    assert diff(BASE, BASE) == []
    assert diff(BASE, replace(BASE, rate=0.5, source="npz:x")) == [
        "source: '' -> 'npz:x'",
        "optimizer.rate: 0.01 -> 0.5",
    ]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batchsize": 3}, r"'batchsize' \(closest: \['batch_size'"),
        ({"rat": 0.1, "sed": 1}, r"'rat' .*'sed' "),
    ],
)
def test_unknown_names_are_errors_with_the_nearest(changes, says):
    with pytest.raises(ValueError, match=says):
        replace(BASE, **changes)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"data": {"data": "digits"}, "trian": {}}, r"unknown key 'trian'; closest: \['train'"),
        ({"data": {"dta": "digits"}}, r"unknown key 'data.dta'; closest: \['data'"),
        ({"data": {}}, "data.data is missing"),
        ({}, "data is missing"),
        ({"data": "digits"}, "data is 'digits'; it must be a group of settings"),
        ({"data": {"data": "d"}, "source": {"run": "x"}}, "source is .* it must be text"),
        ({"data": {"data": "d"}, "train": {"seed": "1"}}, "train.seed is '1'; it must be a whole"),
        ({"data": {"data": "d"}, "train": {"seed": True}}, "train.seed is True"),
        ({"data": {"data": "d"}, "train": {"remat": 1}}, "train.remat is 1; it must be true or"),
        ({"data": {"data": "d", "classes": [1]}}, r"data.classes is \[1\]; it must be a list"),
        (
            {"data": {"data": "d"}, "optimizer": {"optimizer": "adam"}},
            "optimizer.optimizer is 'adam'; it must be 'sgd' or 'adamw'",
        ),
        ({"data": {"data": "d"}, "optimizer": {"rate": -1.0}}, "rate is -1.0; it must be above 0"),
    ],
)
def test_a_file_that_does_not_fit_says_where(values, says):
    with pytest.raises(ValueError, match=says):
        from_json(values)


def test_all_misfits_of_a_file_come_at_once():
    values = {"data": {"data": "d", "siez": 3}, "train": {"seed": "x"}, "heads": {}}
    with pytest.raises(ValueError, match="siez") as error:
        from_json(values)
    for part in ("unknown key 'data.siez'", "train.seed is 'x'", "unknown key 'heads'"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch_size": 0, "accumulate": 0}, "batch_size is 0(.|\n)*accumulate is 0"),
        ({"rate": 0.0}, "rate is 0.0; it must be above 0"),
        ({"ema": 1.0}, r"ema is 1.0; it must be in \[0, 1\)"),
        ({"head_dropout": 1.0}, "head_dropout"),
        ({"per_class": -1}, "per_class is -1"),
        ({"pull_strength": 0.1}, "a pull needs a source"),
        ({"source": "run:x", "pull_strength": -0.1}, "pull_strength is -0.1"),
    ],
)
def test_runs_that_cannot_be_made_say_why(changes, says):
    with pytest.raises(ValueError, match=says):
        replace(BASE, **changes)


def test_every_class_is_frozen_keyword_only_and_every_field_is_explained():
    """What the command line makes of them: a kind it knows, and a help text for each."""
    groups = [c for c in vars(configs).values() if dataclasses.is_dataclass(c)]
    assert len(groups) == 8
    for group in groups:
        source = inspect.getsource(group)
        assert group.__dataclass_params__.frozen
        for field in dataclasses.fields(group):
            assert field.kw_only
            kind = field.type
            inner = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else kind
            literal = typing.get_origin(kind) is typing.Literal
            assert literal or inner in (int, float, str, bool) or dataclasses.is_dataclass(kind)
            assert f"    {field.name}: " in source
            after = source.split(f"    {field.name}: ")[1].split("\n")
            assert any(line.lstrip().startswith('"""') for line in after[1:3]), field.name


def test_configs_import_nothing_heavy():
    code = (
        "import sys, tlearn.runs.config; "
        "print([m for m in ('jax', 'transformers', 'tensorflow_datasets', 'orbax') "
        "if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_bookkeeping_has_the_values_that_configs_have():
    run = RunConfig(data=DataConfig(data="x"))
    assert replace(run, **BOOKKEEPING) == run
