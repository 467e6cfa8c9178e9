"""Runs that are to go back to transformers: the head and the pooling of its class, or a word."""

import dataclasses
import json

import numpy as np
import pytest
import small_texts
from small_texts import finetune

from tlearn import hub
from tlearn.runs.build import build
from tlearn.runs.export import export

POOLER = ("body/pooler/dense/kernel", "body/pooler/dense/bias")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("out")
    return small_texts.bert_folder(root / "bert"), small_texts.reviews(root / "reviews")


@pytest.fixture(scope="module")
def sentences(place):
    """The same body as a sentence encoder's folder: the mean counts, the pooler lies beside."""
    return small_texts.averaged(small_texts.bert_folder(place[0].parent / "sentences"))


@pytest.fixture(scope="module")
def poolerless(place):
    """The same body as a masked language model's folder has it: without a pooler."""
    source = hub.load(f"hf:{place[0]}", pooling="first")
    params = {path: np.asarray(value) for path, value in source.params.items()}
    out = place[0].parent / "poolerless"
    return hub.export_folder(dataclasses.replace(source, params=params), out)


def built(source, data, **changes):
    said = []
    made = build(small_texts.config(source, data, **changes), said.append)
    return made, "\n".join(said)


def test_a_published_head_reads_what_its_class_reads(place, sentences, tmp_path):
    plain, said = built(sentences, place[1])
    assert plain.model.body.pooling == "mean"
    assert "refuse it, unless the run is made with --head published --pooling pooler" in said
    made, said = built(sentences, place[1], head="published")
    assert made.model.body.pooling == "pooler"
    assert "transformers has no class" not in said
    before = hub.load(f"hf:{sentences}", pooling="pooler").params
    for path in POOLER:
        np.testing.assert_array_equal(made.start().params[path], np.asarray(before[path]))
    run = finetune(sentences, place[1], tmp_path / "run", head="published", length="2st")
    folder = export(str(run.folder), tmp_path / "hf")
    written = json.loads((folder / "config.json").read_text())
    assert written["architectures"] == ["BertForSequenceClassification"]


def test_a_pooling_that_is_asked_for_counts(place, sentences):
    made, said = built(sentences, place[1], head="published", pooling="mean")
    assert made.model.body.pooling == "mean"
    assert "--head published --pooling pooler" in said


def test_a_missing_pooler_is_drawn_by_name(place, poolerless, tmp_path):
    made, said = built(poolerless, place[1], head="published")
    assert made.fresh == {*POOLER, "head/dense/kernel", "head/dense/bias"}
    assert "body/pooler/" in said
    assert np.std(made.start().params[POOLER[0]]) > 0
    again, _ = built(poolerless, place[1], head="published", fresh="pooler")
    assert again.fresh == made.fresh
    run = finetune(poolerless, place[1], tmp_path / "run", head="published", length="2st")
    assert export(str(run.folder), tmp_path / "hf").is_dir()


def test_a_pooler_that_is_asked_for_is_asked_for_by_name(place, poolerless):
    with pytest.raises(hub.HubError, match=r"'body/pooler/dense/\w+' is not in the source"):
        built(poolerless, place[1], pooling="pooler")
    made, _ = built(poolerless, place[1], pooling="pooler", fresh="pooler")
    assert set(POOLER) <= made.fresh
    assert made.model.body.pooling == "pooler"
