"""Folders, GLUE layouts and TFDS: one name opens each, and label names go by what they say."""

import pickle
import sys

import numpy as np
import pytest

from tlearn.data import (
    DataError,
    TextCorpus,
    TextDataset,
    TextOptions,
    aligned,
    carve_validation,
    glue_name,
    open_corpus,
    open_dataset,
    open_texts,
    overlap,
    per_class,
    select_classes,
    text_splits,
    texts_of,
)
from tlearn.runs.fingerprint import fingerprint

# The header of every official file, with a row that has something in each column.
GLUE = {
    "SST-2": ("sentence\tlabel", "good\t1", ("good", None, "1")),
    "MRPC": (
        "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
        '1\t7\t8\tsaid "a\tsaid b',
        ('said "a', "said b", "1"),
    ),
    "QQP": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        "1\t2\t3\twhy\twhere\t0",
        ("why", "where", "0"),
    ),
    "MNLI": (
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t"
        "sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label",
        "0\t1\t2\tg\t(\t(\t(\t(\tone\ttwo\tneutral\tentailment",
        ("one", "two", "entailment"),
    ),
    "QNLI": (
        "index\tquestion\tsentence\tlabel",
        "0\twhat\tthat\tentailment",
        ("what", "that", "entailment"),
    ),
    "RTE": (
        "index\tsentence1\tsentence2\tlabel",
        "0\tone\ttwo\tnot_entailment",
        ("one", "two", "not_entailment"),
    ),
    "WNLI": ("index\tsentence1\tsentence2\tlabel", "0\tone\ttwo\t1", ("one", "two", "1")),
    "STS-B": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        "0\tg\tf\t2012\t1\tx\ty\tone\ttwo\t5.000",
        ("one", "two", 5.0),
    ),
    "CoLA": (None, "gj04\t1\t*\tThey sailed.", ("They sailed.", None, "1")),
    "stsbenchmark": (
        None,
        "g\tf\t2012\t1\t2.4\tone\ttwo\tx\ty\ng\tf\t2012\t2\t3\tthree\tfour",
        ("one", "two", pytest.approx(2.4)),
    ),
}


def row(dataset, index=0):
    example, names = dataset[index], dataset.label_names
    label = names[example["label"]] if names else float(example["label"])
    return example["text"], example.get("pair"), label


@pytest.mark.parametrize("name", GLUE)
def test_the_layouts_of_glue(tmp_path, name):
    header, line, expected = GLUE[name]
    folder = tmp_path / name
    folder.mkdir()
    text = "\n".join(filter(None, [header, line])) + "\n"
    (folder / "train.tsv").write_text(text, encoding="utf-8-sig")
    for spec in (f"glue:{folder}", str(folder)):
        assert row(open_texts(spec, "train")) == expected
    assert glue_name(str(folder))


def test_glue_says_what_it_cannot_do(tmp_path):
    folder = tmp_path / "CoLA"
    folder.mkdir()
    (folder / "train.tsv").write_text("a\t1\t\tGood.\nb\t0\t*\n")
    with pytest.raises(DataError, match=r"(?s)expected 4 fields.*line 2: 3 fields"):
        open_texts(f"glue:{folder}", "train")
    (folder / "test.tsv").write_text("index\tsentence\n0\tWho knows.\n")
    with pytest.raises(DataError, match="which column is the label"):
        open_texts(f"glue:{folder}", "test")
    other = tmp_path / "mine"
    other.mkdir()
    with pytest.raises(DataError, match=r"cannot tell which task of GLUE.*text:"):
        open_texts(f"glue:{other}", "train")


def test_broken_rows_of_qqp_are_left_out_and_told(tmp_path):
    folder = tmp_path / "QQP"
    folder.mkdir()
    header, line, _ = GLUE["QQP"]
    (folder / "train.tsv").write_text(f"{header}\n{line}\nbroken\n")
    found = open_texts(f"glue:{folder}", "train")
    assert (len(found), len(found.skipped)) == (1, 1)


@pytest.fixture
def folder(tmp_path):
    where = tmp_path / "topics"
    where.mkdir()
    (where / "train.tsv").write_text("text\tlabel\none\tb10\ntwo\tb9\nthree\tb9\n")
    (where / "my-dev.csv").write_text("text,label\nfour,a\n")
    (where / "test.jsonl").write_text('{"text": "five", "label": "b9"}\n')
    (where / "LICENSE.txt").write_text("free")
    return where


