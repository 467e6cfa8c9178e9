"""A source's rows are read by the tokenizer they were learned with, or are carried over by name."""

import json
from typing import Any

import numpy as np
import pytest
import small_texts

from tlearn import hub
from tlearn.runs.build import build

WORDS = small_texts.WORDS
SPECIAL, PLAIN = WORDS[:5], WORDS[5:]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("tokenizers")
    text = "the film was lovely and the play was dull\n" * 20
    (root / "corpus.txt").write_text(text)
    return small_texts.bert_folder(root / "bert"), small_texts.reviews(root / "reviews")


def tokenizer(folder, words, lowercase=True):
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lowercase}))
    return str(folder)


def of_corpus(place, tmp_path):
    """A run that goes on to learn masked tokens."""
    return small_texts.config(
        place[0],
        f"text:{place[0].parent}/corpus.txt",
        objective="masked_tokens",
        stores=str(tmp_path / "stores"),
        row_length=16,
        test_split="",
        pooling="first",
        validation="0%",
        widths="auto",
    )


@pytest.mark.parametrize("objective", ["labels", "masked_tokens"])
def test_the_same_words_in_another_order_are_refused(place, tmp_path, objective):
    other = tokenizer(tmp_path / "other", [*SPECIAL, *reversed(PLAIN)])
    asked = small_texts.config(*place)
    if objective != "labels":
        asked = of_corpus(place, tmp_path)
    with pytest.raises(ValueError, match="have other places") as caught:
        build(small_texts.change(asked, tokenizer=other), draw=False)
    said = str(caught.value)
    # Sixteen words; the order of an even number keeps none in its place.
    assert f"{len(PLAIN)} of its tokens" in said
    assert f"'song' is 5, the source's {WORDS.index('song')}" in said
    for named in (other, str(place[0]), "--vocabulary remap"):
        assert named in said


def test_remapped_they_keep_their_rows(place, tmp_path):
    words = [*SPECIAL, *reversed(PLAIN)]
    other = tokenizer(tmp_path / "other", words)
    made = build(small_texts.config(*place, tokenizer=other, vocabulary="remap"))
    path = "body/embeddings/tokens/embedding"
    before = np.asarray(hub.load(f"hf:{place[0]}").params[path])
    after = np.asarray(made.start().params[path])
    for number, word in enumerate(words):
        np.testing.assert_array_equal(after[number], before[WORDS.index(word)])


def test_the_source_s_own_tokenizer_may_be_named(place, tmp_path):
    copy = tokenizer(tmp_path / "copy", WORDS)
    for folder in (str(place[0]), copy):
        made: Any = build(small_texts.config(*place, tokenizer=folder), draw=False)
        assert made.task.tokenizer.vocabulary == {word: i for i, word in enumerate(WORDS)}


def test_what_differs_beside_the_places_is_told(place, tmp_path):
    cased = tokenizer(tmp_path / "cased", WORDS, lowercase=False)
    with pytest.raises(ValueError, match="cuts texts another way"):
        build(small_texts.config(*place, tokenizer=cased), draw=False)
    short = tokenizer(tmp_path / "short", WORDS[:-2])
    with pytest.raises(ValueError, match="lacks 2 of its tokens"):
        build(small_texts.config(*place, tokenizer=short), draw=False)
