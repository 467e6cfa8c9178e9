"""What the encoders' tables understand and refuse, from a config and names alone."""

import json
from pathlib import Path

import numpy as np
import pytest

from tlearn import hub
from tlearn.hub.errors import HubError
from tlearn.hub.mapping import apply, invert
from tlearn.hub.tables.folder_family import Described
from tlearn.hub.tables.folders import hf_family

FIXTURES = Path(__file__).parents[1] / "fixtures"
BERT = hf_family("bert")


def stored(name):
    arrays = hub.read_safetensors(FIXTURES / name / "model.safetensors").arrays
    config = json.loads((FIXTURES / name / "config.json").read_text())
    return config, {path: np.array(value) for path, value in arrays.items()}


def shapes(arrays):
    return {path: value.shape for path, value in arrays.items()}


@pytest.fixture
def bert():
    return stored("hf_bert")


@pytest.mark.parametrize(
    "name", ["hf_bert", "hf_roberta", "hf_distilbert", "hf_albert", "hf_electra"]
)
def test_what_is_written_is_described_the_same(name):
    config, arrays = stored(name)
    family = hf_family(config["model_type"])
    described = family.describe(config, shapes(arrays))
    written = family.write(described)
    assert family.describe(written, shapes(arrays)) == described
    mapped = apply(family.table(described), arrays)
    back = invert(family.table(described), mapped)
    assert back.keys() == arrays.keys()
    assert all(np.array_equal(back[path], arrays[path]) for path in arrays)


def test_names_of_2018_and_buffers_and_copies(bert):
    config, arrays = bert
    new = apply(BERT.table(BERT.describe(config, shapes(arrays))), arrays)
    old = {
        path.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): value
        for path, value in arrays.items()
    }
    old["bert.embeddings.position_ids"] = np.arange(20)[None]
    old["cls.predictions.decoder.weight"] = old["bert.embeddings.word_embeddings.weight"].copy()
    old["cls.predictions.decoder.bias"] = old["cls.predictions.bias"].copy()
    mapped = apply(BERT.table(BERT.describe(config, shapes(old))), old)
    assert mapped.keys() == new.keys()
    assert all(np.array_equal(mapped[path], new[path]) for path in new)
    old["cls.predictions.decoder.weight"][3, 2] += 1
    with pytest.raises(HubError, match=r"cls.predictions.decoder.weight.*must equal"):
        apply(BERT.table(BERT.describe(config, shapes(old))), old)


def test_the_names_decide_which_head_is_there(bert):
    config, arrays = bert
    # As the first published BERT: the config says masked words, the file holds both heads.
    described = BERT.describe({**config, "architectures": ["BertForMaskedLM"]}, shapes(arrays))
    assert described.head is not None
    assert described.head["family"] == "pretraining"
    assert described.architecture == "BertForPreTraining"
    body = {p.removeprefix("bert."): v for p, v in arrays.items() if p.startswith("bert.")}
    bare = BERT.describe({**config, "architectures": ["BertForMaskedLM"]}, shapes(body))
    assert (bare.head, bare.prefix, bare.architecture) == (None, "", "BertModel")
    body = {p: v for p, v in body.items() if not p.startswith("pooler")}
    assert BERT.describe({**config, "architectures": []}, shapes(body)).body["pooling"] == "first"


