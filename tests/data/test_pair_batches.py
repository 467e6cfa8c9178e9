"""Pairs: balance, what follows and what does not, published truncation, by the step alone.

Breaks tried: random text from the same document; labels turned round; a chunk of one sentence split
before the next one; a segment's front cut off only; the second [SEP] of type 0; pairs of unequal
segments cut to halves.
"""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests import stores
from tests.stores import FIRST
from tlearn.data import DataError
from tlearn.data.masking import Masking
from tlearn.data.pair_batches import PairBatches
from tlearn.data.pair_cutting import Sentences, cut_before, shorten

CLS, SEP = 2, 3


def made(store, size=8, length=24, shuffle=True, **options):
    return PairBatches(store, size, length, seed=3, shuffle=shuffle, **options)


def texts(count=150, longest=120, seed=0, every=6):
    """Documents in which no token occurs twice, with a sentence about every so many tokens."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, longest + 1, count)
    total = int(lengths.sum())
    return stores.numbered(lengths, sentences=np.flatnonzero(rng.random(total) < 1 / every))


def pairs_of(batches, number=0):
    """Each real row's first and second segment before masking, with label and index."""
    found = []
    for batch in batches.epoch(number):
        tokens = batch["tokens"].copy()
        row, column = np.nonzero(batch["targets"] >= 0)
        tokens[row, batch["places"][row, column]] = batch["targets"][row, column]
        for row in np.flatnonzero(batch["mask"]):
            real = batch["segments"][row] == 1
            line, types = tokens[row][real], batch["types"][row][real]
            first, second = line[types == 0], line[types == 1]
            assert (first[0], first[-1], second[-1]) == (CLS, SEP, SEP)
            assert not batch["types"][row][~real].any()
            assert not tokens[row][~real].any()
            assert real[: len(line)].all()
            found.append(
                (first[1:-1], second[:-1], int(batch["label"][row]), int(batch["index"][row]))
            )
            assert min(map(len, found[-1][:2])) > 0
            # Each segment is a run of one text.
            assert all((np.diff(part) == 1).all() for part in found[-1][:2])
    return found


def document(store, token):
    return int(np.searchsorted(store.starts, token - FIRST, side="right"))


def test_next_sentence_follows_or_is_from_another_document():
    store = texts()
    for first, second, label, _ in pairs_of(made(store)):
        assert document(store, first[0]) == document(store, first[-1])
        assert document(store, second[0]) == document(store, second[-1])
        same = document(store, first[0]) == document(store, second[0])
        assert same == (label == 0)
        if label == 0 and len(first) + len(second) < 21:
            # Nothing was cut off: the second goes on where the first ends.
            assert second[0] == first[-1] + 1
        elif label == 0:
            assert second[0] > first[-1]


def test_sentence_order_is_kept_or_swapped():
    store = texts()
    seen = 0
    for first, second, label, _ in pairs_of(made(store, order="swap")):
        before, after = (first, second) if label == 0 else (second, first)
        assert document(store, before[0]) == document(store, after[-1])
        assert after[0] > before[-1]
        if len(first) + len(second) < 21:
            assert after[0] == before[-1] + 1
            seen += 1
    assert seen > 50


@pytest.mark.parametrize("order", ["next", "swap"])
@pytest.mark.parametrize("every", [6, 10_000])
def test_labels_are_balanced(order, every):
    # With and without sentences: a chunk of a single one is no less often followed by its own.
    batches = made(texts(400, every=every), 64, order=order)
    labels = []
    for number in range(4):
        for batch in batches.epoch(number):
            labels += batch["label"][batch["mask"] > 0].tolist()
    labels = np.array(labels)
    assert len(labels) > 4000
    assert stats.binomtest(int(labels.sum()), len(labels), 0.5).pvalue > 0.01
    # And independent of the row: over the epochs every row's label is a fair coin.
    changes = stats.binomtest(int((labels[:-1] != labels[1:]).sum()), len(labels) - 1, 0.5)
    assert changes.pvalue > 0.01


def test_splits_are_even_over_the_sentences():
    # A document of five sentences is split before each but the first; one of a single sentence
    # before each token but the first.
    store = stores.store(
        [np.arange(FIRST, FIRST + 15), [50, 51, 52]], sentences=[3, 5, 9, 14], vocab_size=60
    )
    count = 40_000
    bits = np.random.Philox(0).random_raw(count)
    for begin, size, wanted in ((0, 15, [3, 5, 9, 14]), (3, 6, [5]), (15, 3, [16, 17])):
        found = Sentences(store, 21).split(np.full(count, begin), np.full(count, size), bits)
        places, seen = np.unique(found, return_counts=True)
        assert places.tolist() == wanted
        assert len(wanted) == 1 or stats.chisquare(seen).pvalue > 0.01


def test_other_documents_are_drawn_evenly():
    # Documents 1 and 4 are empty; text is never from the own document, nor longer than asked for.
    store = stores.numbered([30, 0, 2, 9, 0, 60, 15])
    sentences, count = Sentences(store, 21), 10_000
    bits = np.random.Philox(1).random_raw(2 * count).reshape(-1, 2)
    for own in (0, 2, 3, 5, 6):
        begin, size = sentences.elsewhere(np.full(count, own), np.full(count, 12), bits)
        there = np.searchsorted(store.starts, begin, side="right") - 1
        documents, seen = np.unique(there, return_counts=True)
        assert documents.tolist() == [other for other in (0, 2, 3, 5, 6) if other != own]
        assert stats.chisquare(seen).pvalue > 0.01
        assert (begin + size <= store.starts[there + 1]).all()
        assert set(size) <= {12, 9, 2, 15}


