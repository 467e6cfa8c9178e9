"""Masking: the published shares at 1e6 tokens, units whole, n-grams as p(n) ∝ 1/n, by hand.

Breaks tried: 80/10/10 as 80/20/0; the same draw for a token's choice and its fate; units that
exceed the row's number; runs that reach over a text's end; words that begin only where words begin.
"""

import numpy as np
import pytest
from scipy import stats

from tests.stores import FIRST
from tlearn.data import DataError
from tlearn.data.masked_units import run_lengths
from tlearn.data.masking import Masking, corrupt
from tlearn.data.streams import draws

MASK = 4


def bits(rows, masking, length, seed=0):
    return draws(seed, "masking", masking.draws(length), 0, np.arange(rows))


def run(tokens, segments=None, masking=None, *, seed=0, vocabulary=60, begins=None):
    masking = Masking() if masking is None else masking
    tokens = np.asarray(tokens, np.int32)
    segments = np.ones_like(tokens) if segments is None else np.asarray(segments, np.int32)
    return corrupt(
        tokens,
        segments,
        bits(len(tokens), masking, tokens.shape[1], seed),
        masking,
        mask_token=MASK,
        ordinary=np.arange(FIRST, vocabulary, dtype=np.int32),
        begins=begins,
    )


def flags(made, width):
    """Where each row predicts: bool [b t]."""
    out = np.zeros((len(made.places), width + 1), bool)
    row = np.arange(len(out))[:, None]
    out[row, np.where(made.targets >= 0, made.places, width)] = True
    return out[:, :width]


@pytest.fixture(scope="module")
def large():
    """1,048,576 tokens in rows of 128."""
    return np.random.default_rng(0).integers(FIRST, 60, (8192, 128)).astype(np.int32)


@pytest.mark.parametrize("unit", ["token", "ngram"])
def test_published_shares_at_a_million_tokens(large, unit):
    made = run(large, masking=Masking(unit=unit))
    # 15 % of 128 is 19.2: 19 in every row, and single words always fill a row's number up.
    assert ((made.targets >= 0).sum(1) == 19).all()
    row = np.arange(len(large))[:, None]
    old, new = large[row, made.places].ravel(), made.tokens[row, made.places].ravel()
    assert np.array_equal(old, made.targets.ravel())
    masked, same = new == MASK, new == old
    seen = [masked.sum(), (~masked & ~same).sum(), same.sum()]
    kinds = 60 - FIRST
    share = np.array([0.8, 0.1 * (1 - 1 / kinds), 0.1 + 0.1 / kinds])
    assert stats.chisquare(seen, share * len(old)).pvalue > 0.01
    # Replacements are even over the ordinary tokens, whatever stood there.
    found = np.bincount(new[~masked & ~same], minlength=60)
    assert not found[:FIRST].any()
    assert stats.chisquare(found[FIRST:]).pvalue > 0.01
    # What is not predicted is left alone.
    still = ~flags(made, 128)
    assert np.array_equal(made.tokens[still], large[still])


def test_every_place_is_chosen_equally_often(large):
    chosen = flags(run(large), 128).sum(0)
    share = 19 / 128
    spread = ((chosen - len(large) * share) ** 2).sum() / (len(large) * share * (1 - share))
    assert stats.chi2.sf(spread, 127) > 0.01
    # And neighbours are chosen together as often as any two places of a row without replacement.
    both = (flags(run(large), 128)[:, :-1] & flags(run(large), 128)[:, 1:]).mean()
    assert both == pytest.approx(19 * 18 / (128 * 127), rel=0.02)


def test_generators_of_replaced_token_detection_see_no_random_tokens(large):
    made = run(large, masking=Masking(mask=0.85, random=0.0))
    row = np.arange(len(large))[:, None]
    new = made.tokens[row, made.places]
    assert np.isin(new[new != made.targets], [MASK]).all()
    count = new.size
    assert stats.binomtest(int((new == MASK).sum()), count, 0.85).pvalue > 0.01


def test_number_of_predictions_is_the_published_rounding():
    numbers = Masking().number(np.array([0, 1, 3, 9, 10, 16, 17, 100, 126, 128]))
    assert numbers.tolist() == [0, 1, 1, 1, 2, 2, 3, 15, 19, 19]
    assert Masking(rate=1.0).number(np.array([0, 7])).tolist() == [0, 7]
    assert (Masking().room(128), Masking().room(2), Masking(rate=0.25).room(512)) == (19, 1, 128)


def test_special_tokens_and_padding_are_never_chosen():
    rng = np.random.default_rng(1)
    tokens = rng.integers(FIRST, 60, (2000, 24))
    segments = (rng.random((2000, 24)) < 0.5).astype(np.int32)
    for unit in ("token", "word", "ngram"):
        masking = Masking(unit=unit)
        made = run(tokens, segments, masking, begins=rng.random((2000, 24)) < 0.9)
        at = flags(made, 24)
        assert not (at & (segments == 0)).any()
        wanted = np.minimum(masking.number(segments.sum(1)), masking.room(24))
        assert (at.sum(1) <= wanted).all()
        if unit == "token":
            assert (at.sum(1) == wanted).all()
        assert not made.places[made.targets < 0].any()
        real = np.where(made.targets >= 0, made.places, 99)
        assert (np.diff(real, axis=1)[real[:, 1:] < 99] > 0).all()
    empty = run(tokens[:2], np.zeros((2, 24)))
    assert (empty.targets == -1).all()
    assert np.array_equal(empty.tokens, tokens[:2])


