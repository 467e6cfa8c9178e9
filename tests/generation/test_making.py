"""Beam search and sampling, over every family that decodes.

Tried with the breaks: keys and values left with the beam that wrote them, all beams starting
alike, a row's key taken from its place in the batch, a step's key used twice, the share of ended
texts not stopped; each fails here.
"""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
from scipy import stats
from small_decoders import FAMILIES, drawn, log_likelihood, reader, texts

from tlearn.generation import Options, generate
from tlearn.generation.making import _generate

STEPS = 5


def beams(**changes):
    return Options(**{"method": "beam", "steps": STEPS, "beams": 3, "returned": 3} | changes)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_of_a_beam_is_as_likely_as_it_is_said_to_be(family):
    model, params = drawn(family)
    tokens, segments = texts(side="right")
    found = generate(model, params, tokens, segments, beams(length_penalty=0.7))
    assert found.tokens.shape == (3, 3, STEPS)
    sums = np.asarray(found.scores) * STEPS**0.7
    assert (np.diff(sums, axis=1) <= 0).all()
    for place in range(3):
        made = np.asarray(found.tokens[:, place])
        wanted = log_likelihood(family, tokens, segments, made, [STEPS] * 3)
        np.testing.assert_allclose(sums[:, place], wanted, rtol=1e-5)
    # No two are the same.
    assert all(len({tuple(text) for text in row}) == 3 for row in np.asarray(found.tokens))


@pytest.mark.parametrize("family", ["gpt", "lstm"])
def test_a_draw_is_as_likely_as_it_is_said_to_be_whatever_it_was_drawn_by(family):
    model, params = drawn(family)
    tokens, segments = texts(side="right")
    options = Options(
        method="sample",
        steps=STEPS,
        returned=2,
        ends=(3, 4, 5, 6, 7),
        pad=29,
        temperature=5.0,
        top_k=20,
    )
    found = generate(model, params, tokens, segments, options, key=jax.random.key(4))
    lengths = np.asarray(found.lengths)
    assert len(set(lengths.ravel().tolist())) > 1
    for copy in range(2):
        made = np.asarray(found.tokens[:, copy])
        wanted = log_likelihood(family, tokens, segments, made, lengths[:, copy])
        np.testing.assert_allclose(found.scores[:, copy], wanted, rtol=1e-5)
        for row, length in zip(made, lengths[:, copy], strict=True):
            assert (row[length:] == 29).all()
            assert not np.isin(row[: length - 1], options.ends).any()
            assert length == STEPS or row[length - 1] in options.ends
    left = generate(model, params, *texts(side="left"), options, key=jax.random.key(4))
    np.testing.assert_array_equal(left.tokens, found.tokens)


def test_one_beam_is_greedy_and_so_is_a_cold_draw():
    model, params = drawn("gpt")
    given = texts()
    wanted = generate(model, params, *given, Options(steps=STEPS))
    one = generate(model, params, *given, beams(beams=1, returned=1, length_penalty=0.0))
    np.testing.assert_array_equal(one.tokens, wanted.tokens)
    np.testing.assert_allclose(one.scores, wanted.scores, rtol=1e-5)
    for temperature in (0.0, 1e-4):
        options = Options(method="sample", steps=STEPS, temperature=temperature)
        cold = generate(model, params, *given, options, key=jax.random.key(0))
        np.testing.assert_array_equal(cold.tokens, wanted.tokens)


def every_text(prefix, ends, vocabulary, steps):
    """All that can be made: texts that end, or are as long as can be."""
    for length in range(1, steps + 1):
        for made in itertools.product(range(vocabulary), repeat=length):
            inner = not any(token in ends for token in made[:-1])
            if inner and (length == steps or made[-1] in ends):
                yield prefix, made


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_wide_search_finds_the_best_of_all_texts(penalty):
    vocabulary, steps, end = 5, 3, 4
    model, params = drawn("gpt", vocabulary)
    tokens, segments = texts((2, 4), side="right", vocab_size=vocabulary)
    options = beams(
        steps=steps,
        beams=25,
        returned=6,
        ends=(end,),
        length_penalty=penalty,
        early_stopping="never",
    )
    found = generate(model, params, tokens, segments, options)
    for row in range(2):
        all_made = [made for _, made in every_text(row, (end,), vocabulary, steps)]
        assert len(all_made) == 1 + 4 + 80
        lengths = np.array([len(made) for made in all_made])
        padded = np.array([[*made, *[0] * (steps - len(made))] for made in all_made])
        given = (np.repeat(x[row : row + 1], len(padded), 0) for x in (tokens, segments))
        scores = log_likelihood("gpt", *given, padded, lengths, vocabulary) / lengths**penalty
        best = np.argsort(-scores)[:6]
        np.testing.assert_allclose(found.scores[row], scores[best], rtol=1e-5)
        np.testing.assert_array_equal(found.tokens[row], padded[best])
        np.testing.assert_array_equal(found.lengths[row], lengths[best])


