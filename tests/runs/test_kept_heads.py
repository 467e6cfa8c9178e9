"""A source's own head goes on only where each of its outputs is known to mean the data's label."""

import dataclasses

import numpy as np
import pytest
import small_texts

from tlearn import hub
from tlearn.runs.build import build


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("heads")
    return small_texts.bert_folder(root / "bert"), small_texts.reviews(root / "reviews", 12, 4)


@pytest.fixture(scope="module")
def folder(place):
    """Writes the body of the folder with a head of its own, once for each."""
    made = {}

    def with_head(labels=("bad", "good"), pooling="pooler", **head):
        key = (labels, pooling, *sorted(head.items()))
        if key not in made:
            source = hub.load(f"hf:{place[0]}", pooling=pooling)
            params = {path: np.asarray(value) for path, value in source.params.items()}
            params["head/dense/kernel"] = np.full((16, 2), 0.5, np.float32)
            params["head/dense/bias"] = np.zeros(2, np.float32)
            whole = dataclasses.replace(source, params=params, head=head, label_names=labels)
            made[key] = hub.export_folder(whole, place[0].parent / f"head{len(made)}")
        return made[key]

    return with_head


def kept(place, source, **changes):
    asked = small_texts.config(source, place[1], head_weights="source", **changes)
    return build(asked, draw=False)


LINEAR = {"family": "linear", "classes": 2}


def test_it_keeps_its_own_dropout_unless_another_is_asked_for(place, folder):
    source = folder(**LINEAR, dropout=0.25)
    assert kept(place, source).model.head.dropout == 0.25
    assert kept(place, source, head_dropout=0.5).model.head.dropout == 0.5
    assert not any(path.startswith("head/") for path in kept(place, source).fresh)


@pytest.mark.parametrize("family", ["tagging", "span"])
def test_a_head_that_labels_no_whole_example_is_refused_by_its_kind(place, folder, family):
    named = {"labels": ("bad", "good"), "classes": 2} if family == "tagging" else {"labels": None}
    source = folder(**named, pooling="first", family=family)
    with pytest.raises(ValueError, match=f"head of the kind '{family}'.* as linear, mlp") as caught:
        kept(place, source)
    assert "use head_weights=fresh" in str(caught.value)


def test_outputs_without_names_need_their_order_said(place, folder):
    source = folder(labels=None, **LINEAR)
    with pytest.raises(ValueError, match=r"order would be assumed.*--classes bad good"):
        kept(place, source)
    said = kept(place, source, classes=("good", "bad"))
    assert said.task.label_names == ("good", "bad")


def test_labels_that_are_the_numbers_of_the_outputs_need_no_word(place, folder, tmp_path):
    for name in ("train", "test"):
        text = (place[1] / f"{name}.tsv").read_text()
        numbered = text.replace("\tgood", "\t1").replace("\tbad", "\t0")
        (tmp_path / f"{name}.tsv").write_text(numbered)
    made = kept((place[0], tmp_path), folder(labels=None, **LINEAR), labels="class")
    assert made.task.label_names == ("0", "1")


def test_labels_in_another_order_are_refused(place, folder):
    with pytest.raises(ValueError, match="2 labels in their order: good, bad; the data has 2: bad"):
        kept(place, folder(labels=("good", "bad"), **LINEAR))


def test_options_of_a_new_head_are_refused_beside_it_with_all_else(place, folder):
    source = folder(labels=None, **LINEAR)
    with pytest.raises(ValueError, match=r"leave out head=mlp .*, head_init=scaled") as caught:
        kept(place, source, head="mlp", head_init="scaled")
    assert "--classes bad good" in str(caught.value)
