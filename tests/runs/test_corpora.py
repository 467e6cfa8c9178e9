"""Runs on corpora: what they refuse, other vocabularies, texts read backward, held-out texts."""

import dataclasses
import json
import random

import numpy as np
import pytest

from tlearn.data import DataError, TextOptions, Tokenizer
from tlearn.data.corpus_opening import open_corpus
from tlearn.data.tokenizer_training import save_tokenizer, train_tokenizer
from tlearn.hub import load
from tlearn.runs.build import build
from tlearn.runs.config import BodyConfig, DataConfig, HeadConfig, RunConfig, replace
from tlearn.runs.objective_config import ObjectiveConfig
from tlearn.runs.reading import Selection
from tlearn.runs.training import start
from tlearn.runs.use import score

WORDS = "one two three four five six seven eight nine ten".split()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    rng = random.Random(0)
    texts = ["\n".join(" ".join(rng.choices(WORDS, k=9)) for _ in range(3)) for _ in range(20)]
    (folder / "corpus.txt").write_text("\n\n".join(texts))
    found = open_corpus(f"blank:{folder}/corpus.txt")
    save_tokenizer(train_tokenizer(found, "word", 14), folder / "words")
    save_tokenizer(train_tokenizer(found, "word", 9), folder / "few")
    table = ["text\tlabel", *(f"{' '.join(rng.choices(WORDS, k=4))}\t{i % 2}" for i in range(30))]
    (folder / "table.tsv").write_text("\n".join(table) + "\n")
    return folder


def config(place, **changes):
    asked = ObjectiveConfig(objective="next_tokens", row_length=8, stores=str(place / "stores"))
    base = RunConfig(data=DataConfig(data=f"blank:{place}/corpus.txt"), objective=asked)
    return replace(
        base,
        **{
            "body": "awd-lstm",
            "settings": ("width=6", "hidden=6", "depth=1", "dropout_scale=0.0"),
            "tokenizer": str(place / "words"),
            "optimizer": "adamw",
            "rate": 1e-2,
            "batch_size": 4,
            "length": "4st",
            **changes,
        },
    )


def said(text):
    pass


@pytest.fixture(scope="module")
def trained(place):
    return start(config(place), place / "forward", say=said, quiet=True).folder


def test_what_cannot_be_learned_is_refused_before_a_corpus_is_read(place):
    nowhere = {"data": f"blank:{place}/absent.txt"}
    wrong = {
        "rows=packed: such rows are read forward": {"rows": "packed", "direction": "backward"},
        "next_tokens needs a body": {"body": "bert-tiny", "settings": ()},
        "needs a body that sees both sides": {"objective": "masked_tokens"},
        "reads tokens, segments": {"objective": "span_corruption"},
        "carries no state": {
            "body": "gpt2",
            "settings": ("width=8", "depth=1", "heads=2", "feed_forward=8", "positions=16"),
            "rows": "streams",
        },
        "beyond the 4 positions": {
            "body": "gpt2",
            "settings": ("width=8", "depth=1", "heads=2", "feed_forward=8", "positions=4"),
        },
    }
    for message, changes in wrong.items():
        with pytest.raises(ValueError, match=message):
            build(replace(config(place), **nowhere, **changes))


def test_a_head_that_is_not_there_is_refused_before_a_corpus_is_read(place, trained, monkeypatch):
    source = load(f"run:{trained}")
    body = {path: value for path, value in source.params.items() if path.startswith("body/")}
    headless = dataclasses.replace(source, head=None, params=body)
    monkeypatch.setattr("tlearn.runs.build.load_source", lambda *args, **kinds: headless)
    asked = replace(
        config(place, body=RunConfig(data=DataConfig(data="x")).body, tokenizer=""),
        data=f"blank:{place}/absent.txt",
        source=f"run:{trained}",
        head=HeadConfig(head_weights="source"),
    )
    with pytest.raises(ValueError, match="carries none: say --head-weights fresh"):
        build(asked)


def test_options_of_corpora_are_refused_with_labels_and_others_with_their_objectives():
    def refused(message, **asked):
        with pytest.raises(ValueError, match=message):
            RunConfig(data=DataConfig(data="x"), objective=ObjectiveConfig(**asked))

    refused("objective is labels", replay="text:a")
    refused("for labels or next_tokens", objective="masked_tokens", direction="backward")
    wrong = {"objective": "masked_tokens", "mask_rate": 1.5, "row_length": 1}
    refused("row_length is 1", **wrong)
    refused("mask_rate is 1.5", **wrong)


