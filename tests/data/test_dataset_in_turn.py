"""A corpus of a labelled dataset holds none of its texts, and has the texts it had when it did.

The digests in `GOLDEN` are those of the reader that held all texts; beside them every corpus is
compared with one of the same dataset in memory. Breaks tried: rows listed before they are read in
turn; a stretch one text short; ids by place instead of line; a corpus not read when it is opened;
pairs joined to single texts.
"""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tlearn.data import DataError, open_corpus, open_texts
from tlearn.data.corpus import TextCorpus

GOLDEN = {
    "tsv:a.tsv": "92087178b0838f87",
    "csv:a.csv": "d0f1a30ebf36474f",
    "jsonl:a.jsonl": "c36d2133ab375e2f",
    "a.jsonl.gz": "64a99bc5ba317459",
    "a.json": "d2c5f7506dcef450",
    "tsv:a.tsv@all[:50%]": "72ac2b86bd1826b1",
    "jsonl:a.jsonl@all[-3:]+all[2:4]": "48884ca6f6e389c3",
    "text:plain@train": "b54f6a4c4b1498d0",
    "text:plain@dev": "c9a9452796540ff7",
    "text:plain@all": "fc0856168c55aee2",
    "text:plain@train[20%:]+test": "54c47b6cbcde444f",
    "text:plain@validation": "c9a9452796540ff7",
    "glue:CoLA@train": "ab12bce97aa352b1",
    "glue:CoLA@all": "d530be9ed996f63f",
    "glue:QQP@train": "7fe68a0edc789f9d",
    "glue:QQP@all": "bf1775f463de8b8f",
    "glue:STS-B@train": "0a21e993fc8a0f5b",
    "glue:STS-B@all": "b4e12186b2afd79b",
    "glue:STS-B@train[:3]+dev": "9e21cfbc7308f9ff",
    "CoLA": "ab12bce97aa352b1",
}


def write(folder: Path) -> None:
    """A file or folder of every kind that is read in turn, and of one that is not."""
    rows = [(f'text {i} größer "so", it\'s', ("neg", "pos", "10", "9")[i % 4]) for i in range(11)]
    pairs = [(f"first {i}", f"second {i}", str(i / 2)) for i in range(7)]
    objects = [{"label": label, "text": text, "n": [1]} for text, label in rows]
    lines = "".join(json.dumps(entry) + "\n" for entry in objects)
    plain = "".join(f"{text}\t{label}\n\n" for text, label in rows)
    quoted = "".join(f'{label},"{text.replace(chr(34), chr(34) * 2)}\n2"\n' for text, label in rows)
    (folder / "a.tsv").write_text(f"\ufefftext\tlabel\r\n{plain}")
    (folder / "a.csv").write_text(f"label,text\n{quoted}")
    (folder / "a.jsonl").write_text(lines)
    (folder / "a.json").write_text(json.dumps(objects))
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    for name in ("plain", "CoLA", "QQP", "STS-B"):
        (folder / name).mkdir()
    for split, step in (("train", 1), ("dev", 3), ("test", 5)):
        some, two = rows[::step], pairs[::step]
        file = f"{split}.tsv"
        (folder / "plain" / file).write_text(
            "label\ttext\n" + "".join(f"{label}\t{text}\n" for text, label in some)
        )
        (folder / "CoLA" / file).write_text(
            "".join(f"x\t{i % 2}\t\t{text}\n" for i, (text, _) in enumerate(some))
        )
        (folder / "QQP" / file).write_text(
            "question1\tquestion2\tis_duplicate\n"
            + "".join(f"{one}\t{two}\t{i % 2}\n" for i, (one, two, _) in enumerate(two))
            + "broken\n"
        )
        (folder / "STS-B" / file).write_text(
            "".join(f"a\tb\tc\td\t{score}\t{one}\t{two}\n" for one, two, score in two)
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets")
    write(folder)
    return folder


@pytest.fixture(autouse=True)
def _inside(place, monkeypatch):
    monkeypatch.chdir(place)


@pytest.mark.parametrize("spec", GOLDEN)
def test_a_dataset_is_the_corpus_it_was(spec):
    corpus = open_corpus(f"dataset:{spec}")
    assert corpus.digest[:16] == GOLDEN[spec]
    name, _, split = spec.partition("@")
    held = TextCorpus(open_texts(name, split or ("train" if name == "CoLA" else None)))
    assert (corpus.name, list(corpus), corpus.digest) == (held.name, list(held), held.digest)


def test_all_that_is_wrong_is_told_when_it_is_opened(tmp_path):
    lines = ["text\tlabel", "one\tyes", "\tno", "three\t", "four\tno"]
    (tmp_path / "a.tsv").write_text("\n".join(lines))
    # Also what lies outside of the part that is asked for.
    for part in ("", "@all[:1]"):
        with pytest.raises(DataError, match=r"line 3: the text is empty\n *line 4: no label"):
            open_corpus(f"dataset:{tmp_path}/a.tsv{part}")
    (tmp_path / "train.tsv").write_text("text\tlabel\none\tyes\n")
    (tmp_path / "test.tsv").write_text("text1\ttext2\tlabel\none\ttwo\tyes\n")
    with pytest.raises(DataError, match=r"pairs and single texts are mixed:\n.*train: single"):
        open_corpus(f"dataset:text:{tmp_path}@all")
    # What labels mean is another matter: numbers in one file, names in the other.
    (tmp_path / "test.tsv").write_text("text\tlabel\ntwo\t0.5\n")
    corpus = open_corpus(f"dataset:text:{tmp_path}@all")
    assert [document.text for document in corpus] == ["one", "two"]


MEASURED = """
import sys, tracemalloc
from tlearn.data import build_store, open_corpus, train_tokenizer

folder, *specs = sys.argv[1:]
few = open_corpus(f"lines:{folder}/few.txt")
tokenizer = train_tokenizer(few, "word", 60)
build_store(few, tokenizer, folder)
tracemalloc.start()

def told():
    print(tracemalloc.get_traced_memory()[1])
    tracemalloc.reset_peak()

for spec in specs:
    corpus = open_corpus(spec)
    assert sum(len(document.text) for document in corpus) > 2.7e6
    told()
build_store(corpus, tokenizer, folder)
told()
"""


def test_memory_does_not_grow_with_the_texts(tmp_path):
    (tmp_path / "few.txt").write_text("a few words\n" * 50)
    forms = {"tsv": "\t", "csv": ",", "jsonl": "", "jsonl.gz": ""}
    for form, between in forms.items():
        rows = [{"text": f"{'x' * 1000} {i}", "label": f"{i % 2}"} for i in range(3_000)]
        if between:
            lines = ["text", "label"], *(row.values() for row in rows)
            lines = map(between.join, lines)
        else:
            lines = map(json.dumps, rows)
        with (gzip.open if form.endswith(".gz") else open)(tmp_path / f"a.{form}", "wt") as file:
            file.writelines(f"{line}\n" for line in lines)
    specs = [f"dataset:{tmp_path}/a.{form}@all[:95%]" for form in forms]
    run = [sys.executable, "-c", MEASURED, str(tmp_path), *specs]
    done = subprocess.run(run, check=False, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    *reading, building = map(int, done.stdout.split())
    # Texts of three million letters.
    assert max(reading) < 5e5, reading
    # A batch of sentences with its tokens lies beside them.
    assert building < 2e6
