"""Trained tokenizers: transformers reads them alike, the same corpus gives the same one."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from tests.word_texts import WORDS, dataset
from tlearn.cli.main import main
from tlearn.data import (
    DataError,
    FileCorpus,
    TextCorpus,
    Tokenizer,
    save_tokenizer,
    train_tokenizer,
    unlabelled,
)
from tlearn.data.tokenizer_training import SPECIAL

KINDS = ("wordpiece", "bpe", "unigram", "word")
TEXTS = ["The cat sat.", "dogs, not  Birds", "café Über naïve 3.14", "a [SEP] b", ""]
ALIKE = """
import sys
from tests.word_texts import dataset
from tlearn.data import TextCorpus, train_tokenizer
for kind in sys.argv[1:]:
    print(train_tokenizer(TextCorpus(dataset(400)), kind, 300).digest)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_reads_it_alike(tmp_path, kind):
    transformers = pytest.importorskip("transformers")
    made = train_tokenizer(TextCorpus(dataset(200)), kind, 300, lowercase=kind != "bpe")
    paths = save_tokenizer(made, tmp_path)
    assert sorted(path.name for path in paths) == ["tokenizer.json", "tokenizer_config.json"]
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    found = made.encode(TEXTS)
    for index, text in enumerate(TEXTS):
        inside = slice(found.starts[index], found.starts[index + 1])
        assert found.ids[inside].tolist() == theirs(text)["input_ids"]
    pairs = made.encode(["a cat"], ["the dog"])
    assert pairs.ids.tolist() == theirs("a cat", "the dog")["input_ids"]
    for purpose, text in SPECIAL[kind].items():
        assert getattr(theirs, f"{purpose}_token") == text
        assert made.token(purpose) == theirs.convert_tokens_to_ids(text)
    assert made.pad == 0
    assert made.size == len(theirs) <= 300
    files = {path.name: path.read_bytes() for path in paths}
    again = Tokenizer.from_files(files)
    assert (again.digest, again.special) == (made.digest, made.special)


