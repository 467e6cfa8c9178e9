"""Learning from corpora: every objective through the library, small; carried states; replay."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies, heads
from tlearn.bodies.facts import TextFacts
from tlearn.data.corpus_opening import open_corpus
from tlearn.data.errors import DataError
from tlearn.data.joined_store import with_replay
from tlearn.data.token_store import build_store
from tlearn.data.tokenizer_training import train_tokenizer
from tlearn.model import initialise
from tlearn.replaced import joined
from tlearn.tasks.language import LanguageTask, goal_of, head_of
from tlearn.tasks.row_making import OBJECTIVES, Rows, sentinels_of
from tlearn.train.evaluate import evaluate, make_eval_step
from tlearn.train.schedules import Constant
from tlearn.train.state import SourceWeights, init
from tlearn.train.step import Recipe, compile_step, make_step
from tlearn.transfer.optimizer import adamw
from tlearn.transfer.plan import plan
from tlearn.transfer.strategy import Strategy

SIZES = {"width": 8, "depth": 1, "heads": 2, "feed_forward": 16, "dropout": 0.0}
BODIES = {
    "next_tokens": ("awd_lstm", {"width": 8, "hidden": 8, "depth": 1, "dropout_scale": 0.0}),
    "masked_tokens": ("bert", {**SIZES, "positions": 32, "pooling": "first"}),
    "next_sentence": ("bert", {**SIZES, "positions": 32}),
    "sentence_order": ("albert", {**SIZES, "positions": 32, "embedding_width": 4}),
    "replaced_tokens": ("bert", {**SIZES, "positions": 32, "pooling": "first"}),
    "span_corruption": ("t5", {**SIZES, "decoder_depth": 1, "head_size": 4}),
    "prefix_lm": ("t5", {**SIZES, "decoder_depth": 1, "head_size": 4}),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    words = "the cat sat on a mat and then it ran home . So did we .".split()
    rng = np.random.default_rng(0)
    texts = [
        "\n".join(" ".join(rng.choice(words, 9)) for _ in range(rng.integers(3, 9)))
        for _ in range(30)
    ]
    (folder / "corpus.txt").write_text("\n\n".join(texts))
    return folder


@pytest.fixture(scope="module")
def tokenizers(corpus):
    found = open_corpus(f"blank:{corpus / 'corpus.txt'}")
    return {
        "wordpiece": train_tokenizer(found, "wordpiece", 60),
        "unigram": train_tokenizer(found, "unigram", 60, sentinels=10),
        "word": train_tokenizer(found, "word", 40),
    }


def made(objective, corpus, tokenizers):
    """The task of an objective, and a model for it."""
    kind = {"next_tokens": "word", "span_corruption": "unigram", "prefix_lm": "unigram"}
    tokenizer = tokenizers[kind.get(objective, "wordpiece")]
    store = build_store(open_corpus(f"blank:{corpus / 'corpus.txt'}"), tokenizer, corpus / "stores")
    family, fields = BODIES[objective]
    body = bodies.create(family, vocab_size=tokenizer.size, **fields)
    rows = Rows(
        objective=objective,
        length=16,
        form="streams",
        marks=dict(tokenizer.special),
        sentinels=sentinels_of(tokenizer),
    )
    head = head_of(objective, body, penalised=True, generator=0.5)
    task = LanguageTask(
        train=store,
        validation=None,
        test=None,
        facts=TextFacts(vocab_size=tokenizer.size),
        tokenizer=tokenizer,
        rows=rows,
        goal=goal_of(objective, activation_penalty=1.0, change_penalty=1.0),
        head=head,
    )
    return task, joined(body, heads.build(head))


def started(task, model, batch_size, seed=0):
    inputs = [task.example[name] for name in model.body.inputs]
    params, collections = initialise(model, jax.random.key(seed), *inputs)
    rows = plan(params, Strategy(), layers=model.body.layer_names)
    recipe = Recipe(optimizer=adamw(1e-2, Constant()))
    carry = model.body.initial_carry(batch_size) if task.streams else None
    state = init(
        rows,
        params,
        collections,
        recipe.optimizer,
        total=100,
        key=jax.random.key(seed),
        carry=carry,
    )
    return state, compile_step(make_step(model, rows, task.objective, recipe))


def scored(task, model, state, batch_size=4):
    batches = task.eval_batches(task.train, batch_size)
    return evaluate(
        make_eval_step(model, task.objective, task.kept),
        state.params,
        state.collections,
        batches,
        expected=batches.examples_per_epoch,
        unit=task.unit,
        carry=model.body.initial_carry(batch_size) if task.streams else None,
    )


COSTLY = ("sentence_order", "prefix_lm")
"""What differs from another objective in its data alone."""


@pytest.mark.parametrize(
    "objective",
    [pytest.param(o, marks=pytest.mark.slow) if o in COSTLY else o for o in OBJECTIVES],
)
def test_every_objective_learns_through_the_same_step(objective, corpus, tokenizers):
    task, model = made(objective, corpus, tokenizers)
    state, step = started(task, model, 4)
    before = scored(task, model, state).metrics
    batches = task.train_batches(4, seed=1)
    for at in range(30):
        batch = {name: jnp.asarray(value) for name, value in batches.at(at).items()}
        state, log = step(state, batch, SourceWeights())
        assert bool(log["finite"])
    after = scored(task, model, state)
    # Words are drawn evenly: of what follows a word there is a tenth of a nat to learn in all.
    least = 0.05 if objective == "next_tokens" else 0.1
    assert after.metrics["loss"] < before["loss"] - least
    assert after.predictions.shape == (after.count, 3)


def test_perplexity_is_that_of_all_targets_whatever_the_batches(corpus, tokenizers):
    task, model = made("next_tokens", corpus, tokenizers)
    state, _ = started(task, model, 4)
    found = scored(task, model, state)
    loss, count, _ = found.predictions.astype(np.float64).sum(0)
    assert count == sum(len(task.train.document(i)) + 1 for i in range(len(task.train))) - 1
    perplexity = task.metrics(found.predictions, found.labels)["perplexity"]
    assert perplexity == pytest.approx(np.exp(loss / count), rel=1e-6)
    assert found.metrics["loss"] == pytest.approx(loss / count, rel=1e-5)


def test_a_stream_read_in_pieces_scores_as_one_read_at_once(corpus, tokenizers):
    """The state carried from batch to batch is the state of the text before."""
    task, model = made("next_tokens", corpus, tokenizers)
    state, _ = started(task, model, 1)
    short = scored(task, model, state, 1)
    long_rows = dataclasses.replace(task.rows, length=64)
    whole = scored(dataclasses.replace(task, rows=long_rows), model, state, 1)
    assert whole.count < short.count
    assert whole.metrics["loss"] == pytest.approx(short.metrics["loss"], rel=1e-5)

    class Forgetful:
        steps_per_epoch = task.eval_batches(task.train, 1).steps_per_epoch

        @staticmethod
        def at(step):
            batch = task.eval_batches(task.train, 1).at(step)
            return {**batch, "continues": np.zeros_like(batch["continues"])}

    forgetful = evaluate(
        make_eval_step(model, task.objective, task.kept),
        state.params,
        state.collections,
        Forgetful(),
        expected=short.count,
        unit=task.unit,
        carry=model.body.initial_carry(1),
    )
    assert abs(forgetful.metrics["loss"] - short.metrics["loss"]) > 1e-5


def test_a_step_hands_its_state_on_and_a_new_stream_begins_without(corpus, tokenizers):
    task, model = made("next_tokens", corpus, tokenizers)
    state, step = started(task, model, 4)
    batches = task.train_batches(4, seed=0)
    first = {name: jnp.asarray(value) for name, value in batches.at(0).items()}
    after, _ = step(state, first, SourceWeights())
    moved = jax.tree.map(lambda x: float(jnp.abs(x).max()), after.carry)
    assert all(value > 0 for value in jax.tree.leaves(moved))
    again = dict(batches.at(1))
    assert again["continues"].min() == 1
    anew = {**again, "continues": np.zeros_like(again["continues"])}
    kept = jax.tree.map(jnp.copy, after)
    _, going = step(after, {k: jnp.asarray(v) for k, v in again.items()}, SourceWeights())
    _, begun = step(kept, {k: jnp.asarray(v) for k, v in anew.items()}, SourceWeights())
    assert float(going["loss"]) != float(begun["loss"])


def test_replay_adds_documents_until_they_make_the_share(corpus, tokenizers):
    task, _ = made("masked_tokens", corpus, tokenizers)
    first, other = task.train.part(np.arange(15)), task.train.part(np.arange(15, 30))
    both = with_replay(first, other, 0.25, seed=3)
    added = len(both.tokens) - len(first.tokens)
    longest = max(len(other.document(i)) for i in range(len(other)))
    assert 0 <= added - len(first.tokens) / 3 <= longest
    for i in range(len(first)):
        np.testing.assert_array_equal(both.document(i), first.document(i))
    theirs = {tuple(other.document(i)) for i in range(len(other))}
    assert all(tuple(both.document(i)) in theirs for i in range(len(first), len(both)))
    begins = np.asarray(both.sentences[:])
    assert set(np.asarray(both.starts[:-1])) <= set(begins)
    assert with_replay(first, other, 0.25, seed=3).digest == both.digest
    with pytest.raises(DataError, match="different tokenizers"):
        with_replay(first, dataclasses.replace(other, how="another"), 0.25, seed=0)
