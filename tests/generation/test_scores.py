"""What is done to scores before a token is chosen, against numpy and against transformers.

Tried with the breaks: `>` for `>=` in the search for the least key, the nucleus taken over all
tokens instead of the ``top_k``, padding counted as text; each fails here.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tlearn.generation.options import Options
from tlearn.generation.scores import (
    History,
    adjusted,
    allowed,
    chances,
    draw,
    penalise_repetition,
    repeats,
)

ROWS, VOCABULARY = 5, 23


def logits(seed=0, scale=2.0):
    return (np.random.default_rng(seed).normal(size=(ROWS, VOCABULARY)) * scale).astype(np.float32)


def reference(scores, top_k, top_p):
    """The sets by sorting, in float64."""
    kept = np.zeros(scores.shape, bool)
    for row, values in enumerate(scores.astype(np.float64)):
        order = np.argsort(-values, kind="stable")
        order = order[: top_k or len(order)]
        weights = np.exp(values[order] - values.max())
        before = np.cumsum(weights / weights.sum()) - weights / weights.sum()
        kept[row, order[before < top_p]] = True
    return kept


sets = jax.jit(allowed)


@pytest.mark.parametrize("top_k", [0, 1, 2, 7, VOCABULARY, 100])
@pytest.mark.parametrize("top_p", [1e-6, 0.3, 0.9, 0.999, 1.0])
def test_draws_are_among_exactly_the_right_tokens(top_k, top_p):
    for seed in range(4):
        scores = logits(seed)
        found = np.asarray(sets(scores, jnp.asarray(top_k), jnp.asarray(top_p, jnp.float32)))
        np.testing.assert_array_equal(found, reference(scores, top_k, top_p))
        assert found.any(1).all()


def test_tokens_as_likely_as_the_last_are_in_and_those_banned_are_not_drawn():
    scores = np.array([[1.0, 3.0, 1.0, 0.0, -0.0, -np.inf]], np.float32)
    found = sets(scores, jnp.asarray(2), jnp.asarray(1.0))
    assert np.asarray(found).tolist() == [[True, True, True, False, False, False]]
    found = sets(scores, jnp.asarray(4), jnp.asarray(1.0))
    assert np.asarray(found).tolist() == [[True, True, True, True, True, False]]
    options = Options(method="sample", top_k=6)
    assert chances(jnp.asarray(scores), options, options.numbers)[0, 5] == 0


def test_temperature_divides_before_the_nucleus_is_found():
    scores = logits(2)
    options = Options(method="sample", temperature=3.0, top_p=0.6)
    found = np.asarray(chances(jnp.asarray(scores), options, options.numbers))
    kept = reference(scores / np.float32(3.0), 0, 0.6)
    wanted = np.where(kept, np.exp(scores.astype(np.float64) / 3.0), 0)
    np.testing.assert_allclose(found, wanted / wanted.sum(1, keepdims=True), rtol=2e-6)
    cold = Options(method="sample", temperature=0.0)
    likeliest = chances(jnp.asarray(scores), cold, cold.numbers)
    np.testing.assert_array_equal(likeliest, np.eye(VOCABULARY)[scores.argmax(1)])


def test_draws_come_as_often_as_their_chances():
    options = Options(method="sample", temperature=1.3, top_k=12)
    distribution = chances(jnp.asarray(logits(3, 1.0)[:1]), options, options.numbers)
    count = 40_000
    uniform = jax.random.uniform(jax.random.key(1), (count,))
    tokens = np.asarray(draw(jnp.broadcast_to(distribution, (count, VOCABULARY)), uniform))
    chance = np.asarray(distribution[0], np.float64)
    counts = np.bincount(tokens, minlength=VOCABULARY)
    assert counts[chance == 0].sum() == 0
    real = chance > 0
    assert real.sum() == 12
    wanted = chance[real] / chance[real].sum() * count
    assert stats.chisquare(counts[real], wanted).pvalue > 1e-3


def test_the_ends_of_the_unit_interval_draw_tokens_that_can_be_drawn():
    distribution = jnp.array([[0.0, 0.5, 0.0, 0.5, 0.0]] * 3)
    uniform = jnp.array([0.0, 0.5, 1 - 2.0**-24])
    assert draw(distribution, uniform).tolist() == [1, 3, 3]


def history(side="left"):
    """Two texts of a small vocabulary, so that they repeat themselves."""
    tokens = np.array([[0, 0, 5, 6, 7, 5, 6, 3, 5, 6], [4, 4, 4, 1, 2, 1, 2, 9, 9, 1]], np.int32)
    segments = np.ones_like(tokens)
    segments[0, :2] = 0
    if side == "right":
        tokens[0], segments[0] = np.roll(tokens[0], -2), np.roll(segments[0], -2)
    return History.of(jnp.asarray(tokens), jnp.asarray(segments), 3)


@pytest.mark.parametrize("side", ["left", "right"])
def test_texts_stand_on_the_left_whatever_their_padding(side):
    found = history(side)
    assert found.lengths.tolist() == [8, 10]
    assert found.tokens[0, :8].tolist() == [5, 6, 7, 5, 6, 3, 5, 6]
    longer = found.then(jnp.array([8, 2]))
    assert longer.lengths.tolist() == [9, 11]
    assert longer.tokens[0, 8] == 8
    assert longer.tokens[1, 10] == 2


def test_what_would_repeat_is_found():
    found = history()
    by_hand = {
        1: ({3, 5, 6, 7}, {1, 2, 4, 9}),
        2: ({7, 3}, {2}),
        3: ({7, 3}, set()),
        4: (set(), set()),
        20: (set(), set()),
    }
    for size, wanted in by_hand.items():
        banned = np.asarray(repeats(found, size, VOCABULARY))
        assert tuple(set(np.flatnonzero(row).tolist()) for row in banned) == wanted, size


def test_repetition_is_penalised_on_both_sides_of_zero():
    scores = logits(5)
    found = np.asarray(penalise_repetition(jnp.asarray(scores[:2]), history(), jnp.asarray(1.5)))
    for row, there in enumerate([{3, 5, 6, 7}, {1, 2, 4, 9}]):
        for token, score in enumerate(scores[row]):
            factor = 1 if token not in there else 1.5 if score < 0 else 1 / 1.5
            assert found[row, token] == pytest.approx(score * factor, rel=1e-6)


@pytest.mark.torch
def test_the_processors_are_those_of_transformers():
    torch = pytest.importorskip("torch")
    from transformers.generation import logits_process as theirs

    found = history()
    ids = torch.tensor(np.asarray(found.tokens[1:, :10]), dtype=torch.long)
    scores = logits(6)[:2]
    given = torch.tensor(scores[1:])
    options = Options(steps=3, ends=(8, 9), min_steps=2, repetition_penalty=1.4, no_repeat_ngram=2)
    wanted = theirs.RepetitionPenaltyLogitsProcessor(1.4)(ids, given)
    wanted = theirs.NoRepeatNGramLogitsProcessor(2)(ids, wanted)
    least = theirs.MinNewTokensLengthLogitsProcessor(9, 2, [8, 9])
    for made, processed in ((1, least(ids, wanted)), (2, wanted)):
        ours = adjusted(
            jnp.asarray(scores), found, jnp.asarray(made), options.program, options.numbers
        )
        np.testing.assert_allclose(ours[1:], processed.numpy(), rtol=1e-6)
    kept = theirs.TopPLogitsWarper(0.7)(ids, theirs.TopKLogitsWarper(9)(ids, given))
    ours = sets(scores, jnp.asarray(9), jnp.asarray(0.7))
    np.testing.assert_array_equal(ours[1:], np.isfinite(kept.numpy()))
