"""Tasks of texts: parts, labels, lengths and tokenizers fit, or the reasons are told at once."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from tests import word_texts
from tlearn.bodies.facts import TextFacts
from tlearn.data import DataError, TextDataset, TextOptions, texts_of
from tlearn.objectives import Classification, Regression
from tlearn.tasks import Task, TaskBatches, text_classification

FACTS = TextFacts(
    vocab_size=len(word_texts.PIECES),
    max_length=48,
    pad=0,
    special=(("cls", 2), ("sep", 3)),
    pair_types=True,
)


@pytest.fixture
def folder(tmp_path):
    where = tmp_path / "animals"
    where.mkdir()
    word_texts.write_tsv(where / "train.tsv", word_texts.dataset(120, seed=0))
    word_texts.write_tsv(where / "dev.tsv", word_texts.dataset(30, seed=1))
    word_texts.write_tsv(where / "test.tsv", word_texts.dataset(40, seed=2))
    return where


def task(where, **options):
    given = {"tokenizer": word_texts.tokenizer(), "facts": FACTS, **options}
    return text_classification(str(where), **given)


def test_a_task_is_what_a_run_asks_for(folder):
    found = task(folder, test_split="dev")
    assert isinstance(found, Task)
    assert isinstance(found.train_batches(8, 0), TaskBatches)
    assert found.label_names == ("no", "yes")
    assert (found.outputs, len(found.train), len(found.validation)) == (2, 108, 12)
    assert set(found.digests) == {"train", "validation", "test"}
    assert found.files == word_texts.FILES
    batch = found.train_batches(8, 0).at(0)
    for name, one in found.example.items():
        assert batch[name].ndim == one.ndim
        assert batch[name].dtype == one.dtype
    sums = found.objective(
        jnp.zeros((8, 2)), {name: jnp.asarray(value) for name, value in batch.items()}
    )
    assert float(sums.loss / sums.count) == pytest.approx(np.log(2))
    text = str(found)
    for part in ("2 classes: no, yes", "train: 108 texts", "none cut", "widths of batches"):
        assert part in text


def test_the_same_config_gives_the_same_task(folder):
    one, other = (task(folder, test_split="test", seed=1) for _ in range(2))
    assert one.digests == other.digests
    assert task(folder, seed=2).digests["validation"] != one.digests["validation"]
    # Carved alike for every tokenizer and length: only then are runs compared on the same texts.
    cut = task(folder, seed=1, max_length=8)
    assert texts_of(cut.validation.texts) == texts_of(one.validation.texts)
    assert cut.digests["train"] != one.digests["train"]


def test_evaluation_keeps_the_widths_of_training(folder):
    found = task(folder, test_split="test", buckets=(8, 32))
    assert found.train_batches(8, 0).buckets == (8, 32)
    assert found.eval_batches(found.test, 16).buckets == (8, 32)
    short = task(folder, train_split="train[:4]", validation="dev", max_length=48)
    widths = short.eval_batches(short.validation, 8).buckets
    assert widths[:-1] == short.buckets or widths == short.buckets
    with pytest.raises(DataError, match="holds no tokens"):
        found.eval_batches(word_texts.dataset(3), 8)


def test_labels_go_by_name_and_unseen_ones_are_refused(folder):
    lines = ["text\tlabel", "a cat here now\tyes", "a dog\tno"]
    (folder / "dev.tsv").write_text("\n".join(lines[:2]) + "\n")
    assert task(folder, validation="dev").validation.labels.tolist() == [1]
    (folder / "dev.tsv").write_text("\n".join([*lines, "what\tperhaps"]) + "\n")
    with pytest.raises(DataError, match=r"labels unseen in training.*\n.*'perhaps'"):
        task(folder, validation="dev")
    kept = task(folder, validation="dev", classes=("yes", "no"))
    assert kept.label_names == ("yes", "no")
    assert kept.validation.labels.tolist() == [0, 1]
    few = task(folder, examples_per_class=5)
    assert np.bincount(few.train.labels).tolist() == [5, 5]


def test_train_and_test_may_not_share_texts(folder):
    with pytest.raises(DataError, match=r"40 of the 40 texts to be reported.*are also trained on"):
        task(folder, train_split="train+test", test_split="test", validation="0%")
    # One text of sixty, in capitals, is found and told.
    known, fresh = word_texts.dataset(120, seed=0), word_texts.dataset(60, seed=5, longest=40)
    texts = [known.texts[0].upper(), *fresh.texts[1:]]
    test = TextDataset(texts, [known.labels[0], *fresh.labels[1:]], ("no", "yes"))
    word_texts.write_tsv(folder / "test.tsv", test)
    found = task(folder, test_split="test", validation="0%")
    assert found.shared == 1
    assert "1 texts of the test part are in the training part too" in str(found)


def test_numbers(tmp_path):
    where = tmp_path / "stsb"
    where.mkdir()
    word_texts.write_tsv(where / "train.tsv", word_texts.numbers(60))
    word_texts.write_tsv(where / "dev.tsv", word_texts.numbers(20, seed=1))
    found = task(where, test_split="dev")
    assert (found.label_names, found.outputs) == ((), 1)
    assert isinstance(found.goal, Regression)
    assert found.figures == ("pearson", "spearman")
    labels = found.test.labels
    assert found.metrics(labels[:, None], labels) == pytest.approx({"pearson": 1, "spearman": 1})
    assert found.train_batches(8, 0).at(0)["label"].dtype == np.float32
    assert isinstance(task(where, options=TextOptions(labels="class")).goal, Classification)
    with pytest.raises(DataError, match="numbers are not smoothed"):
        task(where, smoothing=0.1)


def test_glue_tasks_report_what_glue_reports(tmp_path):
    where = tmp_path / "MRPC"
    where.mkdir()
    pairs = word_texts.dataset(60, pairs=True)
    named = TextDataset(pairs.texts, pairs.labels, ("0", "1"), pairs=pairs.pairs)
    word_texts.write_tsv(where / "train.tsv", named)
    found = task(where)
    assert found.figures == ("f1:1",)
    outputs = np.eye(2)[found.train.labels]
    assert found.metrics(outputs, found.train.labels) == {"f1": 1.0}
    assert task(where, metrics=("matthews",)).figures == ("matthews",)
    first = found.train.tokens
    assert first.types.any()
    plain = task(where, facts=dataclasses.replace(FACTS, pair_types=False))
    assert not plain.train.tokens.types.any()


@pytest.mark.parametrize(
    ("facts", "options", "message"),
    [
        ({"vocab_size": 20, "special": ()}, {}, "numbers its tokens up to 26.*rows for 20"),
        ({"special": (("cls", 4),)}, {}, "the cls token is 2 to the tokenizer and 4 to the body"),
        ({"pad": 1}, {}, "the pad token is 0 to the tokenizer and 1 to the body"),
        ({}, {"max_length": 49}, "max_length 49 is beyond the 48 positions"),
        ({"max_length": 12}, {}, r"(?s)longer than the 12 positions.*max_length=12.*train: \d+ of"),
        ({}, {"max_length": 2}, "max_length 2 leaves no room"),
        ({}, {"buckets": (8, 9)}, "more tokens than the widest bucket, 9"),
        ({}, {"validation": "ten%"}, "expected a share such as 10%"),
        ({}, {"classes": ("yes",)}, "leaves nothing to tell apart"),
        ({}, {"metrics": ("pearson",)}, "'pearson' is no metric of classes"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_compiles(folder, facts, options, message):
    with pytest.raises(DataError, match=message):
        task(folder, facts=dataclasses.replace(FACTS, **facts), **options)


def test_cutting_is_told(folder):
    found = task(folder, facts=dataclasses.replace(FACTS, max_length=12), max_length=12)
    cut = int(found.train.tokens.cut.sum())
    assert cut > 0
    assert f"{cut} cut (" in str(found)
    assert found.train.tokens.lengths.max() == 12
    # A body without a table of positions takes every length.
    assert task(folder, facts=dataclasses.replace(FACTS, max_length=None)).max_length is None
