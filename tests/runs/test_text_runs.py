"""Runs on texts, from a checkpoint's folder to predictions: every strategy, and what travels."""

import shutil

import numpy as np
import pytest
import small_texts
from small_texts import finetune

from tlearn import hub
from tlearn.cli.main import main
from tlearn.runs.build import build
from tlearn.runs.config import BodyConfig, DataConfig, RunConfig, TrainConfig, replace
from tlearn.runs.reading import Selection
from tlearn.runs.training import resume, start
from tlearn.runs.use import extract, predict, score


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("texts")
    return small_texts.bert_folder(root / "bert"), small_texts.reviews(root / "reviews")


@pytest.fixture(scope="module")
def trained(place, tmp_path_factory):
    return finetune(*place, tmp_path_factory.mktemp("texts") / "run", length="150st", rate=1e-2)


def weights(result):
    return hub.load(f"run:{result.folder}").params


def test_a_body_learns_to_tell_reviews_and_is_scored_the_same_again(trained, place):
    assert trained.test.count == 24
    assert trained.test.metrics["accuracy"] > 0.9
    again = score(str(trained.folder), Selection(str(place[1]), "test"), batch_size=7)
    assert again.metrics["accuracy"] == trained.test.metrics["accuracy"]
    assert again.metrics["loss"] == pytest.approx(trained.test.metrics["loss"], rel=1e-5)


def test_tokenizer_and_facts_travel_with_the_run(trained, place):
    source, run = hub.load(f"hf:{place[0]}"), hub.load(f"run:{trained.folder}")
    assert run.files["vocab.txt"] == source.files["vocab.txt"]
    assert run.facts == source.facts
    assert run.label_names == ("bad", "good")


def test_texts_get_label_names_with_probabilities_whatever_comes_with_them(trained):
    texts = ["the film was lovely", "a poor and dull play", "it was fine"]
    together = list(predict(str(trained.folder), texts))
    assert [p.labels[0][0] for p in together] == ["good", "bad", "good"]
    alone = next(iter(predict(str(trained.folder), texts[:1])))
    assert dict(alone.labels) == pytest.approx(dict(together[0].labels), abs=1e-5)
    assert sum(dict(alone.labels).values()) == pytest.approx(1, abs=1e-5)


def test_the_command_line_reads_texts(trained, place, tmp_path, capsys):
    (tmp_path / "lines.txt").write_text("a lovely song\n\na dull song\n")
    assert main(["predict", str(trained.folder), "--lines", str(tmp_path / "lines.txt")]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1].split()[0] for line in shown] == ["good", "bad"]
    line = ["evaluate", str(trained.folder), "--data", str(place[1]), "--split", "test"]
    assert main(line) == 0
    assert "accuracy" in capsys.readouterr().out


@pytest.mark.parametrize(
    "changes",
    [
        {"freeze": "bottom:2", "frozen_dtype": "bfloat16"},
        {"unfreeze": "head-first", "stage_epochs": 1.0},
        {
            "layer_decay": 0.5,
            "weight_decay": 0.1,
            "pull": "l2sp",
            "pull_strength": 0.1,
            "accumulate": 2,
            "ema": 0.9,
        },
        {"pull": "features", "pull_strength": 0.1, "dtype": "bfloat16", "remat": True},
        {"freeze": "bottom:1", "fresh": "top:2"},
    ],
    ids=str,
)
def test_every_strategy_runs_on_texts(place, tmp_path, changes):
    result = finetune(*place, tmp_path / "run", **changes)
    assert result.finished
    before, after = hub.load(f"hf:{place[0]}").params, weights(result)
    moved = {p for p, v in before.items() if not np.array_equal(v, after[p])}
    layers = {path.split("/")[1] for path in moved}
    if "frozen_dtype" not in changes:  # Rounded once, they differ from the file's.
        assert ("embeddings" in layers) == ("freeze" not in changes)
    assert {"block_01", "pooler"} <= layers
    assert np.isfinite(result.test.metrics["loss"])


def test_from_scratch_takes_the_shape_and_nothing_else(place, tmp_path):
    made = build(small_texts.config(*place, fresh="all"))
    assert {path.split("/")[0] for path in made.fresh} == {"body", "head"}
    assert len(made.fresh) == len(made.start().params)


def test_features_once_train_the_same_head(place, tmp_path):
    frozen = {"freeze": "body", "head_init": "scaled", "clip": 1.0}
    plain = finetune(*place, tmp_path / "plain", **frozen)
    cached = finetune(*place, tmp_path / "cached", **frozen, features="once")
    a, b = weights(plain), weights(cached)
    for path in ("head/dense/kernel", "head/dense/bias"):
        np.testing.assert_allclose(a[path], b[path], atol=1e-6)


def test_an_interrupted_run_ends_with_the_same_bytes(place, tmp_path):
    whole = finetune(*place, tmp_path / "whole", widths="8,12,16")
    short = small_texts.config(*place, widths="8,12,16")
    folder = tmp_path / "cut"
    start(short, folder, say=list().append, quiet=True)
    # As a kill after the second checkpoint would leave it.
    for name in ("report", "model"):
        shutil.rmtree(folder / name)
    (folder / "report.html").unlink()
    shutil.rmtree(folder / "checkpoints" / "12")
    again = resume(folder, say=list().append, quiet=True)
    assert again.finished
    for path, value in weights(whole).items():
        np.testing.assert_array_equal(value, weights(again)[path], err_msg=path)
    metrics = [(f / "metrics.jsonl").read_bytes() for f in (whole.folder, folder)]
    assert metrics[0] == metrics[1]