def test_splits_of_a_folder(folder):
    assert list(text_splits(f"text:{folder}")) == ["train", "dev", "test"]
    assert open_texts(folder, "train").label_names == ("b9", "b10")
    assert open_texts(folder, "train").name == "topics/train"
    assert [e["text"] for e in open_texts(folder, "train[1:]")] == ["two", "three"]
    # Put together, the label names of all parts count, in one order.
    every = open_texts(folder, "train+dev+test")
    assert every.label_names == ("a", "b9", "b10")
    assert [row(every, i)[2] for i in range(5)] == ["b10", "b9", "b9", "a", "b9"]
    with pytest.raises(DataError, match="did you mean 'dev'"):
        open_texts(folder, "dve")
    (folder / "train.jsonl").write_text("")
    with pytest.raises(DataError, match=r"train: train\.jsonl, train\.tsv"):
        text_splits(folder)


def test_names_that_open_nothing(tmp_path):
    with pytest.raises(DataError, match=r"did you mean 'jsonl'"):
        open_texts("jsnl:here")
    with pytest.raises(DataError, match=r"is no dataset and no path\. Expected one of"):
        open_texts(tmp_path / "none")
    (tmp_path / "train.tsv").write_text("text\tlabel\n")
    with pytest.raises(DataError) as error:
        open_texts(tmp_path / "trian.tsv")
    wanted = f"no path: did you mean '{tmp_path / 'train.tsv'}'? Expected one of"
    assert wanted in str(error.value)
    (tmp_path / "train.tsv").unlink()
    with pytest.raises(DataError, match=r"no path: did you mean 'tfds:\.\.\.'\? Expected one of"):
        open_texts("tdfs")
    with pytest.raises(DataError, match="holds no files called train"):
        open_texts(f"text:{tmp_path}")
    with pytest.raises(DataError, match="names no place"):
        open_texts("tsv:")
    (tmp_path / "a.bin").write_bytes(b"")
    with pytest.raises(DataError, match="cannot tell what this file is"):
        open_texts(tmp_path / "a.bin")


def test_views_serve_texts_as_they_serve_pictures():
    texts = [f"text {i}" for i in range(40)]
    data = TextDataset(texts, [i % 4 for i in range(40)], "abcd", pairs=texts[::-1], name="t")
    few = per_class(data, 3, seed=0)
    assert np.bincount(few.labels).tolist() == [3, 3, 3, 3]
    chosen = select_classes(data, ("d", "a"))
    assert row(chosen) == ("text 0", "text 39", "a")
    assert chosen.label_names == ("d", "a")
    train, held = carve_validation(data, fraction=0.2, seed=0)
    assert np.bincount(held.labels).tolist() == [2, 2, 2, 2]
    assert not len(overlap(train, held))
    assert sorted(texts_of(train)[0] + texts_of(held)[0]) == sorted(texts)
    same = aligned(data, ("d", "c", "b", "a"))
    assert [row(same, i) for i in range(4)] == [row(data, i) for i in range(4)]
    assert same.digest != data.digest
    assert pickle.loads(pickle.dumps(train)).digest == train.digest
    # A pair is another text than its halves joined.
    one = TextDataset(["ab"], [0], ("x",), pairs=["c"])
    assert one.fingerprint(0) != TextDataset(["a"], [0], ("x",), pairs=["bc"]).fingerprint(0)
    assert str(overlap(data, data.subset([0, 1]))).count("texts") == 1


def test_numbers_have_no_classes():
    data = TextDataset(["a", "b", "c", "d"], [0.5, 1.0, 2.0, 4.25])
    assert data[3]["label"].dtype == np.float32
    assert data.digest != TextDataset(data.texts, [0.5, 1.0, 2.0, 4.5]).digest
    assert "numbers from 0.5 to 4.25" in data.describe()
    _, held = carve_validation(data, count=2, seed=0)
    assert len(held) == 2
    with pytest.raises(DataError, match="numbers as labels"):
        per_class(data, 1, seed=0)
    with pytest.raises(DataError, match=r"no finite numbers, at \[1\]"):
        TextDataset(["a", "b"], [0.0, np.inf])
    with pytest.raises(DataError, match="2 texts but 1 second texts"):
        TextDataset(["a", "b"], [0, 0], ("x",), pairs=["c"])


tfds = pytest.importorskip("tensorflow_datasets")
pytest.importorskip("array_record")


