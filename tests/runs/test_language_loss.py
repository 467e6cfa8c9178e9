"""Fine-tuning with the next tokens' loss beside the labels', as GPT was: whole runs."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_texts
from small_texts import WORDS

from tlearn import Model, bodies, heads, hub, initialise
from tlearn.bodies.facts import TextFacts
from tlearn.runs.build import build
from tlearn.runs.config import BodyConfig, replace
from tlearn.runs.explain import explain
from tlearn.runs.reading import Selection
from tlearn.runs.settings import read_setting
from tlearn.runs.study.many import Looks, run_many
from tlearn.runs.study.single import run_single
from tlearn.runs.taught import check_language_loss
from tlearn.runs.training import start
from tlearn.runs.use import score

SIZES = ("width=16", "depth=2", "heads=2", "feed_forward=32", "positions=24")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beside")
    return small_texts.bert_folder(folder / "bert"), small_texts.reviews(folder / "data")


def config(place, **changes):
    """A GPT from nothing, with the words of the small BERT."""
    asked = small_texts.config("", place[1])
    body = BodyConfig(body="gpt2", settings=SIZES, tokenizer=str(place[0]))
    return replace(asked, body=body, length="40st", rate=1e-2, **changes)


@pytest.fixture(scope="module")
def both(place, tmp_path_factory):
    """The same run with and without the second loss."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        start(config(place, language_loss=weight), folder / str(weight), say=list().append)
        for weight in (0.0, 1.0)
    ]


def language_model(place, **settings):
    """A GPT-2 that nothing trained, with its head for next tokens."""
    body = bodies.create("gpt2", **dict(map(read_setting, SIZES)), vocab_size=len(WORDS))
    head = heads.create("causal_lm", **settings)
    params, _ = initialise(Model(body, head), jax.random.key(1), *small_texts.INPUTS[:2])
    return hub.Source(
        params={path: np.asarray(value) for path, value in params.items()},
        collections={},
        body=bodies.describe(body),
        head=heads.describe(head),
        facts=TextFacts(vocab_size=len(WORDS), pad=0, special=(("unk", 1),), lowercase=True),
        files=dict(hub.load(f"hf:{place[0]}").files),
    )


def logged(result, part):
    lines = (result.folder / "metrics.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == part]


def test_the_words_are_learned_beside_the_labels(both):
    lines = logged(both[1], "train")
    assert lines[0]["loss"] == pytest.approx(
        lines[0]["label_loss"] + lines[0]["language_loss"], rel=1e-5
    )
    assert lines[0]["language_loss"] > 2.5
    assert lines[-1]["language_loss"] < lines[0]["language_loss"] - 0.3
    assert "language_loss" not in logged(both[0], "train")[0]
    # It is judged by its labels alone.
    assert "language_loss" not in logged(both[1], "validation")[-1]


def test_a_run_is_read_and_judged_as_any_other(both, place):
    plain, beside = (hub.load(f"run:{result.folder}") for result in both)
    assert plain.head == beside.head
    assert {p: v.shape for p, v in plain.params.items()} == {
        p: v.shape for p, v in beside.params.items()
    }
    assert not np.array_equal(
        plain.params["body/block_01/attention/query/kernel"],
        beside.params["body/block_01/attention/query/kernel"],
    )
    found = score(str(both[1].folder), Selection(str(place[1]), "test"))
    assert found.metrics["loss"] == pytest.approx(both[1].test.metrics["loss"], rel=1e-5)


def test_a_study_trains_it_as_a_run_alone(place, tmp_path):
    asked = config(place, language_loss=0.5, seed=3)
    looks = Looks(metric="accuracy", points=2)
    many = run_many([asked], looks)[0]
    alone = run_single(asked, looks, tmp_path / "run", lambda text: None)
    assert many.metrics["loss"] == pytest.approx(alone.metrics["loss"], rel=2e-5)
    without = run_many([replace(asked, language_loss=0.0)], looks)[0]
    assert without.metrics["loss"] != pytest.approx(many.metrics["loss"], rel=1e-3)


def test_explain_counts_it(place):
    plain, beside = (explain(config(place, language_loss=weight)) for weight in (0.0, 0.5))
    count = [float(text.split(" GFLOP")[0].split()[-1]) for text in (plain, beside)]
    assert count[1] > 1.05 * count[0]
    assert "100% of full fine-tuning" in beside


WRONG = {
    "beside no labels": ({"objective": "next_tokens"}, "language_loss is for labels"),
    "below nothing": ({"language_loss": -1.0}, "language_loss is -1"),
    "features once": ({"freeze": "bottom:1", "features": "once"}, "give features=each-step"),
    "a frozen body": ({"freeze": "body"}, "freeze=body keeps it as it is"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_what_cannot_be_meant_is_refused(place, mistake):
    changes, message = WRONG[mistake]
    with pytest.raises(ValueError, match=message):
        config(place, **{"language_loss": 0.5} | changes)


def test_a_language_model_is_the_source(place, tmp_path):
    folder = hub.export_folder(language_model(place), tmp_path / "gpt2")
    built = build(small_texts.config(folder, place[1], language_loss=0.5))
    assert built.fresh == {"head/dense/kernel", "head/dense/bias"}
    batch = jax.tree.map(jnp.asarray, built.task.train_batches(12, 0).at(0))
    state, log = built.program.step(0)(built.start(), batch, built.source)
    # Drawn small, it gives every word nearly the same chance.
    assert float(log["language_loss"] / log["count"]) == pytest.approx(np.log(len(WORDS)), rel=0.05)
    assert state.sound


@pytest.mark.parametrize("settings", [{"tied": False}, {"use_bias": True}])
def test_a_head_that_nothing_would_read_is_refused(place, settings):
    source = language_model(place, **settings)
    asked = config(place, language_loss=0.5)
    with pytest.raises(ValueError, match="has a head of its own for them"):
        check_language_loss(asked, bodies.build(source.body), source)
    check_language_loss(replace(asked, language_loss=0.0), bodies.build(source.body), source)


def test_bodies_that_read_both_ways_are_refused(place):
    with pytest.raises(ValueError, match="family 'bert' does not score next tokens"):
        build(small_texts.config(place[0], place[1], language_loss=0.5))
