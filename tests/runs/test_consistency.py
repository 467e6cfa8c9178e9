"""Fine-tuning with two passes that should answer alike (R-Drop): whole runs."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_texts

from tlearn import Model, bodies, heads, hub, initialise
from tlearn.model import variables
from tlearn.runs.build import build
from tlearn.runs.config import BodyConfig, DataConfig, RunConfig, replace
from tlearn.runs.explain import explain
from tlearn.runs.reading import Selection
from tlearn.runs.study.many import Looks, run_many
from tlearn.runs.study.single import run_single
from tlearn.runs.training import start
from tlearn.runs.use import score
from tlearn.two_passes import TwoPasses


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("twice")
    return small_texts.bert_folder(folder / "bert"), small_texts.reviews(folder / "data")


def config(place, **changes):
    usual = {"length": "40st", "head_dropout": 0.3, "head_init": "scaled", "report_every": 1}
    return replace(small_texts.config(*place), **usual | changes)


@pytest.fixture(scope="module")
def both(place, tmp_path_factory):
    """The same run with hardly any and with a strong wish that passes agree."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        start(config(place, consistency=weight), folder / str(weight), say=list().append)
        for weight in (1e-6, 20.0)
    ]


def logged(result, part):
    lines = (result.folder / "metrics.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == part]


def drawn():
    """A small BERT with its weights, both models of it, and tokens."""
    body = bodies.build(small_texts.BODY | {"dropout": 0.5})
    head = heads.Linear(2, kernel_init="scaled")
    params, _ = initialise(Model(body, head), jax.random.key(0), *small_texts.INPUTS)
    rng = np.random.default_rng(0)
    tokens = jnp.asarray(rng.integers(5, len(small_texts.WORDS), (6, 4)))
    inputs = tokens, jnp.ones_like(tokens), jnp.zeros_like(tokens)
    return variables(params, {}), Model(body, head), TwoPasses(body, head), inputs


def test_without_dropout_both_passes_are_the_models_own():
    params, plain, twice, inputs = drawn()
    features, logits = plain.apply(params, *inputs, method="both")
    found, outputs = twice.apply(params, *inputs, method="both")
    for each in outputs:
        np.testing.assert_allclose(each, logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.pooled, features.pooled, rtol=1e-5, atol=1e-6)
    assert found.table.shape == features.table.shape
    shapes = jax.tree.map(jnp.shape, (found.sequence, found.mask, found.layers))
    assert shapes == jax.tree.map(jnp.shape, (features.sequence, features.mask, features.layers))


def test_in_training_the_passes_drop_other_elements():
    params, _, twice, inputs = drawn()
    rngs = {"dropout": jax.random.key(1)}
    _, (one, two) = twice.apply(params, *inputs, train=True, rngs=rngs, method="both")
    assert not np.isclose(one, two, rtol=1e-3).any()
    # Where only the head trains, and drops nothing, there is nothing to tell them apart.
    layer = frozenset({"head"})
    _, (one, two) = twice.apply(params, *inputs, train=layer, rngs=rngs, method="both")
    np.testing.assert_array_equal(one, two)


def test_passes_come_to_agree(both):
    free, held = (logged(result, "train") for result in both)
    assert held[0]["inconsistency"] == pytest.approx(free[0]["inconsistency"], rel=1e-4)
    assert held[0]["loss"] == pytest.approx(
        held[0]["label_loss"] + 20 * held[0]["inconsistency"], rel=1e-5
    )
    last = [np.mean([line["inconsistency"] for line in lines[-5:]]) for lines in (free, held)]
    assert last[1] < 0.5 * last[0]
    # It is judged by its labels alone.
    assert "inconsistency" not in logged(both[1], "validation")[-1]


def test_a_run_is_read_and_judged_as_any_other(both, place):
    found = score(str(both[1].folder), Selection(str(place[1]), "test"))
    assert found.metrics["loss"] == pytest.approx(both[1].test.metrics["loss"], rel=1e-5)
    assert hub.load(f"run:{both[1].folder}").head["family"] == "linear"


def test_a_study_trains_it_as_a_run_alone(place, tmp_path):
    asked = config(place, consistency=0.5, seed=3)
    looks = Looks(metric="accuracy", points=2)
    many = run_many([asked], looks)[0]
    alone = run_single(asked, looks, tmp_path / "run", lambda text: None)
    assert many.metrics["loss"] == pytest.approx(alone.metrics["loss"], rel=2e-5)
    without = run_many([replace(asked, consistency=0.0)], looks)[0]
    assert without.metrics["loss"] != pytest.approx(many.metrics["loss"], rel=1e-3)


def test_explain_counts_it_twice(place):
    plain, twice = (explain(config(place, consistency=weight)) for weight in (0.0, 0.5))
    count = [float(text.split(" GFLOP")[0].split()[-1]) for text in (plain, twice)]
    assert 1.7 * count[0] < count[1] < 2.1 * count[0]


def test_beside_a_pull_on_features_the_first_pass_is_pulled(place):
    built = build(config(place, consistency=0.5, pull="features", pull_strength=0.1))
    batch = jax.tree.map(jnp.asarray, built.task.train_batches(12, 0).at(0))
    state, log = built.program.step(0)(built.start(), batch, built.source)
    assert state.sound
    # At the source only dropout stands between the two.
    assert log["function_pull"] > 0


def test_pictures_pass_twice_too(tmp_path):
    asked = RunConfig(data=DataConfig(data="digits"), body=BodyConfig(body="resnet20"))
    asked = replace(asked, labelled=60, length="4st", batch_size=20, report_every=1)
    with pytest.raises(ValueError, match=r"the body has none.*give head_dropout"):
        build(replace(asked, consistency=1.0))
    asked = replace(asked, consistency=1.0, head_dropout=0.5, head_init="scaled")
    result = start(asked, tmp_path / "run", say=list().append)
    assert all(line["inconsistency"] > 0 for line in logged(result, "train"))


WRONG = {
    "beside no labels": ({"objective": "next_tokens"}, "consistency is for labels"),
    "below nothing": ({"consistency": -1.0}, "consistency is -1"),
    "features once": ({"freeze": "bottom:1", "features": "once"}, "give features=each-step"),
    "two losses": ({"language_loss": 0.5}, "not had together"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_what_cannot_be_meant_is_refused(place, mistake):
    changes, message = WRONG[mistake]
    with pytest.raises(ValueError, match=message):
        config(place, **{"consistency": 0.5} | changes)


def test_two_passes_alike_are_refused(place):
    asked = config(place, consistency=0.5, head_dropout=0.0)
    with pytest.raises(ValueError, match="nothing that trains drops anything"):
        build(replace(asked, freeze="body"))
    with pytest.raises(ValueError, match=r"the body has .*attention_dropout 0"):
        build(replace(asked, settings=("dropout=0.0", "attention_dropout=0.0")))
    build(asked)


def test_numbers_are_refused(place, tmp_path):
    lines = ["text\tscore", *(f"the film was {w}\t{i / 7}" for i, w in enumerate("abcdefgh"))]
    for name in ("train", "test"):
        (tmp_path / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    asked = replace(config(place, consistency=0.5), data=str(tmp_path), test_split="")
    with pytest.raises(ValueError, match="the labels are numbers"):
        build(replace(asked, labels="number", label_column="score"))