def test_the_same_corpus_gives_the_same_tokenizer_in_every_process():
    here = [train_tokenizer(TextCorpus(dataset(400)), kind, 300).digest for kind in KINDS]
    done = subprocess.run(
        [sys.executable, "-c", ALIKE, *KINDS], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == here, done.stderr


def test_only_special_tokens_are_special():
    made = train_tokenizer(TextCorpus(dataset(200)), "wordpiece", 120)
    definition = json.loads(made.definition)
    names = [token["content"] for token in definition["added_tokens"]]
    assert names == list(SPECIAL["wordpiece"].values())
    vocabulary = definition["model"]["vocab"]
    # Every letter of the corpus may begin a word or go on with one.
    assert {"t", "##t", "##s", "the"} <= set(vocabulary)
    assert made.decode(made.encode(["the tree"]).ids) == "the tree"


@pytest.mark.parametrize("kind", KINDS)
def test_capitals_are_lowered_or_kept(kind):
    texts = TextCorpus(unlabelled(["The Cat sat", "the Dog ran"] * 20))
    lowered = train_tokenizer(texts, kind, 300)
    kept = train_tokenizer(texts, kind, 300, lowercase=False)
    small, large = lowered.encode(["the cat", "The CAT"]), kept.encode(["the cat", "The Cat"])
    first, second = np.split(small.ids, [small.starts[1]])
    assert first.tolist() == second.tolist()
    first, second = np.split(large.ids, [large.starts[1]])
    assert first.tolist() != second.tolist()


def test_sentinels_stand_at_the_end_the_first_one_last():
    made = train_tokenizer(TextCorpus(dataset(200)), "unigram", 80, sentinels=10)
    last = made.size - 1
    assert last < 80
    assert [made.number(f"<extra_id_{n}>") for n in range(10)] == list(range(last, last - 10, -1))
    # In a text they are words like any other for a store, and sentinels for nobody.
    plain = made.backend().encode("<extra_id_3>", add_special_tokens=False).ids
    assert max(plain) < made.size - 10


def test_special_tokens_of_ones_own():
    made = train_tokenizer(
        TextCorpus(dataset(50)), "wordpiece", 80, special={"bos": "[BOS]", "mask": "<mask>"}
    )
    assert made.token("bos") is not None
    assert made.number("[MASK]") is None
    assert made.number("<mask>") == made.token("mask")


def test_no_more_characters_than_asked_spread_over_the_corpus(tmp_path):
    # Ten kinds of words, one after the other: a prefix would know the first only.
    lines = [f"word{'abcdefghij'[i // 100]} of line" for i in range(1000)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    corpus = FileCorpus(tmp_path / "a.txt", "lines")
    calls = []
    made = train_tokenizer(
        corpus,
        "word",
        40,
        characters=1500,
        progress=lambda done, count: calls.append((done, count)),
    )
    assert all(made.number(f"word{letter}") is not None for letter in "abcdefghij")
    assert calls[-1] == (1000, 1000)
    few = train_tokenizer(corpus, "word", 40, characters=20)
    assert few.size < made.size


def test_a_long_line_without_a_space_is_no_trouble(tmp_path):
    (tmp_path / "a.txt").write_text("x" * 300_000 + "\nthe cat sat on the tree\n")
    for kind in KINDS:
        made = train_tokenizer(FileCorpus(tmp_path / "a.txt", "lines"), kind, 290)
        assert made.number("sat") or made.encode(["sat"]).unknown == 0


def test_what_cannot_be_trained_is_told_at_once(tmp_path):
    corpus = TextCorpus(dataset(5))
    with pytest.raises(DataError) as caught:
        train_tokenizer(corpus, "bpe", 100, special={"stop": "!"}, sentinels=-1, characters=0)
    message = str(caught.value)
    for part in (
        "special token for 'stop': did you mean",
        "sentinels=-1",
        "vocab_size=100; special tokens and all bytes",
        "characters=0",
    ):
        assert part in message
    (tmp_path / "a.txt").write_text(" \n")
    with pytest.raises(DataError, match=r"a\.txt: holds no text"):
        train_tokenizer(FileCorpus(tmp_path / "a.txt", "text"), "word", 100)
    with pytest.raises(DataError, match="no files to be written"):
        save_tokenizer(Tokenizer("{}"), tmp_path)


def test_the_verb(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("\n".join(" ".join(WORDS) for _ in range(20)))
    out = tmp_path / "made"
    corpus = f"lines:{tmp_path / 'a.txt'}"
    args = ["tokenizer", "--corpus", corpus, "--kind", "word", "--vocab-size", "50"]
    assert main([*args, "--out", str(out)]) == 0
    assert "word, 20 tokens" in capsys.readouterr().out
    files = {path.name: path.read_bytes() for path in out.iterdir()}
    made = Tokenizer.from_files(files)
    assert made.number("house") is not None
    first = hashlib.sha256(files["tokenizer.json"]).hexdigest()
    assert main([*args, "--out", str(out)]) == 0
    assert hashlib.sha256((out / "tokenizer.json").read_bytes()).hexdigest() == first
    marks = ["cls=[CLS]", "sep=[SEP]", "mask=[MASK]"]
    as_albert = ["tokenizer", "--corpus", corpus, "--kind", "unigram", "--vocab-size", "60"]
    assert main([*as_albert, "--special", *marks, "--out", str(out)]) == 0
    made = Tokenizer.from_files({path.name: path.read_bytes() for path in out.iterdir()})
    assert {"cls", "sep", "mask"} <= dict(made.special).keys()
    around = json.loads(made.definition)["post_processor"]["single"]
    assert [piece["SpecialToken"]["id"] for piece in around[::2]] == ["[CLS]", "[SEP]"]
    for wrong in (["mask"], ["mask="], ["mask=a", "mask=b"]):
        assert main([*as_albert, "--special", *wrong, "--out", str(out)]) == 2
        assert "write each once, as mask=[MASK]" in capsys.readouterr().err
    assert main([*as_albert, "--special", "maks=[MASK]", "--out", str(out)]) == 1
    assert "special token for 'maks'" in capsys.readouterr().err
    assert main(["tokenizer", "--corpus", "lnies:x", "--out", str(out)]) == 1
    assert "did you mean 'lines'" in capsys.readouterr().err
    assert main([*args[:-1], "0", "--out", str(out)]) == 2
