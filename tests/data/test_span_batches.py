"""Spans: published numbers and segmentation, both sides together give the text, rows are full.

Breaks tried: one sentinel for all spans; parts cut at their beginnings only; numbers rounded up;
packing by the encoder's side alone; the decoder reading its own target.
"""

import dataclasses
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests import stores
from tests.stores import FIRST
from tlearn.data import DataError
from tlearn.data.pieces import ragged
from tlearn.data.span_batches import SpanBatches
from tlearn.data.span_corruption import (
    Shares,
    corrupt_spans,
    filling,
    parts,
    shares,
    side_sizes,
    split_prefix,
)

EOS = 6
SENTINELS = tuple(range(999, 899, -1))


def made(store, size=3, length=24, shuffle=True, **options):
    options = {"sentinels": SENTINELS, "eos": EOS, **options}
    return SpanBatches(store, size, length, seed=3, shuffle=shuffle, **options)


def texts(lengths):
    """Documents in which no token occurs twice, with room for sentinels above them."""
    store = stores.numbered(lengths)
    assert store.vocab_size < 800
    return dataclasses.replace(store, vocab_size=1000)


def raw(count, seed=0):
    return np.random.Philox(seed).random_raw(count)


def examples_of(batches, number=0):
    """Each segment's encoder tokens, decoder tokens and targets, and the indices seen."""
    found, indices = [], []
    for batch in batches.epoch(number):
        indices += batch["index"].tolist()
        assert (batch["tokens"][batch["segments"] == 0] == 0).all()
        assert np.array_equal(batch["targets"] >= 0, batch["decoder_segments"] > 0)
        assert (batch["decoder_tokens"][batch["decoder_segments"] == 0] == 0).all()
        for row in range(len(batch["index"])):
            segments, others = batch["segments"][row], batch["decoder_segments"][row]
            assert segments.max() == others.max()
            for segment in range(1, segments.max() + 1):
                found.append(
                    (
                        batch["tokens"][row][segments == segment].tolist(),
                        batch["decoder_tokens"][row][others == segment].tolist(),
                        batch["targets"][row][others == segment].tolist(),
                    )
                )
    return found, indices


def together(tokens, targets):
    """The text that both sides came from: each sentinel replaced by its span."""
    assert tokens[-1] == targets[-1] == EOS
    spans, out = {}, []
    for token in targets[:-1]:
        if token in SENTINELS:
            current = spans.setdefault(token, [])
            assert not current
        else:
            current.append(token)
    assert list(spans) == list(SENTINELS[: len(spans)])
    assert [token for token in tokens if token in SENTINELS] == list(spans)
    for token in tokens[:-1]:
        out += spans[token] if token in SENTINELS else [token]
    return out


def test_published_numbers():
    # 512 and 114 tokens on the two sides of 568, as T5 was trained.
    assert filling(512, 0.15, 3.0) == 568
    sizes = side_sizes(np.array([568]), 0.15, 3.0)
    assert [int(size[0]) for size in sizes] == [512, 114]
    given_ = shares(np.array([1, 2, 3, 7, 10, 20, 100, 568]), 0.15, 3.0)
    assert given_.dropped.tolist() == [1, 1, 1, 1, 2, 3, 15, 85]
    assert given_.spans.tolist() == [1, 1, 1, 1, 1, 1, 5, 28]
    for length in (16, 64, 128):
        most = filling(length, 0.15, 3.0)
        assert side_sizes(np.array([most]), 0.15, 3.0)[0][0] == length
        assert side_sizes(np.array([most + 1]), 0.15, 3.0)[0][0] > length


