"""Windows, words left out, negatives: by their definitions, and by chi-square.

Tried with the breaks: a window over a document's end, negatives by frequency without the power,
the root taken of the threshold alone, one draw for all steps; each fails here.
"""

import numpy as np
import pytest
from scipy import stats
from stores import FIRST, store

from tlearn.data.errors import DataError
from tlearn.data.streams import stream
from tlearn.data.word_pairs import WordPairs

OFFSETS = (-3, -2, -1, 1, 2, 3)


def zipf(count=400, longest=40, seed=0, words=30):
    """Documents in which few words are frequent."""
    rng = np.random.default_rng(seed)
    chance = 1 / np.arange(1, words + 1)
    chance /= chance.sum()
    lengths = rng.integers(1, longest, count)
    return store([FIRST + rng.choice(words, n, p=chance) for n in lengths])


def test_the_words_around_are_those_of_the_document_within_the_window():
    # No word occurs twice, so that what stands where is known.
    documents = [FIRST + np.arange(0, 9), FIRST + np.arange(9, 10), FIRST + np.arange(10, 40)]
    pairs = WordPairs(store(documents), seed=1, block=64, threshold=0.0, min_count=1, window=3)
    place = {int(pairs.kept[number]) - FIRST: number for number in range(40)}
    assert pairs.steps_per_epoch == 1
    radii = []
    for epoch in range(60):
        batch = pairs.at(epoch)
        assert batch["count"] == 40
        for row, word in enumerate(batch["words"]):
            spot = int(pairs.kept[word]) - FIRST
            low, high = next((a, b) for a, b in ((0, 9), (9, 10), (10, 40)) if a <= spot < b)
            found = batch["around"][row]
            radius = max((abs(o) for o, n in zip(OFFSETS, found, strict=True) if n >= 0), default=0)
            for offset, number in zip(OFFSETS, found, strict=True):
                there = low <= spot + offset < high and abs(offset) <= radius
                assert number == (place[spot + offset] if there else -1)
            if low + 3 <= spot < high - 3:
                radii.append(radius)
    assert stats.chisquare(np.bincount(radii, minlength=4)[1:]).pvalue > 1e-3


def test_every_occurrence_is_a_row_once_an_epoch_in_another_order_each():
    whole = zipf()
    pairs = WordPairs(whole, seed=3, block=500, threshold=0.0, min_count=1)
    seen = []
    for epoch in range(2):
        batches = [
            pairs.at(epoch * pairs.steps_per_epoch + i) for i in range(pairs.steps_per_epoch)
        ]
        words = np.concatenate([b["words"][: b["count"]] for b in batches])
        np.testing.assert_array_equal(np.bincount(words, minlength=len(pairs.kept)), pairs.counts)
        seen.append(words)
    assert (seen[0] != seen[1]).any()
    again = WordPairs(whole, seed=3, block=500, threshold=0.0, min_count=1).at(4)
    assert all(np.array_equal(again[name], value) for name, value in pairs.at(4).items())
    other = WordPairs(whole, seed=4, block=500, threshold=0.0, min_count=1).at(4)
    assert (other["around"] != again["around"]).any()


def test_rare_and_special_words_are_closed_up():
    documents = [[8, 2, 9, 50, 8, 9, 6, 8, 9]] * 6
    pairs = WordPairs(store(documents), seed=0, threshold=0.0, min_count=7, window=1)
    assert pairs.kept.tolist() == [8, 9]
    assert pairs.counts.tolist() == [18, 18]
    batch = pairs.at(0)
    rows = int(batch["count"])
    assert rows == 36
    # 8 and 9 take turns within a document once the others are gone.
    for word, around in zip(batch["words"][:rows], batch["around"][:rows], strict=True):
        assert set(around.tolist()) - {-1} == {1 - int(word)}


def test_occurrences_stay_as_often_as_the_paper_says():
    pairs = WordPairs(zipf(), seed=5, block=2000, threshold=0.02, min_count=1)
    frequency = pairs.counts / pairs.counts.sum()
    np.testing.assert_allclose(pairs.stays, np.minimum(1, np.sqrt(0.02 / frequency)))
    assert (pairs.stays[:3] < 0.5).all()
    assert pairs.stays[-1] == 1
    epochs = 12
    found = np.zeros(len(pairs.kept))
    for step in range(epochs * pairs.steps_per_epoch):
        batch = pairs.at(step)
        found += np.bincount(batch["words"][: batch["count"]], minlength=len(found))
    whole = pairs.counts * epochs
    np.testing.assert_array_equal(found[pairs.stays == 1], whole[pairs.stays == 1])
    some = pairs.stays < 1
    spread = np.sqrt(whole * pairs.stays * (1 - pairs.stays))[some]
    assert np.abs((found - whole * pairs.stays)[some] / spread).max() < 4


@pytest.mark.parametrize("method", ["skip-gram", "cbow"])
def test_negatives_come_by_three_quarters_of_the_frequency(method):
    pairs = WordPairs(zipf(), method, seed=6, min_count=1, negatives=7, window=4)
    batch = pairs.at(0)
    shape = (8, 7) if method == "skip-gram" else (7,)
    assert batch["negatives"].shape == (pairs.rows, *shape)
    found = pairs.draw(stream(9, "negatives"), (200_000,))
    wanted = pairs.counts**0.75 / (pairs.counts**0.75).sum()
    counts = np.bincount(found, minlength=len(wanted))
    assert stats.chisquare(counts, wanted * len(found)).pvalue > 1e-3
    real = batch["negatives"][: batch["count"]]
    counts = np.bincount(real.ravel(), minlength=len(wanted))
    assert stats.chisquare(counts, wanted * real.size).pvalue > 1e-3


def test_what_makes_no_sense_is_refused_all_at_once():
    with pytest.raises(DataError, match=r"'skipgram'.*skip-gram.*window must.*threshold is"):
        WordPairs(zipf(), "skipgram", seed=0, window=0, threshold=1.5)
    with pytest.raises(DataError, match=r"0 words occur min_count=100000 times"):
        WordPairs(zipf(), seed=0, min_count=100_000)