def test_another_vocabulary_keeps_the_rows_of_tokens_that_both_have(place, trained):
    asked = replace(
        config(place),
        source=f"run:{trained}",
        body=BodyConfig(tokenizer=str(place / "few")),
        head=HeadConfig(head_weights="source"),
        vocabulary="remap",
    )
    built = build(asked)
    state = built.start()
    source = load(f"run:{trained}")
    old = Tokenizer.from_files(source.files).vocabulary
    new = built.task.tokenizer.vocabulary
    table = np.asarray(source.params["body/embeddings/tokens/embedding"])
    ours = np.asarray(state.params["body/embeddings/tokens/embedding"])
    bias, our_bias = np.asarray(source.params["head/bias"]), np.asarray(state.params["head/bias"])
    assert len(ours) == len(new) < len(old)
    for token, number in new.items():
        assert token in old
        np.testing.assert_array_equal(ours[number], table[old[token]])
        assert our_bias[number] == bias[old[token]]
    with pytest.raises(ValueError, match="other than what"):
        build(replace(asked, tokenizer=str(place / "words")))


@pytest.fixture(scope="module")
def backward_run(place):
    asked = config(place, direction="backward")
    return start(asked, place / "backward", say=said, quiet=True).folder


def test_a_backward_body_reads_labelled_texts_backward_too(place, trained, backward_run):
    asked = replace(
        RunConfig(data=DataConfig(data=f"tsv:{place}/table.tsv")),
        source=f"run:{backward_run}",
        validation="0%",
        length="1st",
        batch_size=4,
    )
    backward = build(asked).task.train
    forward = build(replace(asked, source=f"run:{trained}")).task.train
    for i in range(len(forward)):
        np.testing.assert_array_equal(backward[i]["tokens"], forward[i]["tokens"][::-1])
    assert backward.digest != forward.digest
    with pytest.raises(ValueError, match="trained on texts read forward"):
        build(
            replace(
                config(place, direction="backward", tokenizer=""),
                source=f"run:{trained}",
                body=BodyConfig(),
            )
        )


def test_a_backward_run_is_judged_afterwards_as_at_its_end(place, backward_run):
    rng = random.Random(1)
    data = place / "reviews"
    data.mkdir()
    for part in ("train", "test"):
        rows = [f"{' '.join(rng.sample(WORDS, 5))}\t{i % 2}" for i in range(20)]
        (data / f"{part}.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    asked = replace(
        RunConfig(data=DataConfig(data=f"text:{data}", test_split="test")),
        source=f"run:{backward_run}",
        optimizer="adamw",
        length="20st",
        batch_size=4,
        rate=3e-2,
    )
    result = start(asked, place / "tuned_backward", say=said, quiet=True)
    found = score(str(result.folder), Selection(f"text:{data}", "test"))
    assert found.metrics["loss"] == pytest.approx(result.test.metrics["loss"], rel=1e-5)
    assert found.metrics["accuracy"] == result.test.metrics["accuracy"]


def test_a_run_is_scored_in_its_own_rows_as_it_judged_itself(place, tmp_path):
    corpus = f"blank:{place}/corpus.txt"
    folder = start(config(place, validation=corpus), tmp_path / "run", say=said, quiet=True).folder
    judged = json.loads((folder / "report" / "results.json").read_text())["validation"]
    found = score(str(folder), Selection(corpus))
    assert found.metrics["loss"] == judged["loss"]


def test_a_run_is_scored_on_another_corpus(place, trained):
    found = score(str(trained), Selection(f"blank:{place}/corpus.txt"))
    assert found.metrics["perplexity"] == pytest.approx(np.exp(found.metrics["loss"]), rel=1e-5)
    again = score(str(trained), Selection(f"blank:{place}/corpus.txt"), batch_size=3)
    # Other streams, other beginnings without a state: nearly the same.
    assert again.metrics["loss"] == pytest.approx(found.metrics["loss"], rel=0.02)


def test_bytes_that_are_no_text_are_replaced_where_that_is_asked_for(place, tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"one two\nthree f\xfcnf\nfour\n")
    asked = config(place, data=f"lines:{tmp_path}/bad.txt", validation="0%")
    with pytest.raises(DataError, match=r"errors='replace' \(--errors replace\):\n  line 2: byte"):
        build(asked)
    assert len(build(replace(asked, errors="replace")).task.train) == 3
    with pytest.raises(ValueError, match="errors says how a corpus is read"):
        RunConfig(data=DataConfig(data="x", errors="replace"))


def test_building_a_store_tells_how_far_it_is_and_reopening_one_says_nothing(place, tmp_path):
    asked = config(place, stores=str(tmp_path), test_split=f"lines:{place}/corpus.txt")
    told = []
    build(asked, progress=lambda *how_far: told.append(how_far))
    assert told == [(n, 0) for n in range(1, 21)] + [(n, 0) for n in range(1, 61)]
    told.clear()
    build(asked, progress=lambda *how_far: told.append(how_far))
    assert not told