def prepare(data_dir, name, features, train, test):
    """Writes a dataset of texts in the array_record format."""

    def info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    body = {
        "VERSION": tfds.core.Version("1.0.0"),
        "name": name,
        "_info": info,
        "_split_generators": lambda self, _: {
            "train": iter(enumerate(train)),
            "test": iter(enumerate(test)),
        },
        "_generate_examples": lambda self: iter(()),
    }
    kind = type(name.title(), (tfds.core.GeneratorBasedBuilder,), {**body, "__module__": __name__})
    kind(data_dir=data_dir, file_format="array_record").download_and_prepare()


def test_tfds_by_the_names_of_its_features(tmp_path):
    label = tfds.features.ClassLabel(names=["neg", "pos"])
    features = {"text": tfds.features.Text(), "label": label}
    train = [{"text": f"größer {i}", "label": i % 2} for i in range(5)]
    prepare(tmp_path, "reviews", features, train, [{"text": "?", "label": -1}])
    options = TextOptions(data_dir=str(tmp_path))
    found = open_texts("tfds:reviews", "train", options)
    assert {row(found, i)[::2] for i in range(5)} == {
        (f"größer {i}", ("neg", "pos")[i % 2]) for i in range(5)
    }
    assert found.digest == open_texts(tmp_path / "reviews", "train").digest
    assert "tensorflow" not in sys.modules
    with pytest.raises(DataError, match=r"1 of 1 examples have no label \(-1\)"):
        open_texts("tfds:reviews", "test", options)
    with pytest.raises(DataError, match=r"did you mean 'text'"):
        open_texts("tfds:reviews", "train", TextOptions(data_dir=str(tmp_path), text_column="txt"))
    # The well-known names need no prefix; they are not prepared here.
    for name in ("glue/sst2", "imdb_reviews"):
        with pytest.raises(DataError, match="is not prepared"):
            open_texts(name, "train", options)


def test_tfds_pairs_with_a_score(tmp_path):
    features = {
        "sentence1": tfds.features.Text(),
        "sentence2": tfds.features.Text(),
        "label": np.float32,
        "idx": np.int32,
    }
    rows = [
        {"sentence1": "a", "sentence2": "b", "label": 3.8, "idx": 0},
        {"sentence1": "c", "sentence2": "d", "label": 2.0, "idx": 1},
    ]
    prepare(tmp_path, "scores", features, rows, rows)
    found = open_texts("tfds:scores", "test", TextOptions(data_dir=str(tmp_path)))
    assert found.label_names == ()
    assert sorted(row(found, i) for i in range(2)) == [
        ("a", "b", pytest.approx(3.8)),
        ("c", "d", 2.0),
    ]


@pytest.mark.parametrize("name", ["nothing:" + "x" * 5000, "nothing:\0", "nothing:~nobody/x"])
def test_a_name_that_no_file_can_have_is_that_of_no_file(name):
    for opened in (open_texts, open_dataset, open_corpus):
        with pytest.raises(DataError, match="no such kind"):
            opened(name)
    assert len(fingerprint(name)) == 64


def test_a_task_of_many_modules_is_opened_by_its_long_name():
    modules = "collections json email logging http urllib xml asyncio unittest".split()
    name = "embedded:" + ",".join(f"stdlib.{module}" for module in [*modules, *["nothing"] * 30])
    with pytest.raises(DataError, match="is named twice"):
        open_texts(name, "train")


def test_tfds_and_embedded_as_corpora_are_the_texts_they_are_as_datasets(tmp_path):
    features = {"sentence1": tfds.features.Text(), "sentence2": tfds.features.Text()}
    features["label"] = tfds.features.ClassLabel(names=["no", "yes"])
    rows = [{"sentence1": f"a {i}", "sentence2": f"ß {i}", "label": i % 2} for i in range(9)]
    prepare(tmp_path, "in_turn", features, rows, [{**rows[0], "label": -1}])
    where = f"tfds:{tmp_path}/in_turn"
    for spec, split in ((where, "train"), (where, "train[30%:]"), ("embedded:json,email", "test")):
        corpus, held = open_corpus(f"dataset:{spec}@{split}"), TextCorpus(open_texts(spec, split))
        assert len(list(corpus)) > 5
        assert (list(corpus), corpus.digest) == (list(held), held.digest)
    with pytest.raises(DataError, match=r"1 of 1 examples have no label \(-1\)"):
        open_corpus(f"dataset:{where}@test")