def test_numbers_are_estimated(place, tmp_path):
    folder = tmp_path / "numbers"
    folder.mkdir()
    for name in ("train", "test"):
        rows = (place[1] / f"{name}.tsv").read_text().splitlines()[1:]
        table = "\n".join(f"{r.split(chr(9))[0]}\t{4.5 if 'good' in r else 0.5}" for r in rows)
        (folder / f"{name}.tsv").write_text(f"text\tscore\n{table}\n")
    more = {
        "length": "150st",
        "rate": 1e-2,
        "head_init": "scaled",
        "label_column": "score",
        "validation": "0%",
    }
    result = finetune(place[0], folder, tmp_path / "run", **more)
    assert result.test.metrics["pearson"] > 0.8
    found = list(predict(str(result.folder), ["a lovely film", "a poor film"]))
    assert found[0].value > found[1].value
    assert found[0].labels == ()


def test_features_are_kept_and_reopened(place, tmp_path):
    chosen = Selection(str(place[1]), "train")
    store = extract(f"hf:{place[0]}", chosen, tmp_path / "features")
    assert (len(store), store.width, store.origin) == (96, 16, "written")
    assert extract(f"hf:{place[0]}", chosen, tmp_path / "features").origin == "reopened"
    other = extract(f"hf:{place[0]}", chosen, tmp_path / "features", max_length=5)
    assert other.origin.startswith("recomputed")


def test_a_body_from_nothing_takes_a_tokenizer(place, tmp_path):
    sizes = ("width=16", "depth=2", "heads=2", "feed_forward=32", "positions=24", "types=2")
    asked = RunConfig(
        data=DataConfig(data=str(place[1]), validation="0%", test_split="test"),
        body=BodyConfig(body="bert", settings=sizes, tokenizer=str(place[0])),
        train=TrainConfig(length="4st", batch_size=12),
    )
    result = start(asked, tmp_path / "run", say=list().append, quiet=True)
    known = hub.load(f"run:{result.folder}")
    assert known.body["vocab_size"] == len(small_texts.WORDS)
    assert known.files["vocab.txt"]
    bare = replace(asked, tokenizer="")
    with pytest.raises(ValueError, match="--tokenizer DIR"):
        build(replace(bare, settings=(*sizes, f"vocab_size={len(small_texts.WORDS)}")))


def test_explaining_reads_no_weights(place, tmp_path, capsys):
    copy = tmp_path / "bert"
    shutil.copytree(place[0], copy)
    whole = (copy / "model.safetensors").read_bytes()
    size = 8 + int.from_bytes(whole[:8], "little")
    # Right in form, but every number is NaN: reading one would be refused.
    (copy / "model.safetensors").write_bytes(whole[:size] + b"\xff" * (len(whole) - size))
    line = ["explain", "--source", f"hf:{copy}", "--data", str(place[1]), "--test-split", "test"]
    assert main(line) == 0
    assert "GFLOP" in capsys.readouterr().out


WRONG = {
    "an option of images": ({"augment": "flip", "size": 32}, "augment='flip', size=32"),
    "widths too small": ({"widths": "4"}, "widest"),
    "widths that are none": ({"widths": "wide"}, "write auto, 64, or 16,32,64"),
    "a length beyond the positions": ({"max_length": 99}, "beyond the 64 positions"),
    "a column that is not there": ({"text_column": "sentence"}, "sentence"),
    "a pooling there is not": ({"pooling": "first", "freeze": "bottom:9"}, "9 layers"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_told_before_anything_is_made(place, tmp_path, mistake):
    changes, message = WRONG[mistake]
    with pytest.raises(ValueError, match=message):
        finetune(*place, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_texts_beyond_the_positions_are_refused_and_can_be_cut(place, tmp_path):
    folder = small_texts.reviews(tmp_path / "long", train=12, test=4)
    with (folder / "train.tsv").open("a") as table:
        table.write(" ".join(["film"] * 80) + "\tgood\n")
    with pytest.raises(ValueError, match=r"longer than the 64 positions.*max_length=64"):
        build(small_texts.config(place[0], folder))
    built = build(small_texts.config(place[0], folder, max_length=64, widths="64"))
    assert "1 cut" in str(built.task)


def test_a_run_is_a_source_that_can_be_pooled_another_way(place, tmp_path):
    first = finetune(*place, tmp_path / "first", length="2st")
    spec = f"run:{first.folder}"
    whole = hub.load(spec)
    assert whole.body["pooling"] == "pooler"
    mean = hub.load(spec, pooling="mean")
    gone = whole.params.keys() - mean.params.keys()
    assert gone == {"body/pooler/dense/kernel", "body/pooler/dense/bias"}
    for path, value in mean.params.items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(whole.params[path]))

    again = start(
        replace(small_texts.config(*place, length="2st"), source=spec, pooling="mean"),
        tmp_path / "again",
        say=list().append,
        quiet=True,
    )
    assert hub.load(f"run:{again.folder}").body["pooling"] == "mean"
    # A pooler that nobody has is not made up.
    with pytest.raises(hub.HubError, match=r"'body/pooler/dense/\w+' is not in the source"):
        build(
            replace(small_texts.config(*place), source=f"run:{again.folder}", pooling="pooler"),
        )
    with pytest.raises(hub.HubError, match="pooling='sum'"):
        hub.load(spec, pooling="sum")
