"""Texts in, texts out: what a source goes on from, how it ends, and the verb."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import word_texts

from tlearn import Model, bodies, heads, hub, initialise
from tlearn.bodies.facts import TextFacts
from tlearn.cli.main import main
from tlearn.data import DataError, Tokenizer, build_store, open_corpus, train_tokenizer
from tlearn.generation import Options
from tlearn.generation import generate as make
from tlearn.hub.vectors_source import word_tokenizer
from tlearn.runs.config import DataConfig, RunConfig, to_json
from tlearn.runs.generating import generate
from tlearn.runs.objective_config import ObjectiveConfig
from tlearn.runs.use import load
from tlearn.tasks.row_making import Rows

WORDS = ("<pad>", "<unk>", "</s>", "the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat")
BODY = {"vocab_size": len(WORDS), "width": 16, "heads": 2, "depth": 1, "feed_forward": 24}
GPT = BODY | {"family": "gpt", "positions": 16, "init_std": 0.5}
T5 = BODY | {"family": "t5", "head_size": 8, "decoder_depth": 1}


def folder(tmp_path, config, **tokens):
    """A folder as transformers has it, with a tokenizer of a few words."""
    body = bodies.build(config)
    head = {"family": "causal_lm", "tied": True, "scaled": config["family"] == "t5"}
    model = Model(body=body, head=heads.build(head))
    given = [jax.ShapeDtypeStruct((1, 4), jnp.int32) for _ in body.inputs]
    params = initialise(model, jax.random.key(1), *given)[0]
    files = word_tokenizer(WORDS, lowercase=True)
    # What a decoder was trained with: nothing stands around a text.
    settings = json.loads(files["tokenizer_config.json"]) | tokens
    files |= {"tokenizer_config.json": json.dumps(settings).encode()}
    special = (("eos", 2), ("unk", 1)) if "eos_token" in tokens else (("unk", 1),)
    source = hub.Source(
        params={path: np.asarray(value) for path, value in params.items()},
        collections={},
        body=bodies.describe(body),
        head=heads.describe(model.head),
        facts=TextFacts(vocab_size=len(WORDS), pad=0, special=special, lowercase=True),
        files=files,
    )
    return f"hf:{hub.export_folder(source, tmp_path)}"


@pytest.fixture(scope="module")
def gpt(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("gpt") / "model", GPT, eos_token="</s>")


def recurrent(folder, *, backward, files=None, special=(("eos", 2), ("unk", 1)), provenance=None):
    """A recurrent language model that nothing trained, as a run leaves it."""
    files = files or word_tokenizer(WORDS, lowercase=True)
    size = Tokenizer.from_files(files).size
    body = bodies.build(
        {"family": "awd_lstm", "vocab_size": size, "width": 8, "hidden": 8, "depth": 1}
    )
    model = Model(body, heads.build({"family": "causal_lm", "use_bias": True}))
    row = jax.ShapeDtypeStruct((1, 4), jnp.int32)
    params, _ = initialise(model, jax.random.key(2), row, row)
    source = hub.Source(
        # Far apart, so that what was read decides what follows.
        params={path: 4 * np.asarray(value) for path, value in params.items()},
        collections={},
        body=bodies.describe(body),
        head=heads.describe(model.head),
        facts=TextFacts(vocab_size=size, pad=0, special=special, backward=backward),
        provenance=provenance or {},
        files=files,
    )
    hub.save_model(folder, source)
    return str(folder)


TEXTS = ("The cat", "a dog sat on the mat", "under")


def test_texts_go_on_in_words_whatever_the_batches(gpt):
    made = list(generate(gpt, TEXTS, Options(steps=6)))
    assert [m.given for m in made] == list(TEXTS)
    for m in made:
        assert m.goes_on
        assert m.whole.startswith(m.given)
        # An end may come at once.
        assert not m.text or m.text.startswith(" ")
        words = m.text.split()
        assert set(words) <= set(WORDS[3:])
        assert m.ended == (m.tokens < 6 or len(words) < 6)
    again = list(generate(gpt, TEXTS, Options(steps=6), batch_size=2))
    assert [m.text for m in again] == [m.text for m in made]
    assert any(m.text for m in made)
    assert [m.score for m in again] == pytest.approx([m.score for m in made], rel=1e-5)


def test_draws_depend_on_the_seed_and_on_nothing_else(gpt):
    options = Options(method="sample", steps=6, temperature=5.0, returned=2)
    made = [m.text for m in generate(gpt, TEXTS, options, seed=3)]
    assert len(made) == 6
    assert made == [m.text for m in generate(gpt, TEXTS, options, seed=3, batch_size=2)]
    assert made != [m.text for m in generate(gpt, TEXTS, options, seed=4)]


def test_long_texts_lose_their_beginning_and_empty_ones_are_begun(gpt, tmp_path):
    said = []
    long = " ".join(["cat dog"] * 20)
    options = Options(steps=6)
    made = list(generate(gpt, ["", long, "cat dog " * 5 + "cat"], options, say=said.append))
    assert said == ["1 of 3 texts lose their beginning: there is room for 11 tokens"]
    short = next(iter(generate(gpt, ["dog " + "cat dog " * 5], options)))
    assert made[1].text == short.text
    assert made[0].text
    bare = folder(tmp_path / "bare", GPT)
    with pytest.raises(DataError, match=r"texts 2 have no tokens.*bos, eos"):
        list(generate(bare, ["cat", " "], options))


def test_an_encoder_decoder_writes_a_text_of_its_own(tmp_path):
    spec = folder(tmp_path / "t5", T5, eos_token="</s>")
    made = list(generate(spec, TEXTS[:2], Options(method="beam", beams=2, returned=2, steps=4)))
    assert [m.given for m in made] == [TEXTS[0]] * 2 + [TEXTS[1]] * 2
    assert all(m.whole == m.text and not m.goes_on for m in made)
    assert made[0].score >= made[1].score


def turned(text):
    return " ".join(reversed(text.split()))


METHODS = {
    "greedy": Options(steps=5),
    "sample": Options(method="sample", steps=5, temperature=2.0, returned=2),
    "beam": Options(method="beam", beams=2, returned=2, steps=5),
}


@pytest.mark.parametrize("method", METHODS)
def test_a_backward_model_writes_what_comes_before(tmp_path, method):
    backward = recurrent(tmp_path / "backward", backward=True)
    forward = recurrent(tmp_path / "forward", backward=False)
    made = list(generate(backward, TEXTS, METHODS[method], seed=3))
    other = list(generate(forward, [turned(text) for text in TEXTS], METHODS[method], seed=3))
    for one, mirrored in zip(made, other, strict=True):
        assert one.text.split() == turned(mirrored.text).split()
        assert (one.tokens, one.ended) == (mirrored.tokens, mirrored.ended)
        assert one.score == pytest.approx(mirrored.score)
        assert one.before
        assert one.whole == one.text + one.given
        assert not one.text or one.text.endswith(" ")
    assert any(one.text for one in made)


def test_a_backward_model_is_given_what_stands_in_its_rows(tmp_path):
    """Words from the last to the first, and one mark between texts: no [CLS], [SEP] behind each."""
    spec = recurrent(tmp_path / "pieces", backward=True, files=word_texts.FILES)
    words, loaded = word_texts.tokenizer(), load(spec)
    cls, sep = words.token("cls"), words.token("sep")
    own = words.encode(["a cat sat"]).ids
    assert (own[0], own[-1]) == (cls, sep)
    options = Options(steps=6, ends=(sep,))
    for text, row in (("a cat sat", own[1:-1][::-1].copy()), ("", np.array([sep], np.int32))):
        found = make(loaded.model, loaded.params, row[None], np.ones_like(row[None]), options)
        (made,) = generate(spec, [text], Options(steps=6))
        length = int(found.lengths[0, 0])
        assert (made.tokens, made.score) == (length, pytest.approx(float(found.scores[0, 0])))
        assert made.ended == (int(found.tokens[0, 0, length - 1]) == sep)


@pytest.mark.parametrize(
    ("form", "backward"),
    [("streams", False), ("streams", True), ("packed", False), ("auto", False)],
)
def test_a_run_is_given_texts_as_its_rows_held_them(tmp_path, form, backward):
    """Behind what stood before a document, and with nothing else that a tokenizer puts around."""
    folder = tmp_path / "corpus.txt"
    folder.write_text("the cat sat\na dog ran on\n" * 4)
    made = train_tokenizer(open_corpus(f"lines:{folder}"), "word", 30)
    asked = ObjectiveConfig(
        objective="next_tokens", rows=form, direction="backward" if backward else "forward"
    )
    config = to_json(RunConfig(data=DataConfig(data="any"), objective=asked))
    spec = recurrent(
        tmp_path / "model",
        backward=backward,
        files=made.files,
        special=made.special,
        provenance={"config": config},
    )
    loaded, options = load(spec), Options(steps=5, ends=(made.token("eos"),))
    # Of the batches of such a run: a document, and the token before it.
    store = build_store(open_corpus(f"lines:{folder}"), made, tmp_path / "stores")
    rows = Rows(
        objective="next_tokens",
        length=32,
        form=form.replace("auto", "streams"),
        backward=backward,
        marks=dict(made.special),
    )
    read = rows.batches(store, 1, seed=0, shuffle=False).at(0)["tokens"][0]
    first = 0 if form == "packed" else len(store.document(0)) + 1
    text = "a dog ran on" if first else "the cat sat"
    begin = first - 1 if first else 0
    row = read[begin : begin + 1 + len(text.split())].copy()
    assert row[0] == made.token("bos" if form == "packed" else "eos")
    found = make(loaded.model, loaded.params, row[None], np.ones_like(row[None]), options)
    (one,) = generate(spec, [text], Options(steps=5))
    assert (one.tokens, one.score) == (
        int(found.lengths[0, 0]),
        pytest.approx(float(found.scores[0, 0])),
    )
    empty = row[:1]
    found = make(loaded.model, loaded.params, empty[None], np.ones_like(empty[None]), options)
    (one,) = generate(spec, [""], Options(steps=5))
    assert one.score == pytest.approx(float(found.scores[0, 0]))


def test_what_ended_documents_ends_texts_and_where_nothing_does_it_is_said(tmp_path):
    """Rows end with sep where there is no eos (`Rows.ending`); so do texts."""
    said = []
    spec = recurrent(tmp_path / "pieces", backward=False, files=word_texts.FILES)
    sep = word_texts.tokenizer().token("sep")
    options = Options(method="sample", steps=40, returned=8, temperature=5.0)
    made = list(generate(spec, ["a cat"], options, seed=1, say=said.append))
    named = dataclasses.replace(options, ends=(sep,))
    again = list(generate(spec, ["a cat"], named, seed=1))
    assert [one.ended for one in made] == [one.ended for one in again]
    assert any(one.ended for one in made)
    assert not said
    nothing = {"special_tokens_map.json": b"{}", "tokenizer_config.json": b"{}"}
    files = word_tokenizer(WORDS[:2] + WORDS[3:], lowercase=True) | nothing
    bare = recurrent(tmp_path / "bare", backward=False, files=files, special=(("unk", 1),))
    list(generate(bare, ["cat"], Options(steps=2), say=said.append))
    (told,) = said
    assert "no token that ends texts (eos, sep): each goes on for 2 tokens" in told


def test_a_backward_model_that_cannot_go_on_before_a_text_is_refused(tmp_path):
    spec = folder(tmp_path / "t5", T5, eos_token="</s>")
    source = hub.load(spec)
    facts = dataclasses.replace(source.facts, backward=True)
    hub.save_model(tmp_path / "turned", dataclasses.replace(source, facts=facts))
    with pytest.raises(ValueError, match="reads texts backward, and an encoder-decoder"):
        list(generate(str(tmp_path / "turned"), TEXTS, Options(steps=2)))
    nothing = {"special_tokens_map.json": b"{}", "tokenizer_config.json": b"{}"}
    bare = recurrent(
        tmp_path / "bare",
        backward=True,
        files=word_tokenizer(WORDS[:2] + WORDS[3:], lowercase=True) | nothing,
        special=(("unk", 1),),
    )
    with pytest.raises(DataError, match=r"texts 2 have no tokens.*eos, sep"):
        list(generate(bare, ["cat", ""], Options(steps=2)))


def test_the_verb_writes_texts_and_files(gpt, tmp_path, capsys):
    assert main(["generate", gpt, "--text", "the cat", "a dog", "--steps", "3"]) == 0
    shown = capsys.readouterr().out.strip("\n").split("\n\n")
    assert len(shown) == 2
    assert shown[0].startswith("the cat ")
    (tmp_path / "texts.txt").write_text("the cat\n\na dog\n")
    out = tmp_path / "deep" / "made.jsonl"
    args = ["generate", gpt, "--lines", str(tmp_path / "texts.txt"), "--steps", "3"]
    assert main([*args, "--out", str(out), "--method", "beam", "--returned", "2"]) == 0
    assert capsys.readouterr().out == f"{out}: 4 texts\n"
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [r["given"] for r in records] == ["the cat", "the cat", "a dog", "a dog"]
    assert records[0]["score"] >= records[1]["score"]


def test_the_verb_refuses_what_cannot_be(gpt, tmp_path, capsys):
    assert main(["generate", gpt]) == 2
    assert "--lines" in capsys.readouterr().err
    assert main(["generate", gpt, "--text", "cat", "--temperature", "0.5", "--steps", "0"]) == 2
    told = capsys.readouterr().err
    assert "temperature is for method='sample', not for 'greedy'" in told
    assert "steps must be at least 1" in told
    assert main(["generate", gpt, "--text", "cat", "--steps", "40"]) == 1
    assert "at most 16 steps" in capsys.readouterr().err