def test_words_are_masked_whole(large):
    large = large[:4096]
    begins = np.random.default_rng(2).random(large.shape) < 0.5
    begins[:, 0] = True
    at = flags(run(large, masking=Masking(unit="word"), begins=begins), 128)
    word = np.cumsum(begins, axis=1) + 1000 * np.arange(len(large))[:, None]
    touched, inside = np.unique(word[at]), np.unique(word[~at])
    assert not np.isin(touched, inside).any()
    # Units that would exceed the row's 19 are passed over; words of one token fill nearly all up.
    assert at.sum(1).max() == 19
    assert at.mean() == pytest.approx(19 / 128, rel=0.001)
    # A word is chosen about as often whether it is short or long; short ones fill rows up.
    lengths = np.bincount(word.ravel())[np.unique(word)]
    taken = np.isin(np.unique(word), touched)
    rates = [taken[lengths == n].mean() for n in (1, 2, 3)]
    assert 0.19 > rates[0] > rates[1] > rates[2] > 0.13


def test_runs_of_words_follow_one_over_n():
    even = np.random.default_rng(3).random(1_000_000)
    for possible in (1, 2, 3):
        drawn = run_lengths(np.full(even.shape, possible), even, 3)
        shares = 1 / np.arange(1, possible + 1)
        seen = np.bincount(drawn)[1:]
        assert len(seen) == possible
        if possible > 1:
            assert stats.chisquare(seen, shares / shares.sum() * len(even)).pvalue > 0.01
    # In rows that predict three, the first run is one of three with 2/11, unless it starts at one
    # of the two last places; a shorter one may get a neighbour by chance.
    tokens = np.random.default_rng(4).integers(FIRST, 60, (10_000, 128))
    at = flags(run(tokens, masking=Masking(unit="ngram", rate=3 / 128)), 128)
    assert (at.sum(1) == 3).all()
    together = (at[:, :-2] & at[:, 1:-1] & at[:, 2:]).any(1).mean()
    assert 0.97 < together / (2 / 11 * 126 / 128) < 1.2
    single = flags(run(tokens, masking=Masking(unit="ngram", rate=3 / 128, largest=1)), 128)
    assert (single[:, :-2] & single[:, 1:-1] & single[:, 2:]).any(1).mean() < 0.006


def test_runs_end_with_their_text():
    tokens = np.random.default_rng(6).integers(FIRST, 60, (6_000, 12))
    # A row of two texts side by side, with a place that may not be chosen in the second.
    segments = np.tile([1, 1, 1, 1, 1, 2, 2, 2, 0, 2, 2, 2], (len(tokens), 1))
    begins = np.tile([1, 0, 1, 0, 0, 0, 0, 1, 1, 0, 1, 1], (len(tokens), 1)).astype(bool)
    at = flags(run(tokens, segments, Masking(unit="word", rate=0.5), begins=begins), 12)
    # Words by hand: (0 1) (2 3 4) (5 6) (7) (9) (10) (11); place 9 goes on after a closed one.
    for word in ((0, 1), (2, 3, 4), (5, 6)):
        assert (at[:, word].all(1) == at[:, word].any(1)).all()
        assert 0.2 < at[:, word[0]].mean() < 0.8
    assert not at[:, 8].any()
    assert (at[:, 4] & ~at[:, 5]).any()
    assert (at[:, 7] & ~at[:, 9]).any()
    # With room for one run only, none reaches over the end of the first text.
    one = flags(run(tokens, segments, Masking(unit="ngram", rate=0.17)), 12)
    assert (one.sum(1) == 2).all()
    pairs = [(one[:, i] & one[:, i + 1]).mean() for i in range(11)]
    assert pairs[7] == pairs[8] == 0
    assert pairs[4] < 0.5 * pairs[3]


def test_a_row_of_words_too_long_for_it_predicts_nothing():
    begins = np.tile(np.arange(8) % 4 == 0, (50, 1))
    made = run(np.full((50, 8), 9), masking=Masking(unit="word"), begins=begins)
    assert (made.targets == -1).all()


def test_by_hand():
    masking = Masking(rate=0.4, mask=0.5, random=0.5)
    tokens = np.array([[2, 10, 11, 12, 3, 0]], np.int32)
    segments = np.array([[0, 1, 1, 1, 0, 0]], np.int32)
    high = 2**63
    # Order of choice: place 2 before 3 before 1; place 2 is masked (below .5), 3 would be random.
    given = np.zeros((1, 18), np.uint64)
    given[0, :6] = [0, 50, 10, 20, 0, 0]
    given[0, 6:12] = [0, 0, high - 1, 0, 0, 0]
    one = corrupt(
        tokens, segments, given, masking, mask_token=MASK, ordinary=np.arange(7, 17, dtype=np.int32)
    )
    assert one.places.tolist() == [[2, 0]]
    assert one.targets.tolist() == [[11, -1]]
    assert one.tokens.tolist() == [[2, 10, MASK, 12, 3, 0]]
    # At .5 and above it is a random one: the lower half of the draw, here a quarter, is 7 + 2.
    given[0, 8] = high + 2**30
    two = corrupt(
        tokens, segments, given, masking, mask_token=MASK, ordinary=np.arange(7, 17, dtype=np.int32)
    )
    assert two.tokens.tolist() == [[2, 10, 9, 12, 3, 0]]
    assert tokens.tolist() == [[2, 10, 11, 12, 3, 0]]


def test_copies_are_taken_in_turn():
    assert [Masking(fixed=3).copy(epoch) for epoch in range(7)] == [0, 1, 2, 0, 1, 2, 0]
    assert [Masking().copy(epoch) for epoch in range(3)] == [0, 1, 2]


def test_what_makes_no_sense_is_named_at_once():
    with pytest.raises(DataError) as error:
        Masking(rate=0.0, mask=0.9, random=0.2, largest=0, fixed=-1)
    message = str(error.value)
    for part in ("rate 0.0", "mask 0.9 and random 0.2", "largest 0", "fixed -1"):
        assert part in message
