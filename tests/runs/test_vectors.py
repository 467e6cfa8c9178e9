"""Word vectors from a text file to a source: trained, written, read again, by the verb too."""

import numpy as np
import pytest

from tlearn import bodies, hub
from tlearn.cli.main import main
from tlearn.hub.errors import HubError
from tlearn.hub.vectors_file import read_word2vec, write_word2vec
from tlearn.runs.vectors import VectorsConfig, train_vectors

ANIMALS, TOOLS = "cat dog horse cow sheep goat".split(), "saw drill hammer file rasp plane".split()


@pytest.fixture
def text(tmp_path):
    rng = np.random.default_rng(0)
    topics = [(ANIMALS, TOOLS)[rng.integers(2)] for _ in range(250)]
    lines = [" ".join(rng.choice([*t, "The", "once"], 12)) for t in topics]
    file = tmp_path / "lines.txt"
    file.write_text("\n".join([*lines, "rare"]) + "\n")
    return f"lines:{file}"


def test_the_verb_writes_vectors_that_are_a_source(text, tmp_path, capsys):
    out = tmp_path / "deep" / "vectors.txt"
    args = ["vectors", "--corpus", text, "--out", str(out), "--width", "12", "--epochs", "12"]
    args += ["--block", "500", "--rate", "0.05", "--subsample", "0"]
    args += ["--stores", str(tmp_path / "stores")]
    assert main(args) == 0
    told = capsys.readouterr()
    assert told.out.startswith(f"{out}: 14 words from 3,001 of text; loss a word by epoch ")
    assert "14 words that occur 5 times or more" in told.err
    found = read_word2vec(out)
    assert set(found.words) == {*ANIMALS, *TOOLS, "the", "once"}
    source = hub.load(f"word2vec:{out}")
    assert bodies.build(dict(source.body)).family == "word_vectors"
    unit = found.table / np.linalg.norm(found.table, axis=1, keepdims=True)
    near = unit @ unit.T
    at = {word: i for i, word in enumerate(found.words)}
    own = np.mean([near[at[a], at[b]] for a in ANIMALS for b in ANIMALS if a != b])
    assert own > np.mean([near[at[a], at[b]] for a in ANIMALS for b in TOOLS]) + 0.2
    assert main([*args[:3], "--out", str(out), "--width", "0", "--rate", "3"]) == 2
    told = capsys.readouterr().err
    assert "width must be at least 1" in told
    assert "rate is in [0, 1), got 3.0" in told


def test_reading_the_corpus_tells_how_far_it_is(text, tmp_path):
    told = []
    train_vectors(
        text,
        tmp_path / "vectors.txt",
        VectorsConfig(width=2, epochs=1, stores=str(tmp_path)),
        documents=lambda *how_far: told.append(how_far),
    )
    assert told == [(n, all) for all in (251, 0) for n in range(1, 252)]


def test_explain_reads_no_numbers(tmp_path, capsys):
    file = tmp_path / "vectors.txt"
    file.write_text("the 1 2 3\ncat 1 2 3\ndog 1 2 x\n")
    for split in ("train", "test"):
        (tmp_path / f"{split}.tsv").write_text("text\tlabel\nthe cat\ta\nthe dog\tb\n")
    asked = ["--source", f"glove:{file}", "--data", str(tmp_path), "--validation", "0%"]
    assert main(["explain", *asked]) == 0
    told = capsys.readouterr().out
    assert "loaded       1       15  not read  body/embeddings" in told


@pytest.mark.parametrize("binary", [False, True])
def test_words_and_numbers_come_back_to_the_bit(tmp_path, binary):
    rng = np.random.default_rng(1)
    table = (rng.normal(size=(3, 7)) * 10.0 ** rng.integers(-30, 30, (3, 7))).astype(np.float32)
    words = ("naïve", "'s", "1.5")
    file = write_word2vec(tmp_path / "vectors", words, table, binary=binary)
    found = read_word2vec(file)
    assert found.words == words
    assert found.table.tobytes() == table.tobytes()
    assert found.format == ("word2vec binary" if binary else "word2vec text")
    spaced = ("new york", "b", "c")
    if binary:
        with pytest.raises(HubError, match=r"1 word.*'new york'"):
            write_word2vec(file, spaced, table, binary=True)
    else:
        assert read_word2vec(write_word2vec(file, spaced, table)).words == spaced