def test_by_hand():
    # Ten tokens, four dropped in two spans; draws that cut kept after 2 of 6 and dropped after 1.
    kept = np.array([0, 9, 1, 9, 9, 9], np.uint64) << np.uint64(32)
    dropped = np.array([0, 1, 9, 9], np.uint64) << np.uint64(32)
    sides = corrupt_spans(np.array([10]), Shares(np.array([4]), np.array([2])), kept, dropped)
    # k k d k k k k d d d: what the encoder gets, then what the decoder gets; 10 is the end.
    assert sides.encoder.tolist() == [0, 1, -1, 3, 4, 5, 6, -2, 10]
    assert sides.decoder.tolist() == [-1, 2, -2, 7, 8, 9, 10]
    batch = made(texts([2]), 1, 4, shuffle=False, sentinels=(999,), start=5).at(0)
    assert batch["tokens"].tolist() == [[7, 999, EOS, 0]]
    assert batch["targets"].tolist() == [[999, 8, EOS]]
    assert batch["decoder_tokens"].tolist() == [[5, 999, 8]]
    assert batch["decoder_segments"].tolist() == [[1, 1, 1]]
    # A document of one token, shorter than any span, is dropped whole.
    batch = made(texts([1]), 1, 4, shuffle=False, sentinels=(999,)).at(0)
    assert batch["tokens"].tolist() == [[999, EOS, 0, 0]]
    assert batch["targets"].tolist() == [[999, 7, EOS]]


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=10).filter(sum),
    length=st.integers(4, 40),
    shuffle=st.booleans(),
    rate=st.sampled_from([0.15, 0.5, 0.9]),
    mean=st.sampled_from([1.0, 3.0, 10.0]),
    number=st.integers(0, 2),
)
def test_both_sides_together_are_the_documents(lengths, length, shuffle, rate, mean, number):
    store = texts(lengths)
    batches = made(store, 3, length, shuffle, rate=rate, mean=mean)
    found, indices = examples_of(batches, number)
    pieces = [together(tokens, targets) for tokens, _, targets in found]
    assert sorted(token for piece in pieces for token in piece) == store.tokens.tolist()
    assert all((np.diff(piece) == 1).all() for piece in pieces)
    for tokens, read, targets in found:
        assert read == [0, *targets[:-1]]
        count = len(together(tokens, targets))
        dropped, spans = (int(x[0]) for x in shares(np.array([count]), rate, mean))
        assert len(tokens) == count - dropped + spans + 1
        assert len(targets) == dropped + spans + 1
        # Kept tokens come first, dropped ones last, and sentinels never side by side.
        assert tokens[-2] in SENTINELS
        assert count == 1 or tokens[0] not in SENTINELS
        at = [i for i, token in enumerate(tokens) if token in SENTINELS]
        assert np.diff(at).min(initial=2) > 1
    assert sorted(i for i in indices if i >= 0) == list(range(batches.examples_per_epoch))


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=10).filter(sum),
    length=st.integers(4, 40),
    number=st.integers(0, 2),
)
def test_prefix_lm_splits_every_piece(lengths, length, number):
    store = texts(lengths)
    batches = made(store, 3, length, objective="prefix", sentinels=())
    found, indices = examples_of(batches, number)
    seen = []
    for tokens, read, targets in found:
        assert tokens[-1] == targets[-1] == EOS
        assert read == [0, *targets[:-1]]
        piece = tokens[:-1] + targets[:-1]
        assert (np.diff(piece) == 1).all()
        assert len(targets) > 1
        assert len(tokens) > 1 or len(piece) == 1
        seen += piece
    assert sorted(seen) == store.tokens.tolist()
    assert sorted(i for i in indices if i >= 0) == list(range(batches.examples_per_epoch))


def test_rate_and_spans_at_a_million_tokens():
    store = stores.random(1, 2, vocab_size=1000)
    tokens = np.random.default_rng(0).integers(FIRST, 800, 2000 * 568).astype(np.uint16)
    starts = np.arange(2001) * 568
    store = dataclasses.replace(store, tokens=tokens, starts=starts, sentences=starts[:-1])
    batches = made(store, 500, 512)
    assert batches.decoder_length == 114
    dropped = spans = first = 0
    lengths = []
    for batch in batches.epoch():
        assert (batch["segments"] == 1).all()
        assert (batch["targets"] >= 0).all()
        marks = batch["targets"] >= 900
        spans += int(marks.sum())
        dropped += int((~marks).sum()) - len(marks)
        for row in range(0, 500, 4):
            at = np.flatnonzero(marks[row])
            lengths += np.diff([*at, 113]).tolist()
        first += int((batch["tokens"][:, 0] >= 900).sum())
    assert dropped / len(tokens) == 85 / 568
    assert spans == 2000 * 28
    assert first == 0
    lengths = np.array(lengths) - 1
    assert lengths.mean() == 85 / 28
    # Uniform segmentation: p(n) = C(85 - n - 1, 26) / C(84, 27) for every part alike.
    chance = [math.comb(84 - n, 26) / math.comb(84, 27) for n in range(1, 9)]
    seen = [(lengths == n).sum() for n in range(1, 9)]
    share = np.array([*chance, 1 - sum(chance)])
    statistic = stats.chisquare([*seen, (lengths > 8).sum()], share * len(lengths))
    # A row's spans depend on each other a little: they add up to 85.
    assert statistic.pvalue > 0.001


