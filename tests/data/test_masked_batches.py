"""Rows of masked documents: every token in one row an epoch, masks of (seed, epoch, index) alone.

Breaks tried: masks drawn by the row's place in the batch; what is left over of a document dropped;
pieces sharing a segment; [CLS] predicted; copies ignored; filling rows with targets.
"""

import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import stores
from tests.stores import FIRST
from tlearn.data import DataError
from tlearn.data.masked_batches import MaskedBatches
from tlearn.data.masking import Masking

CLS, SEP, MASK = 2, 3, 4


def made(store, size=4, length=16, shuffle=True, **options):
    return MaskedBatches(store, size, length, seed=3, shuffle=shuffle, **options)


def unmasked(batch):
    """The rows as they were before masking."""
    tokens = batch["tokens"].copy()
    row, column = np.nonzero(batch["targets"] >= 0)
    tokens[row, batch["places"][row, column]] = batch["targets"][row, column]
    return tokens


def by_index(batches, number=0):
    """The epoch's rows by their index: names to arrays."""
    return {
        int(index): {name: value[row] for name, value in batch.items()}
        for batch in batches.epoch(number)
        for row, index in enumerate(batch["index"])
        if index >= 0
    }


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(sum),
    size=st.integers(1, 5),
    length=st.integers(3, 20),
    shuffle=st.booleans(),
    number=st.integers(0, 2),
)
def test_every_token_is_in_one_row(lengths, size, length, shuffle, number):
    store = stores.numbered(lengths)
    batches = made(store, size, length, shuffle)
    seen, indices, pieces = [], [], 0
    for batch in batches.epoch(number):
        tokens = unmasked(batch)
        for row in range(size):
            segments = batch["segments"][row]
            indices.append(int(batch["index"][row]))
            real = int((segments > 0).sum())
            assert (segments[:real] > 0).all()
            assert (tokens[row, real:] == store.pad).all()
            for segment in range(1, segments.max() + 1):
                piece = tokens[row, segments == segment]
                assert (piece[0], piece[-1]) == (CLS, SEP)
                # One document's tokens, in order.
                assert (np.diff(piece[1:-1]) == 1).all()
                seen += piece[1:-1].tolist()
                pieces += 1
    assert sorted(seen) == store.tokens.tolist()
    assert pieces == sum(-(-count // (length - 2)) for count in lengths)
    assert sorted(i for i in indices if i >= 0) == list(range(batches.examples_per_epoch))
    assert len(indices) == batches.steps_per_epoch * size


def test_targets_are_what_stood_there_and_never_special():
    store = stores.random(200, 60)
    count = tokens = 0
    for batch in made(store, 8, 32).epoch():
        assert batch["places"].shape == (8, 5)
        real = batch["targets"] >= 0
        assert (batch["targets"][real] >= FIRST).all()
        assert not batch["places"][~real].any()
        filling = batch["mask"] == 0
        assert (batch["targets"][filling] == -1).all()
        assert not batch["segments"][filling].any()
        own = ((unmasked(batch) >= FIRST) & (batch["segments"] > 0)).sum(1)
        wanted = np.minimum(np.maximum(np.rint(0.15 * own), 1), own)
        assert np.array_equal(real.sum(1), wanted)
        count, tokens = count + int(real.sum()), tokens + int(own.sum())
    assert tokens == len(store.tokens)
    assert count / tokens == pytest.approx(0.15, rel=0.1)


def test_a_row_is_masked_by_its_index_whatever_the_batch(bit_equal):
    store = stores.random(50)
    small, large = made(store, 3), made(store, 7)
    assert small.examples_per_epoch == large.examples_per_epoch
    one, other = by_index(small), by_index(large)
    for index, row in one.items():
        assert bit_equal(row, other[index])


def test_masks_are_fresh_every_epoch_or_taken_in_turn():
    store = stores.random(50)
    texts = [by_index(made(store), number) for number in (0, 1)]
    changed = [texts[0][i]["places"].tolist() != texts[1][i]["places"].tolist() for i in texts[0]]
    assert np.mean(changed) > 0.8
    fixed = made(store, masking=Masking(fixed=2))
    epochs = [by_index(fixed, number) for number in range(4)]
    for i in epochs[0]:
        for a, b in ((0, 2), (1, 3)):
            assert epochs[a][i]["tokens"].tolist() == epochs[b][i]["tokens"].tolist()
    assert any(
        epochs[0][i]["tokens"].tolist() != epochs[1][i]["tokens"].tolist() for i in fixed.visits(0)
    )
    assert (made(store).random, fixed.random) == (True, True)
    assert not made(store, masking=Masking(fixed=1)).random
    # Validation is masked once and for all.
    still = made(store, shuffle=False)
    assert not still.random
    for a, b in zip(still.epoch(0), still.epoch(5), strict=True):
        assert a["tokens"].tolist() == b["tokens"].tolist()
        assert a["index"].tolist() == b["index"].tolist()


def test_whole_words():
    store = stores.random(100, 60, words=True)
    batches = made(store, 8, 32, shuffle=False, masking=Masking(unit="word"))
    # Tokens are random, so a row's words are looked up by where the row was cut from.
    plain = stores.numbered(np.diff(store.starts).tolist())
    same_cut = made(plain, 8, 32, shuffle=False)
    number = np.cumsum(store.word_starts)
    word_of = {int(token): int(number[i]) for i, token in enumerate(plain.tokens)}
    chosen = cut = 0
    for batch, places in zip(batches.epoch(), same_cut.epoch(), strict=True):
        tokens = unmasked(places)
        for row in range(8):
            at = batch["places"][row][batch["targets"][row] >= 0]
            words = [word_of.get(int(token), -1) for token in tokens[row]]
            for place in at:
                whole = [i for i, word in enumerate(words) if word == words[place]]
                cut += not set(whole) <= set(at.tolist())
                chosen += 1
    assert chosen > 300
    assert cut == 0


def test_any_step_at_once_and_in_another_process(bit_equal):
    batches = made(stores.random(), masking=Masking(unit="ngram"))
    again = pickle.loads(pickle.dumps(batches))
    late = 3 * batches.steps_per_epoch + 2
    for step in (late, 0, 5, late, 1):
        assert bit_equal(batches.at(step), again.at(step))
    other = MaskedBatches(batches.store, 4, 16, seed=4, shuffle=True)
    assert not bit_equal(batches.at(0), other.at(0))


def test_hosts_read_blocks_of_the_same_global_batch(bit_equal):
    store = stores.random(20)
    whole = made(store, 8)
    parts = [made(store, 8, host_index=i, host_count=4) for i in range(4)]
    assert whole.examples_per_epoch % 8
    for step in range(whole.steps_per_epoch + 1):
        blocks = [part.at(step) for part in parts]
        joined = {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0]}
        assert bit_equal(joined, whole.at(step))


def test_little_is_filling():
    batches = made(stores.random(500, 100), 8, 64)
    used = sum(int((batch["segments"] > 0).sum()) for batch in batches.epoch())
    assert used / (batches.examples_per_epoch * 64) > 0.97


def test_part_of_a_store_has_its_own_documents_only():
    store = stores.numbered([5, 9, 3, 7])
    part = store.part(np.array([3, 1]))
    rows = [unmasked(batch) for batch in made(part, 2, 32).epoch()]
    seen = np.concatenate([tokens[tokens >= FIRST] for tokens in rows])
    assert sorted(seen) == sorted([*store.document(3), *store.document(1)])


def test_without_marks_nor_mask():
    store = stores.random(20)
    bare = {name: store.special[name] for name in ("pad", "unk", "mask")}
    batches = made(dataclasses.replace(store, special=bare))
    tokens = np.concatenate([unmasked(batch) for batch in batches.epoch()])
    assert (tokens >= FIRST).sum() == len(store.tokens)
    assert set(np.unique(tokens[tokens < FIRST])) <= {0}
    with pytest.raises(DataError, match="no 'mask' token"):
        made(dataclasses.replace(store, special={"pad": 0}))