def test_a_pooler_that_the_class_does_not_read_is_left_behind():
    config, arrays = stored("hf_roberta")
    family, width = hf_family("roberta"), config["hidden_size"]
    arrays["roberta.pooler.dense.weight"] = np.zeros((width, width), np.float32)
    arrays["roberta.pooler.dense.bias"] = np.zeros(width, np.float32)
    described = family.describe(config, shapes(arrays))
    assert described.body["pooling"] == "first"
    assert not [path for path in apply(family.table(described), arrays) if "pooler" in path]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position_embedding_type": "relative_key"}, "relative positions"),
        ({"is_decoder": True}, "left only"),
        ({"add_cross_attention": True}, "read an encoder"),
        ({"pruned_heads": {"0": [1]}}, "unlike numbers of heads"),
        ({"quantization_config": {"bits": 8}}, "quantised"),
        ({"auto_map": {"AutoModel": "x.Y"}}, "code of its own"),
        ({"architectures": ["BertLMHeadModel"]}, "left only"),
        ({"architectures": ["BertForMultipleChoice"]}, "several rows of one example"),
        ({"architectures": ["BertForSequenceClassification"]}, "its head are missing"),
        ({"architectures": "BertModel"}, "list of class names"),
        ({"hidden_act": "gelu_nwe"}, "nearest: 'gelu_new'"),
        ({"vocab_size": 61}, "vocab_size=61"),
        ({"num_hidden_layers": 3}, "num_hidden_layers=3"),
        ({"num_hidden_layers": True}, "whole number"),
        ({"hidden_size": "16"}, "hidden_size must be a whole number"),
        ({"layer_norm_eps": None}, "layer_norm_eps must be a number"),
        ({"pad_token_id": 60}, "outside the vocabulary"),
        ({"pad_token_id": "0"}, "pad_token_id"),
    ],
)
def test_what_would_change_the_function_is_refused_by_name(bert, change, message):
    config, arrays = bert
    with pytest.raises(HubError, match=message):
        BERT.describe({**config, **change}, shapes(arrays))


def test_all_problems_come_at_once(bert):
    config, arrays = bert
    with pytest.raises(HubError) as error:
        BERT.describe({**config, "is_decoder": True, "vocab_size": 7}, shapes(arrays))
    assert "is_decoder" in str(error.value)
    assert "vocab_size" in str(error.value)


def classified(bert, classes=3):
    config, arrays = bert
    arrays = {p: v for p, v in arrays.items() if not p.startswith("cls.")}
    arrays["classifier.weight"] = np.ones((classes, config["hidden_size"]), np.float32)
    arrays["classifier.bias"] = np.ones(classes, np.float32)
    return {**config, "architectures": ["BertForSequenceClassification"]}, arrays


def test_labels(bert):
    config, arrays = classified(bert)
    assert BERT.describe(config, shapes(arrays)).label_names is None
    labels = {"0": "a", "1": "b", "2": "c"}
    assert BERT.describe({**config, "id2label": labels}, shapes(arrays)).label_names == tuple("abc")
    generic = {str(i): f"LABEL_{i}" for i in range(3)}
    assert BERT.describe({**config, "id2label": generic}, shapes(arrays)).label_names is None
    for wrong in ({"0": "a", "1": "b"}, {"0": "a", "1": "b", "2": "a"}, {"0": 1, "1": 2, "2": 3}):
        with pytest.raises(HubError, match="id2label"):
            BERT.describe({**config, "id2label": wrong}, shapes(arrays))


def test_a_classifier_without_its_class_is_not_guessed(bert):
    config, arrays = classified(bert)
    with pytest.raises(HubError, match="ForTokenClassification"):
        BERT.describe({**config, "architectures": []}, shapes(arrays))


def test_what_several_labels_mean_is_on_record(bert):
    config, arrays = classified(bert)
    config["problem_type"] = "multi_label_classification"
    described = BERT.describe(config, shapes(arrays))
    assert described.extra["problem_type"] == "multi_label_classification"
    assert BERT.write(described)["problem_type"] == "multi_label_classification"


def test_models_that_no_class_computes_are_not_written(bert):
    config, arrays = classified(bert)
    described = BERT.describe(config, shapes(arrays))

    def with_(body=None, head=None):
        return Described({**described.body, **(body or {})}, {**described.head, **(head or {})})

    for strange, message in (
        (with_(body={"pooling": "mean"}), "pooling='pooler'"),
        (with_(body={"position_offset": 2}), "position_offset"),
        (with_(body={"types": 0}), "types"),
        (with_(head={"use_bias": False}), "bias"),
        (with_(head={"family": "cosine"}), "cosine"),
    ):
        with pytest.raises(HubError, match=message):
            BERT.write(strange)
    assert BERT.write(with_())["architectures"] == ["BertForSequenceClassification"]


def test_two_named_outputs_are_not_sentence_order(bert):
    config, arrays = classified(bert, 2)
    described = BERT.describe(config, shapes(arrays))
    assert described.head is not None
    fields = (described.body, described.head)
    was = "BertForNextSentencePrediction"
    assert BERT.write(Described(*fields, architecture=was))["architectures"] == [was]
    named = Described(*fields, label_names=("bad", "good"), architecture=was)
    assert BERT.write(named)["architectures"] == ["BertForSequenceClassification"]