@pytest.mark.parametrize(("items", "number"), [(5, 3), (6, 2), (4, 4), (7, 1)])
def test_every_division_is_equally_likely(items, number):
    count = 20_000
    begins = parts(np.full(count, items), np.full(count, number), raw(count * items))
    begins = begins.reshape(count, items)
    assert begins[:, 0].all()
    assert (begins.sum(1) == number).all()
    ways, seen = np.unique(begins, axis=0, return_counts=True)
    assert len(ways) == math.comb(items - 1, number - 1)
    if len(ways) > 1:
        assert stats.chisquare(seen).pvalue > 0.01


def test_every_prefix_is_equally_likely():
    count = 60_000
    sides = split_prefix(np.full(count, 7), raw(count))
    seen = np.bincount(sides.encoder_sizes - 1, minlength=7)
    assert seen[0] == 0
    assert len(seen) == 7
    assert stats.chisquare(seen[1:]).pvalue > 0.01
    owner, place = ragged(sides.decoder_sizes)
    assert (sides.decoder[place == sides.decoder_sizes[owner] - 1] == 7).all()


def test_rows_are_nearly_full():
    store = texts([40] * 15 + [5] * 20 + [1] * 10)
    batches = made(store, 4, 32)
    used = np.concatenate([b["segments"][b["mask"] > 0] for b in batches.epoch()])
    decoded = np.concatenate([b["decoder_segments"][b["mask"] > 0] for b in batches.epoch()])
    # Short documents fill the decoder's side first: a sentinel and an end mark for every token.
    assert max((used > 0).mean(), (decoded > 0).mean()) > 0.8


def test_spans_are_fresh_every_epoch_and_fixed_for_evaluation(bit_equal):
    store = texts([40] * 12)
    for objective in ("spans", "prefix"):
        batches = made(store, 3, 32, objective=objective)
        rows = [
            {
                int(index): tokens.tolist()
                for batch in batches.epoch(number)
                for index, tokens in zip(batch["index"], batch["tokens"], strict=True)
            }
            for number in range(2)
        ]
        assert np.mean([rows[0][i] != rows[1][i] for i in rows[0] if i >= 0]) > 0.5
        again = pickle.loads(pickle.dumps(batches))
        late = 3 * batches.steps_per_epoch + 1
        for step in (late, 0, 2, late, 1):
            assert bit_equal(batches.at(step), again.at(step))
        # Another batch size gives every row the same mask.
        other = made(store, 5, 32, objective=objective)
        for batch in other.epoch():
            for index, tokens in zip(batch["index"], batch["tokens"], strict=True):
                assert index < 0 or tokens.tolist() == rows[0][int(index)]
        still = made(store, 3, 32, shuffle=False, objective=objective)
        for a, b in zip(still.epoch(0), still.epoch(4), strict=True):
            assert bit_equal(a, b)
        assert (batches.random, still.random) == (True, False)


def test_hosts_read_blocks_of_the_same_global_batch(bit_equal):
    store = texts([30] * 11)
    whole = made(store, 8)
    parts_ = [made(store, 8, host_index=i, host_count=4) for i in range(4)]
    for step in range(whole.steps_per_epoch + 1):
        blocks = [part.at(step) for part in parts_]
        joined = {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0]}
        assert bit_equal(joined, whole.at(step))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sentinels": (999,), "length": 64}, "1 sentinels, and a row of 64 tokens drops up to 3"),
        ({"rate": 1.0, "mean": 0.5}, r"rate 1.0(.|\n)*mean 0.5"),
        ({"sentinels": (999, 999)}, "one stands for two spans"),
        ({"sentinels": (1000,)}, "sentinel 1000 is not in the vocabulary of 1000"),
        ({"eos": -1}, "eos -1 is not in the vocabulary"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(DataError, match=message):
        made(texts([9]), **options)
