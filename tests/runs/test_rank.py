"""Which source to take, end to end: features once, a table, reasons, and refusals before work."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from small_runs import NEW, OLD, colour_folder
from small_texts import bert_folder, reviews

from tlearn import hub
from tlearn.cli.main import main
from tlearn.data import DataError, open_dataset, select_classes
from tlearn.model import variables
from tlearn.runs.rank import RankConfig, rank
from tlearn.runs.rank_sources import RankError, drawn
from tlearn.runs.reading import Selection
from tlearn.runs.use import load
from tlearn.transfer.leep import leep

CHEAP = ("logme", "leep", "h_score_shrunk", "knn")
DIGITS = Selection("digits", "train", classes=NEW)


@pytest.fixture(scope="module")
def place(digits_run, tmp_path_factory):
    """Three sources of pictures: a run, the same without a head, the same with broken features."""
    root = tmp_path_factory.mktemp("rank")
    source = hub.load(f"run:{digits_run}")
    body = {path: v for path, v in source.params.items() if path.startswith("body/")}
    bare = dataclasses.replace(source, params=body, head=None, label_names=None)
    rng = np.random.default_rng(0)
    noise = {p: rng.normal(size=v.shape).astype(np.float32) for p, v in body.items()}
    hub.save_model(root / "bare", bare)
    hub.save_model(root / "noise", dataclasses.replace(bare, params=noise))
    infinite = {p: np.full(v.shape, 1e38, np.float32) for p, v in body.items()}
    hub.save_model(root / "infinite", dataclasses.replace(bare, params=infinite))
    (root / "run").symlink_to(digits_run)
    colour_folder(root / "colours", count=3)
    bert_folder(root / "bert")
    reviews(root / "reviews", train=24, test=8)
    return root


def test_sources_are_sorted_with_reasons_and_kept_features(place, tmp_path):
    specs = [f"run:{place / name}" for name in ("noise", "bare", "run")]
    config = RankConfig(scores=CHEAP, examples=100)
    found = rank(specs, DIGITS, config, out=tmp_path / "out")
    values = [row.scores["logme"].value for row in found.rows]
    assert values == sorted(values, reverse=True)
    assert found.rows[-1].source == specs[0]
    by = {row.source: row for row in found.rows}
    assert by[specs[1]].scores["leep"].value is None
    assert by[specs[1]].scores["leep"].why == "the source has no head"
    assert by[specs[1]].scores["logme"].value == by[specs[2]].scores["logme"].value
    assert by[specs[2]].width == 16
    assert by[specs[2]].parameters == sum(
        v.size for p, v in hub.load(specs[2]).params.items() if p.startswith("body/")
    )
    assert found.agreement["logme", "h_score_shrunk"] is not None
    assert found.agreement["logme", "leep"] is None
    assert found.data["examples"] == 100
    told = json.loads((tmp_path / "out" / "ranking.json").read_text())
    assert [one["source"] for one in told["sources"]] == [row.source for row in found.rows]
    page = (tmp_path / "out" / "ranking.md").read_text()
    assert "(1) the source has no head." in page
    assert all(name in page for name in CHEAP)
    again = rank(specs, DIGITS, config, out=tmp_path / "out")
    assert all(row.kept for row in again.rows)
    assert not any(row.kept for row in found.rows)
    assert [row.seconds for row in again.rows] == [row.seconds for row in found.rows]
    assert [row.scores["knn"].value for row in again.rows] == [
        row.scores["knn"].value for row in found.rows
    ]
    # Other examples are other features: nothing of the old is taken for them.
    other = rank(specs[:1], DIGITS, dataclasses.replace(config, seed=1), out=tmp_path / "out")
    assert not other.rows[0].kept


def test_leep_is_of_the_sources_own_labels(place):
    found = rank([f"run:{place / 'run'}"], DIGITS, RankConfig(scores=("leep",), by="leep"))
    loaded = load(str(place / "run"))
    dataset = select_classes(open_dataset("digits", "train"), NEW)
    reader = loaded.reader()
    batch = reader.batches(dataset, len(dataset)).at(0)
    tree = variables(loaded.params, loaded.statistics)
    logits = loaded.model.apply(tree, jnp.asarray(batch["image"]), train=False)
    p = np.exp(np.asarray(logits, np.float64))
    p /= p.sum(axis=1, keepdims=True)
    assert p.shape[1] == len(OLD)
    expected = leep(p, np.asarray(batch["label"]))
    assert found.rows[0].scores["leep"].value == pytest.approx(expected, abs=1e-5)


def test_texts_are_ranked_by_their_own_reading(place):
    source = hub.load(f"hf:{place / 'bert'}", pooling="mean")
    hub.save_model(place / "mean", source)
    lower = hub.lower_blocks(source, 1)
    hub.save_model(place / "lower", lower)
    assert "body/block_01/attention/query/kernel" not in lower.params
    specs = [f"hf:{place / 'bert'}", f"run:{place / 'mean'}", f"run:{place / 'lower'}"]
    config = RankConfig(scores=("logme", "leep", "knn"))
    found = rank(specs, Selection(str(place / "reviews"), "train"), config)
    values = [row.scores["logme"].value for row in found.rows]
    assert len(set(values)) == 3
    assert {row.width for row in found.rows} == {16}
    smallest = min(found.rows, key=lambda row: row.parameters)
    assert smallest.source == specs[2]


def test_the_same_weights_read_another_way_are_other_features(place, tmp_path):
    source = hub.load(f"hf:{place / 'bert'}", pooling="mean")
    other = dataclasses.replace(source, body={**source.body, "pooling": "max"})
    assert other.digest == source.digest
    hub.save_model(tmp_path / "mean", source)
    hub.save_model(tmp_path / "max", other)
    config = RankConfig(scores=("logme",))
    chosen = Selection(str(place / "reviews"), "train")
    found = [rank([str(tmp_path / n)], chosen, config, out=tmp_path / "o") for n in ("mean", "max")]
    assert not found[1].rows[0].kept
    first, second = (one.rows[0].scores["logme"].value for one in found)
    assert first != second


def test_all_that_can_be_seen_before_is_refused_at_once(place):
    good = f"run:{place / 'run'}"
    with pytest.raises(RankError) as told:
        rank([good, "run:absent", f"hf:{place / 'colours'}", good], Selection("digitz"))
    for said in ("run:absent", "hf:", "given 2 times", "digitz", "digits"):
        assert said in str(told.value)
    with pytest.raises(RankError, match="some sources take pictures and some texts") as told:
        rank([good, f"hf:{place / 'bert'}"], DIGITS)
    assert "texts: hf:" in str(told.value)
    with pytest.raises(RankError, match="it holds pictures, and these sources take texts"):
        rank([f"hf:{place / 'bert'}"], Selection("digits", "train"))
    (place / "numbers.tsv").write_text("text\tlabel\nfine film\t0.5\ndull film\t1.5\n")
    with pytest.raises(RankError, match="numbers as labels"):
        rank([f"hf:{place / 'bert'}"], Selection(f"tsv:{place / 'numbers.tsv'}"))
    with pytest.raises(RankError, match="it holds texts, and these sources take pictures"):
        rank([good], Selection(str(place / "reviews"), "train"))
    with pytest.raises(RankError, match=r"one class only \('5'\)"):
        rank([good], dataclasses.replace(DIGITS, classes=("5",)))
    with pytest.raises(RankError, match="4 examples are fewer than the 5 classes"):
        rank([good], DIGITS, RankConfig(examples=4))
    with pytest.raises(RankError, match="5 examples of 5 classes are one a class"):
        rank([good], DIGITS, RankConfig(examples=5))
    with pytest.raises(RankError, match="no score is called 'logmee'"):
        rank([good], DIGITS, RankConfig(scores=("logmee",)))
    with pytest.raises(RankError, match="by is 'knn', which is not computed"):
        rank([good], DIGITS, RankConfig(scores=("logme",), by="knn", examples=10))


def test_features_that_are_not_finite_are_told_and_the_others_kept(place, tmp_path):
    specs = [f"run:{place / 'infinite'}", f"run:{place / 'bare'}"]
    config = RankConfig(scores=("logme",), examples=20)
    with pytest.raises(RankError, match="infinite: the body gives features that are not finite"):
        rank(specs, DIGITS, config, out=tmp_path)
    assert rank(specs[1:], DIGITS, config, out=tmp_path).rows[0].kept


def test_converted_channels_and_small_data_are_told(place):
    said = []
    config = RankConfig(scores=("knn",), by="knn", examples=50)
    chosen = Selection(str(place / "colours"), "train")
    found = rank([f"run:{place / 'bare'}"], chosen, config, say=said.append)
    assert any("the pictures have 3 channels, converted to 1" in line for line in said)
    assert any("has 9 examples, fewer than 50: all are taken" in line for line in said)
    assert found.data["examples"] == 9


def test_draws_are_nested_and_keep_the_mix():
    labels = np.repeat([0, 1, 2], [60, 36, 3])
    few, more = drawn(labels, 33, 0), drawn(labels, 66, 0)
    assert set(few) <= set(more)
    assert np.bincount(labels[few]).tolist() == [20, 12, 1]
    assert np.bincount(labels[drawn(labels, 3, 0)]).tolist() == [1, 1, 1]
    assert not np.array_equal(drawn(labels, 33, 1), few)


def test_blocks_that_are_not_there_are_refused(place):
    with pytest.raises(hub.HubError, match="3 blocks asked for; the body has 2"):
        hub.lower_blocks(hub.load(f"hf:{place / 'bert'}"), 3)
    with pytest.raises(hub.HubError, match="no blocks of its own"):
        hub.lower_blocks(hub.load(f"run:{place / 'run'}"), 1)


def test_the_verb_prints_a_table_and_refuses_in_a_line(place, tmp_path, capsys):
    line = ["rank", f"run:{place / 'run'}", f"run:{place / 'noise'}", "--data", "digits"]
    line += ["--split", "train", "--examples", "40", "--scores", "knn", "logme", "--by", "logme"]
    assert main([*line, "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "sorted by logme" in shown
    assert "too few orders" in shown
    assert main([*line[:-1], "probe"]) == 2
    assert "by is 'probe', which is not computed" in capsys.readouterr().err
    assert main(["rank", "--data", "digits"]) == 2
    assert main(["rank", "run:nowhere", "--data", "digits", "--split", "train"]) == 1
    assert "error: these sources cannot be ranked" in capsys.readouterr().err


def test_data_errors_are_of_the_data(place):
    with pytest.raises((DataError, RankError), match="no such split"):
        rank([f"run:{place / 'run'}"], Selection("digits", "trian"))
