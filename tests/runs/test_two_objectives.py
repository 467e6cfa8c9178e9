"""Runs that learn two objectives of one corpus: whole runs, what they tell, what they refuse.

Breaks tried: the second objective left out of the goal, of the head, of a planned corpus, of the
options that are read; the whole batch counted as rows of either.
"""

import json
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import heads
from tlearn.data import DataError
from tlearn.data.corpus_opening import open_corpus
from tlearn.data.tokenizer_training import save_tokenizer, train_tokenizer
from tlearn.objectives import MaskedPairs, Seq2Seq
from tlearn.runs.build import build
from tlearn.runs.config import DataConfig, RunConfig, replace
from tlearn.runs.objective_config import BESIDE, ObjectiveConfig
from tlearn.runs.reading import Selection
from tlearn.runs.training import start
from tlearn.runs.use import score

WORDS = "one two three four five six seven eight nine ten".split()
T5 = {
    "body": "t5-small",
    "settings": (
        "width=8",
        "depth=1",
        "decoder_depth=1",
        "heads=2",
        "head_size=4",
        "feed_forward=16",
    ),
    "objective": "span_corruption",
    "also": "prefix_lm",
}
BERT = {
    "body": "bert-tiny",
    "settings": ("width=8", "depth=1", "heads=2", "feed_forward=16", "positions=32"),
    "objective": "masked_tokens",
    "also": "next_sentence",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    rng = random.Random(0)
    texts = ["\n".join(" ".join(rng.choices(WORDS, k=9)) for _ in range(4)) for _ in range(20)]
    (folder / "corpus.txt").write_text("\n\n".join(texts))
    found = open_corpus(f"blank:{folder}/corpus.txt")
    save_tokenizer(train_tokenizer(found, "unigram", 60, sentinels=10), folder / "t5-small")
    save_tokenizer(train_tokenizer(found, "wordpiece", 60), folder / "bert-tiny")
    return folder


def config(place, kind, **changes):
    asked = ObjectiveConfig(objective="next_tokens", row_length=24, stores=str(place / "stores"))
    base = RunConfig(data=DataConfig(data=f"blank:{place}/corpus.txt"), objective=asked)
    given = {
        "tokenizer": str(place / kind["body"]),
        "optimizer": "adamw",
        "rate": 1e-2,
        "batch_size": 8,
        "length": "2st",
        **kind,
        **changes,
    }
    return replace(base, **given)


def said(text):
    pass


def test_a_mixed_run_tells_each_loss_and_is_scored_as_it_judged_itself(place, tmp_path):
    corpus = f"blank:{place}/corpus.txt"
    told: list[str] = []
    asked = config(place, T5, also_share=0.3, validation=corpus)
    folder = start(asked, tmp_path / "run", say=told.append, quiet=True).folder
    assert any("prefix_lm: 2 of the 8 rows of a batch (25.0%)" in line for line in told)
    judged = json.loads((folder / "report" / "results.json").read_text())["validation"]
    found = score(str(folder), Selection(corpus))
    assert found.metrics == {name: v for name, v in judged.items() if name != "count"}
    # As each objective would be judged alone: the same rows, narrower for span corruption.
    source = f"run:{folder}"
    alone = {}
    for name in ("span_corruption", "prefix_lm"):
        one = replace(
            asked,
            source=source,
            objective=name,
            also="",
            also_share=0.25,
            head_weights="source",
            tokenizer="",
            body="resnet20",
            settings=(),
            length="1st",
            rate=1e-30,
        )
        run = start(one, tmp_path / name, say=said, quiet=True)
        assert run.validation is not None
        alone[name] = run.validation
        assert judged[f"{name}_loss"] == pytest.approx(run.validation.metrics["loss"], rel=1e-5)
    kept = [alone[name].predictions.astype(np.float64).sum(0) for name in alone]
    whole = (kept[0] + kept[1])[0] / (kept[0] + kept[1])[1]
    assert judged["loss"] == pytest.approx(whole, rel=1e-6)


def batch_of(place, kind, **changes):
    built = build(config(place, kind, **changes))
    batch = built.task.train_batches(8, 0).at(0)
    return built, jax.tree.map(jnp.asarray, batch)


def test_the_loss_of_a_batch_is_the_two_objectives_sums_on_its_rows(place):
    built, batch = batch_of(place, T5)
    shape = (*batch["targets"].shape, built.task.facts.vocab_size)
    logits = jax.random.normal(jax.random.key(0), shape)
    assert built.task.goal == Seq2Seq(("span_corruption", "prefix_lm"))
    sums = built.task.objective(logits, batch)
    apart = [
        Seq2Seq()(logits[rows], {name: value[rows] for name, value in batch.items()})
        for rows in (batch["kind"] == 0, batch["kind"] == 1)
    ]
    assert sums.loss == pytest.approx(float(apart[0].loss + apart[1].loss), rel=1e-6)
    assert sums.count == apart[0].count + apart[1].count
    for name, own in zip(("span_corruption", "prefix_lm"), apart, strict=True):
        assert sums.metrics[f"{name}_loss"] == pytest.approx(float(own.loss), rel=1e-6)
        assert sums.counts[f"{name}_loss"] == own.count > 0
        assert sums.metrics[f"{name}_accuracy"] == own.metrics["accuracy"]


def test_pairs_weigh_by_their_share_of_the_rows(place):
    built, batch = batch_of(place, BERT)
    assert built.task.goal == MaskedPairs()
    assert heads.build(built.task.head).family == "pretraining"
    # What nobody pools would have no pooler to ask about pairs.
    assert getattr(built.model.body, "pooling", "") == "pooler"
    words = jax.random.normal(
        jax.random.key(0), (*batch["targets"].shape, built.task.facts.vocab_size)
    )
    pairs = jax.random.normal(jax.random.key(1), (8, 2))
    outputs = {"masked_lm": words, "next_sentence": pairs}
    sums = MaskedPairs()(outputs, batch)
    paired = batch["kind"] == 1
    chance = jax.nn.log_softmax(pairs)[paired]
    own = -jnp.take_along_axis(chance, batch["label"][paired][:, None], 1).sum()
    tokens = sums.metrics["masked_loss"] / sums.counts["masked_loss"]
    assert sums.loss == pytest.approx(float(8 * tokens + own), rel=1e-6)
    assert sums.metrics["pair_loss"] == pytest.approx(float(own), rel=1e-6)
    assert sums.counts["pair_loss"] == 2
    state, log = built.program.step(0)(built.start(), batch, built.source)
    assert state.sound
    assert float(log["pair_loss"] / log["pair_loss/count"]) == pytest.approx(np.log(2), rel=0.05)


def test_a_planned_corpus_has_as_many_steps_as_its_rows_make(place):
    steps = {}
    for also in ("", "prefix_lm"):
        shape = {"length": "1ep", "tokenizer": "", "also": also}
        planned = config(place, T5, data="planned:1000000", stores="", **shape)
        built = build(planned, draw=False)
        steps[also] = built.program.timeline.steps
    assert steps["prefix_lm"] == pytest.approx(steps[""], rel=0.1)
    assert steps["prefix_lm"] > steps[""]
    assert "kind" in built.task.example
    assert built.task.goal == Seq2Seq(("span_corruption", "prefix_lm"))


WRONG = {
    "what is causal": ("next_tokens", "prefix_lm", "next_tokens already asks for every token"),
    "labels": ("labels", "prefix_lm", "it is for corpora"),
    "itself": ("prefix_lm", "prefix_lm", "that is one objective"),
    "another body's": ("masked_tokens", "prefix_lm", "give next_sentence or sentence_order"),
    "two questions": ("next_sentence", "sentence_order", "give masked_tokens"),
    "two models": ("replaced_tokens", "masked_tokens", "prefix_lm with span_corruption"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_what_does_not_go_together_is_refused_by_name(mistake):
    first, second, message = WRONG[mistake]
    with pytest.raises(ValueError, match=message):
        RunConfig(
            data=DataConfig(data="x"), objective=ObjectiveConfig(objective=first, also=second)
        )


def test_shares_that_cannot_be_had_are_refused(place):
    with pytest.raises(ValueError, match="also_share is 0"):
        config(place, T5, also_share=0.0)
    with pytest.raises(ValueError, match="also names no objective"):
        config(place, T5, also="", also_share=0.5)
    with pytest.raises(DataError, match="leaves the second objective no row"):
        build(config(place, T5, also_share=0.01))


def test_options_of_either_objective_are_read(place):
    made = config(place, T5, objective="prefix_lm", also="span_corruption", span_length=2.0)
    assert build(made).task.train_batches(8, 0).second.mean == 2.0
    with pytest.raises(ValueError, match="span_length is for span_corruption"):
        config(place, T5, objective="prefix_lm", also="", span_length=2.0)
    assert all(
        second in BESIDE and one in BESIDE[second] for one in BESIDE for second in BESIDE[one]
    )