def test_a_row_is_made_alike_alone_and_among_others():
    model, params = drawn("gpt")
    tokens, segments = texts()
    options = Options(method="sample", steps=STEPS, returned=2, temperature=5.0)
    key = jax.random.key(7)
    whole = generate(model, params, tokens, segments, options, key=key, rows=np.array([4, 9, 2]))
    for row, number in enumerate((4, 9, 2)):
        part = slice(row, row + 1)
        alone = generate(
            model, params, tokens[part], segments[part], options, key=key, rows=np.array([number])
        )
        np.testing.assert_array_equal(alone.tokens[0], whole.tokens[row])
    other = generate(model, params, tokens, segments, options, key=jax.random.key(8))
    assert (np.asarray(other.tokens) != whole.tokens).any()
    # Neither two texts of a row nor two rows of one text share their draws.
    same = generate(model, params, tokens[[0, 0, 0]], segments[[0, 0, 0]], options, key=key)
    assert len({tuple(text) for text in np.asarray(same.tokens).reshape(6, STEPS)}) == 6


def test_first_and_second_tokens_come_as_often_as_the_model_says():
    model, params = drawn("gpt", 5)
    tokens, segments = texts((3,), side="right", vocab_size=5)
    copies = 4000
    options = Options(method="sample", steps=2, returned=copies, temperature=1.5)
    found = generate(model, params, tokens, segments, options, key=jax.random.key(2))
    made = np.asarray(found.tokens[0])
    whole = np.pad(np.repeat(tokens, 5, 0), ((0, 0), (0, 2)))
    whole[:, 3] = np.arange(5)
    real = (np.arange(whole.shape[1])[None] < 4) * np.ones((5, 1), np.int32)
    log_chances = np.asarray(reader("gpt", 5)(whole, real.astype(np.int32)), np.float64)

    def hot(values):
        weights = np.exp(values / 1.5)
        return weights / weights.sum(-1, keepdims=True)

    joint = hot(log_chances[0, 2])[:, None] * hot(log_chances[:, 3])
    counts = np.zeros((5, 5))
    np.add.at(counts, (made[:, 0], made[:, 1]), 1)
    often = joint.ravel() * copies >= 5
    observed = [*counts.ravel()[often], counts.ravel()[~often].sum()]
    expected = [*joint.ravel()[often] * copies, max(joint.ravel()[~often].sum() * copies, 1e-9)]
    expected = np.array(expected) * copies / np.sum(expected)
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_trying_other_numbers_compiles_nothing():
    model, params = drawn("gpt")
    given, key = texts(), jax.random.key(0)
    start = Options(method="sample", steps=STEPS, top_k=5, repetition_penalty=1.2, min_steps=2)
    generate(model, params, *given, start, key=key)
    before = _generate._cache_size()
    made = set()
    for changes in (
        {"temperature": 0.2},
        {"temperature": 4.0, "top_k": 20},
        {"top_p": 0.8, "top_k": 0},
        {"repetition_penalty": 2.5},
        {"min_steps": 4},
    ):
        options = dataclasses.replace(start, **changes)
        found = generate(model, params, *given, options, key=key)
        made.add(np.asarray(found.tokens).tobytes())
    assert _generate._cache_size() == before
    assert len(made) > 2


def test_no_text_ends_early_and_no_pair_occurs_twice():
    model, params = drawn("gpt")
    ends = tuple(range(15))
    options = beams(ends=ends, min_steps=4, no_repeat_ngram=2)
    found = generate(model, params, *texts(), options)
    assert int(found.lengths.min()) >= 4
    tokens, segments = texts(side="right")
    for row, length in enumerate(segments.sum(1)):
        for made, count in zip(found.tokens[row], found.lengths[row], strict=True):
            whole = [*tokens[row, :length], *np.asarray(made[: int(count)])]
            pairs = list(itertools.pairwise(map(int, whole)))
            assert len(set(pairs)) == len(pairs)


def test_options_that_make_no_sense_are_refused_all_at_once():
    model, params = drawn("gpt")
    options = Options(
        method="beem", steps=2, min_steps=3, temperature=-1.0, top_p=0.0, repetition_penalty=0.0
    )
    with pytest.raises(
        ValueError,
        match=r"'beem'; did you mean 'beam'\?.*min_steps=3 is more than steps=2.*"
        r"repetition_penalty must be positive.*temperature must be at least 0.*top_p is a share",
    ):
        generate(model, params, *texts(), options)
    with pytest.raises(ValueError, match=r"early_stopping is.*2 beams cannot return 3"):
        generate(model, params, *texts(), beams(beams=2, early_stopping="soon"))
    with pytest.raises(ValueError, match=r"greedy makes one text.*not returned=2"):
        generate(model, params, *texts(), Options(returned=2))
    with pytest.raises(ValueError, match="draws need a key"):
        generate(model, params, *texts(), Options(method="sample"))
    small, all_tokens = drawn("gpt", 5), beams(ends=(0, 1, 2, 3, 4))
    with pytest.raises(ValueError, match="a beam search with 5 ends needs more than 5 tokens"):
        generate(*small, *texts(vocab_size=5), all_tokens)
