"""Several runs asked as one: probabilities averaged by example and by class name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from word_texts import dataset, tokenizer, write_tsv

from tlearn import bodies, heads, hub
from tlearn.bodies.facts import TextFacts
from tlearn.cli.main import main
from tlearn.data import DataError
from tlearn.model import Model, initialise, variables
from tlearn.runs.ensemble import ensemble, probabilities
from tlearn.runs.reading import Selection
from tlearn.runs.use import extract, load, predict, score


def model_folder(folder, names, seed, *, backward=False, classes=True):
    """An untrained classifier of texts that says something about every text."""
    words = tokenizer()
    body = {"family": "awd_lstm", "vocab_size": words.size, "width": 4, "hidden": 4, "depth": 1}
    head = {"family": "linear", "classes": len(names), "kernel_init": "scaled"}
    if not classes:
        head["classes"], names = 1, ()
    model = Model(bodies.build(body), heads.build(head))
    tokens = jnp.zeros((1, 2), jnp.int32)
    params, _ = initialise(model, jax.random.key(seed), tokens, tokens)
    # Far apart, so that the runs disagree.
    params["head/dense/kernel"] *= 30
    source = hub.Source(
        {path: np.asarray(value) for path, value in params.items()},
        {},
        bodies.describe(model.body),
        heads.describe(model.head),
        tuple(names) or None,
        TextFacts(vocab_size=words.size, special=words.special, backward=backward),
        files=words.files,
    )
    hub.save_model(folder, source)
    return str(folder)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    root = tmp_path_factory.mktemp("ensemble")
    texts = dataset(30)
    write_tsv(root / "texts.tsv", texts)
    names = tuple(texts.label_names)
    return {
        "data": Selection(str(root / "texts.tsv")),
        "one": model_folder(root / "one", names, 1),
        # It counts its classes the other way round, and reads from the back.
        "two": model_folder(root / "two", names[::-1], 2, backward=True),
        "odd": model_folder(root / "odd", (*names[:-1], "else"), 3),
        "number": model_folder(root / "number", names, 4, classes=False),
        "root": root,
    }


def test_the_mean_of_probabilities_by_example_and_class_name(given):
    one, two = (score(given[name], given["data"]) for name in ("one", "two"))
    found = ensemble([given["one"], given["two"]], given["data"])
    mean = (probabilities(one.predictions) + probabilities(two.predictions)[:, ::-1]) / 2
    np.testing.assert_allclose(np.exp(found.predictions), mean, rtol=1e-5)
    np.testing.assert_array_equal(found.labels, one.labels)
    assert found.count == 30
    assert found.metrics["accuracy"] == np.mean(mean.argmax(-1) == one.labels)
    loss = -np.log(mean[np.arange(30), one.labels]).mean()
    assert found.metrics["loss"] == pytest.approx(loss)
    # A mean loses less than its parts do in the mean (Jensen).
    assert loss < (one.metrics["loss"] + two.metrics["loss"]) / 2
    assert not np.allclose(probabilities(one.predictions), mean)


def test_a_backward_run_is_shown_every_text_from_its_last_token(given, tmp_path):
    texts, loaded = dataset(30), load(given["two"])
    rows = tokenizer().encode(texts.texts)
    turned = [row[::-1] for row in np.split(rows.ids, rows.starts[1:-1])]
    logits = jnp.concatenate(
        [
            loaded.model.apply(variables(loaded.params, {}), row[None], jnp.ones_like(row[None]))
            for row in map(jnp.asarray, turned)
        ]
    )
    chances = probabilities(np.asarray(logits))
    found = score(given["two"], given["data"])
    np.testing.assert_allclose(probabilities(found.predictions), chances, rtol=1e-4)
    for one, row in zip(predict(given["two"], texts.texts), chances, strict=True):
        assert [dict(one.labels)[name] for name in ("yes", "no")] == pytest.approx(row, rel=1e-4)
    # What is stored of texts read one way is not taken for the other.
    store = extract(given["two"], given["data"], tmp_path / "features")
    assert "backward=True" in store.key.preprocessing


def test_the_command_line_asks_several(given, capsys):
    found = ensemble([given["one"], given["two"]], given["data"])
    data = ["--data", given["data"].data]
    assert main(["evaluate", given["one"], *data, "--with", given["two"]]) == 0
    assert capsys.readouterr().out.strip() == str(found)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("one",), "two runs or more"),
        (("one", "one"), "each once"),
        (("one", "odd"), "do not know the same classes.*else"),
        (("one", "number", "odd"), "number estimates a number(.|\n)*odd.*same classes"),
    ],
)
def test_runs_that_cannot_be_asked_together_are_named(given, names, message):
    with pytest.raises(DataError, match=message):
        ensemble([given[name] for name in names], given["data"])
