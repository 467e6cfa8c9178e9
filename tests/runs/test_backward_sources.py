"""Weights of which nothing says how they read: the run says it, and all that follows keeps it."""

import random

import numpy as np
import pytest

from tlearn import hub
from tlearn.data.corpus_opening import open_corpus
from tlearn.data.tokenizer_training import save_tokenizer, train_tokenizer
from tlearn.generation import Options
from tlearn.hub.source import facts_from_json, facts_to_json
from tlearn.runs.build import build
from tlearn.runs.config import BodyConfig, DataConfig, HeadConfig, RunConfig, replace
from tlearn.runs.ensemble import ensemble, probabilities
from tlearn.runs.generating import generate
from tlearn.runs.objective_config import ObjectiveConfig
from tlearn.runs.reading import Selection
from tlearn.runs.training import start
from tlearn.runs.use import predict, score

WORDS = "one two three four five six seven eight nine ten".split()
WIDTH = 6


def said(text):
    pass


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A corpus, a table, a tokenizer, and a language model as fast.ai's file holds it."""
    folder = tmp_path_factory.mktemp("backward")
    rng = random.Random(0)
    corpus = "\n".join(" ".join(rng.choices(WORDS, k=9)) for _ in range(30))
    (folder / "corpus.txt").write_text(corpus)
    (folder / "data").mkdir()
    for part in ("train", "test"):
        rows = [f"{' '.join(rng.sample(WORDS, 5))}\t{i % 2}" for i in range(12)]
        (folder / "data" / f"{part}.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    words = train_tokenizer(open_corpus(f"lines:{folder}/corpus.txt"), "word", 14)
    save_tokenizer(words, folder / "words")
    draw = np.random.default_rng(0)

    def drawn(*shape):
        return draw.normal(size=shape).astype(np.float32)

    table, recurrent = drawn(words.size, WIDTH), drawn(4 * WIDTH, WIDTH)
    np.savez(
        folder / "theirs.npz",
        **{
            "0.encoder.weight": table,
            "0.encoder_dp.emb.weight": table,
            "0.rnns.0.weight_hh_l0_raw": recurrent,
            "0.rnns.0.module.weight_ih_l0": drawn(4 * WIDTH, WIDTH),
            "0.rnns.0.module.weight_hh_l0": recurrent,
            "0.rnns.0.module.bias_ih_l0": drawn(4 * WIDTH),
            "0.rnns.0.module.bias_hh_l0": drawn(4 * WIDTH),
            "1.decoder.weight": table,
            "1.decoder.bias": drawn(words.size),
        },
    )
    return folder


def labels(place, **changes):
    base = RunConfig(
        data=DataConfig(data=f"text:{place}/data", test_split="test", validation="0%"),
        source=f"npz:{place}/theirs.npz",
        body=BodyConfig(tokenizer=str(place / "words"), settings=("dropout_scale=0.0",)),
    )
    return replace(base, **{"batch_size": 4, "length": "2st", **changes})


def language(place, **changes):
    asked = ObjectiveConfig(objective="next_tokens", row_length=8, stores=str(place / "stores"))
    data = DataConfig(data=f"lines:{place}/corpus.txt", validation="0%")
    goes_on = HeadConfig(head_weights="source")
    return replace(labels(place), objective=asked, data=data, head=goes_on, **changes)


def test_a_file_that_says_nothing_is_read_as_the_run_says(place):
    facts = hub.load(f"npz:{place}/theirs.npz").facts
    assert facts.backward is None
    assert facts_from_json(facts_to_json(facts)) == facts
    forward, backward = (
        build(labels(place, direction=name), draw=False).task for name in ("forward", "backward")
    )
    for i in range(len(forward.train)):
        np.testing.assert_array_equal(backward.train[i]["tokens"], forward.train[i]["tokens"][::-1])
    # What was unknown is settled.
    assert (forward.facts.backward, backward.facts.backward) == (False, True)
    assert "read backward" in str(backward)
    assert "read backward" not in str(forward)
    rows = build(language(place, direction="backward"), draw=False).task
    assert rows.rows.backward
    assert rows.facts.backward
    assert build(language(place), draw=False).task.facts.backward is False


def test_all_that_follows_reads_backward(place, tmp_path):
    adapted = start(language(place, direction="backward"), tmp_path / "lm", say=said, quiet=True)
    assert hub.load(f"run:{adapted.folder}").facts.backward is True
    (made,) = generate(str(adapted.folder), ["one two"], Options(steps=2))
    assert made.before
    # The next run needs not be told, and may be.
    for direction in ("forward", "backward"):
        asked = labels(place, source=f"run:{adapted.folder}", direction=direction)
        built = build(replace(asked, tokenizer=""), draw=False)
        assert built.task.facts.backward is True
    told = start(labels(place, direction="backward"), tmp_path / "bwd", say=said, quiet=True)
    untold = start(labels(place), tmp_path / "fwd", say=said, quiet=True)
    chosen = Selection(f"text:{place}/data", "test")
    found = {}
    for name, run in (("bwd", told), ("fwd", untold)):
        found[name] = score(str(run.folder), chosen)
        assert found[name].metrics["loss"] == pytest.approx(run.test.metrics["loss"], rel=1e-5)
    both = ensemble([str(told.folder), str(untold.folder)], chosen)
    mean = sum(probabilities(one.predictions) for one in found.values()) / 2
    np.testing.assert_allclose(np.exp(both.predictions), mean, rtol=1e-5)
    (first,) = predict(str(told.folder), ["one two three"])
    (turned,) = predict(str(told.folder), ["three two one"])
    assert first.labels != turned.labels
    # What the first run has settled is known from then on.
    with pytest.raises(ValueError, match="was trained on texts read forward"):
        build(labels(place, source=f"run:{untold.folder}", tokenizer="", direction="backward"))


def test_pictures_have_no_direction():
    data = DataConfig(data="digits")
    asked = replace(RunConfig(data=data), body="resnet20", direction="backward")
    for one in (asked, replace(asked, data="planned:100x10", size=32)):
        with pytest.raises(ValueError, match="direction=backward is for texts"):
            build(one, draw=False)