def test_the_split_and_column_that_are_asked_for_are_read(place, trained, tmp_path):
    rng = random.Random(1)
    for name, count in (("train", 30), ("test", 7)):
        rows = [f"{' '.join(rng.choices(WORDS, k=6))}\tone two\t0" for _ in range(count)]
        (tmp_path / f"{name}.tsv").write_text("\n".join(["text\tother\tlabel", *rows]) + "\n")
    data = f"dataset:text:{tmp_path}"
    seen = {
        split: score(str(trained), Selection(data, split=split)) for split in ("", "train", "test")
    }
    assert seen[""].metrics == seen["train"].metrics
    assert seen["test"].count < seen["train"].count
    assert score(str(trained), Selection(f"{data}@test")).metrics == seen["test"].metrics
    other = Selection(data, split="test", columns=TextOptions(text_column="other"))
    assert score(str(trained), other).count < seen["test"].count
    with pytest.raises(DataError, match="'tset': did you mean 'test'"):
        score(str(trained), Selection(data, split="tset"))
    with pytest.raises(DataError, match="has no splits"):
        score(str(trained), Selection(f"blank:{place}/corpus.txt", split="test"))
    asked = config(place, validation=f"{data}@train", test_split=f"{data}@test")
    task = build(asked).task
    assert (len(task.validation), len(task.test)) == (30, 7)
    task = build(config(place, data=data, train_split="test", validation="0%")).task
    assert len(task.train) == 7


def test_what_is_remembered_of_a_source_is_what_its_run_was_judged_on(place, trained, tmp_path):
    (tmp_path / "domain.txt").write_text("\n\n".join(["ten nine eight seven six five four"] * 9))
    asked = replace(
        config(place),
        data=DataConfig(data=f"blank:{tmp_path}/domain.txt"),
        source=f"run:{trained}",
        body=RunConfig(data=DataConfig(data="")).body,
        head=HeadConfig(head_weights="source"),
        remember="source",
    )
    adapted = start(asked, tmp_path / "adapted", say=said, quiet=True).folder
    before = json.loads((trained / "report" / "results.json").read_text())["validation"]
    results = json.loads((adapted / "report" / "results.json").read_text())["remember"]
    assert results["before"]["loss"] == before["loss"]
    assert results["after"]["loss"] != before["loss"]
    few = replace(asked, tokenizer=str(place / "few"), vocabulary="remap")
    texts = {name: build(one).task.remember.ids for name, one in (("own", asked), ("few", few))}
    assert list(texts["own"]) == list(texts["few"]) != []


def test_what_a_source_was_judged_on_must_be_there(place, trained, tmp_path):
    asked = replace(config(place), remember="source")
    with pytest.raises(ValueError, match="no source is no run on a corpus: name a corpus"):
        build(asked)
    unjudged = start(config(place, validation="0%"), tmp_path / "run", say=said, quiet=True).folder
    without = replace(asked, source=f"run:{unjudged}", tokenizer="")
    with pytest.raises(ValueError, match="had no validation part; name a corpus"):
        build(without)


def test_the_share_that_is_told_is_the_share_that_is_replayed(place, tmp_path):
    (tmp_path / "little.txt").write_text("one two three four five\n")
    little = replace(config(place), replay=f"blank:{tmp_path}/little.txt", replay_share=0.6)
    task = build(little).task
    own = len(build(config(place)).task.train.tokens)
    share = 1 - own / len(task.train.tokens)
    told = next(line for line in task.told if line.startswith("replayed"))
    assert f"{share:.1%} of the tokens" in told
    assert "60% was asked for" in told
    enough = replace(config(place), replay=f"blank:{place}/corpus.txt", replay_share=0.3)
    told = next(line for line in build(enough).task.told if line.startswith("replayed"))
    assert "asked for" not in told


def test_held_out_texts_are_in_no_corpus(place):
    text = (place / "corpus.txt").read_text().split("\n\n")
    rows = ["text\tlabel", *(f"{line}\t0" for line in text[3].split("\n")), "other words here\t1"]
    folder = place / "labelled"
    folder.mkdir()
    (folder / "test.tsv").write_text("\n".join(rows) + "\n")
    (folder / "train.tsv").write_text("\n".join(rows) + "\n")
    free = build(config(place)).task
    held = build(config(place, held_out=(f"text:{folder}@test",))).task
    assert len(free.train) + len(free.validation) == 20
    assert len(held.train) + len(held.validation) == 19
    told = f"held out: 1 documents or docstrings of {held.train.name.split(' (')[0]} left out for 4"
    assert told in str(held)
    # Also where the store is there already; and of every corpus that is read with it.
    asked = config(place, held_out=(f"text:{folder}@test",), replay=f"lines:{place}/corpus.txt")
    again = build(asked).task
    assert "token store" not in str(again)
    assert told in str(again)
    assert sum(line.startswith("held out: ") for line in again.told) == 2
    assert "held out" not in str(free)
    with pytest.raises(DataError, match="name a dataset and its split"):
        build(config(place, held_out=(f"text:{folder}",)))