def truncated(first, second, room):
    """The published loop: tokens are taken from the longer one till both fit."""
    while first + second > room:
        if first > second:
            first -= 1
        else:
            second -= 1
    return first, second


@settings(max_examples=300, deadline=None)
@given(first=st.integers(1, 40), second=st.integers(1, 40), room=st.integers(2, 40))
def test_truncation_is_the_published_loop(first, second, room):
    left, right = shorten(np.array([first]), np.array([second]), room)
    assert (int(left[0]), int(right[0])) == truncated(first, second, room)


def test_what_is_cut_off_is_cut_from_both_ends():
    bits = np.random.Philox(0).random_raw(20_000 * 2).reshape(-1, 2)
    for removed in (0, 1, 10, 100):
        before = cut_before(np.full(len(bits), removed), bits)
        assert before.min() >= 0
        assert before.max() <= removed
        assert before.mean() == pytest.approx(removed / 2, rel=0.02)
        assert before.var() == pytest.approx(removed / 4, rel=0.05)


def test_chunks_cover_the_documents():
    store = texts(60)
    for short in (0.0, 0.1, 1.0):
        chunks = Sentences(store, 21).chunks(3, short)
        covered = np.zeros(len(store.tokens), int)
        for begin, count in zip(chunks.begins, chunks.counts, strict=True):
            covered[begin : begin + count] += 1
        assert covered.max() == 1
        # Only last chunks of one token are missing, at the ends of documents.
        assert np.isin(np.flatnonzero(covered == 0), store.starts[1:] - 1).all()
        inner = np.isin(chunks.begins + chunks.counts, [*store.sentences, *store.starts])
        # The rest are cut in a sentence that would run over by more than half of the room of 21.
        assert np.array_equal(chunks.counts[~inner], chunks.goals[~inner])
        last = np.isin(chunks.begins + chunks.counts, [*store.starts])
        assert (chunks.counts >= chunks.goals)[~last].all()
        assert (chunks.counts <= chunks.goals + 10).all()
        assert inner.mean() > 0.8
        share = len(np.unique(chunks.documents[chunks.goals < 21])) / 60
        assert share == pytest.approx(short, abs=0.1)
    assert (chunks.goals >= 2).all()


def test_a_text_without_sentences_is_cut_at_the_goal():
    store = stores.numbered([1000, 7])
    chunks = Sentences(store, 21).chunks(3, 0.0)
    assert chunks.counts.tolist() == [21] * 47 + [13, 7]


def test_a_row_is_made_by_its_index_whatever_the_batch():
    store = texts(40)
    one, other = ({i: rest for *rest, i in pairs_of(made(store, size))} for size in (3, 7))
    assert one.keys() == other.keys() == set(range(len(one)))
    for index, (first, second, label) in one.items():
        assert (first.tolist(), second.tolist(), label) == (
            other[index][0].tolist(),
            other[index][1].tolist(),
            other[index][2],
        )


def test_epochs_make_other_pairs_unless_fixed(bit_equal):
    store = texts(40)
    rows = [{i: rest for *rest, i in pairs_of(made(store), number)} for number in range(2)]
    assert rows[0].keys() == rows[1].keys()
    assert np.mean([rows[0][i][0].tolist() != rows[1][i][0].tolist() for i in rows[0]]) > 0.5
    fixed = made(store, masking=Masking(fixed=1))
    rows = [{i: rest for *rest, i in pairs_of(fixed, number)} for number in range(2)]
    assert all(rows[0][i][1].tolist() == rows[1][i][1].tolist() for i in rows[0])
    still = made(store, shuffle=False)
    for a, b in zip(still.epoch(0), still.epoch(4), strict=True):
        assert bit_equal(a, b)
    index = np.concatenate([batch["index"] for batch in still.epoch()])
    assert index[index >= 0].tolist() == list(range(still.examples_per_epoch))
    assert (made(store).random, fixed.random, still.random) == (True, False, False)


def test_any_step_at_once_and_in_another_process(bit_equal):
    for order in ("next", "swap"):
        batches = made(texts(40), order=order, masking=Masking(unit="ngram"))
        again = pickle.loads(pickle.dumps(batches))
        late = 3 * batches.steps_per_epoch + 2
        for step in (late, 0, 5, late, 1):
            assert bit_equal(batches.at(step), again.at(step))


def test_hosts_read_blocks_of_the_same_global_batch(bit_equal):
    store = texts(12)
    whole = made(store, 8)
    parts = [made(store, 8, host_index=i, host_count=4) for i in range(4)]
    for step in range(whole.steps_per_epoch + 1):
        blocks = [part.at(step) for part in parts]
        joined = {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0]}
        assert bit_equal(joined, whole.at(step))


def test_marks_are_never_predicted():
    for batch in made(texts(60), 16).epoch():
        assert batch["places"].shape == (16, 4)
        real = batch["targets"] >= 0
        assert (batch["targets"][real] >= FIRST).all()
        own = batch["segments"].sum(1) - 3
        wanted = np.where(batch["mask"] > 0, np.maximum(np.rint(0.15 * own), 1), 0)
        assert np.array_equal(real.sum(1), wanted)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 4}, "length 4 of a row; expected at least 5"),
        ({"short": 1.5}, "short 1.5"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(DataError, match=message):
        made(texts(5), **options)


def test_corpora_that_make_no_pairs_are_refused():
    with pytest.raises(DataError, match="one document"):
        made(stores.numbered([30, 0]))
    assert made(stores.numbered([40, 0]), order="swap").examples_per_epoch == 2
    with pytest.raises(DataError, match="two tokens to make a pair"):
        made(stores.numbered([1, 1]))
