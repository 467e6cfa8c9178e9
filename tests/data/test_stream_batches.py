"""Streams: every token but the first is a target once, rows go on, nothing depends on the path.

Breaks tried: an epoch's last target left out; the order drawn without the epoch; `continues` of 1
at an epoch's first step; the mark before documents; hosts reading the same block.
"""

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import stores
from tlearn.data import DataError
from tlearn.data.stream_batches import StreamBatches


def made(store, size=4, length=8, shuffle=True, **options):
    return StreamBatches(store, size, length, seed=3, shuffle=shuffle, **options)


def epoch(batches, number=0):
    """All batches of an epoch, stacked: [s b ...]."""
    found = list(batches.epoch(number))
    return {name: np.stack([batch[name] for batch in found]) for name in found[0]}


def read_streams(batches, number=0):
    """Each stream's tokens and targets in the order of reading, filling left out."""
    whole = epoch(batches, number)
    tokens, targets = (
        np.moveaxis(whole[k], 1, 0).reshape(batches.batch_size, -1) for k in ("tokens", "targets")
    )
    return [(a[b >= 0], b[b >= 0]) for a, b in zip(tokens, targets, strict=True)]


def test_by_hand():
    # Documents 7 8 9 | 10 11 | 12 with a mark 6 after each: nine tokens, eight targets.
    batches = made(stores.numbered([3, 2, 1]), 2, 3, shuffle=False, eos=6)
    whole = epoch(batches)
    assert whole["tokens"].tolist() == [[[7, 8, 9], [10, 11, 6]], [[6, 0, 0], [12, 0, 0]]]
    assert whole["targets"].tolist() == [[[8, 9, 6], [11, 6, 12]], [[10, -1, -1], [6, -1, -1]]]
    assert whole["segments"].tolist() == [[[1, 1, 1], [1, 1, 1]], [[1, 0, 0], [1, 0, 0]]]
    assert whole["continues"].tolist() == [[0, 0], [1, 1]]
    assert whole["index"].tolist() == [[0, 1], [2, 3]]
    backward = read_streams(made(stores.numbered([3, 2, 1]), 1, 3, False, eos=6, backward=True))
    assert backward[0][0].tolist() == [9, 8, 7, 6, 11, 10, 6, 12]
    assert backward[0][1].tolist() == [8, 7, 6, 11, 10, 6, 12, 6]


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(lambda x: sum(x) > 1),
    size=st.integers(1, 9),
    length=st.integers(1, 12),
    shuffle=st.booleans(),
    eos=st.sampled_from([None, 6]),
    number=st.integers(0, 2),
)
def test_every_token_but_the_first_is_a_target_once(lengths, size, length, shuffle, eos, number):
    store = stores.numbered(lengths)
    batches = made(store, size, length, shuffle, eos=eos)
    streams = read_streams(batches, number)
    targets = np.concatenate([target for _, target in streams])
    full = sum(count > 0 for count in lengths)
    assert len(targets) == batches.targets_per_epoch
    assert len(targets) == sum(lengths) + (full if eos else 0) - 1
    own = targets[targets != 6]
    first = streams[0][0][0]
    assert sorted([*own, first]) == store.tokens.tolist()
    assert (targets == 6).sum() == (full if eos else 0)
    # A target is the next token read, and a stream goes on where the one before it ends.
    joined = np.concatenate([tokens for tokens, _ in streams])
    assert np.array_equal(joined[1:], targets[:-1])
    counts = [len(target) for _, target in streams]
    assert max(counts) - min(counts) <= 1
    index = epoch(batches, number)["index"]
    assert sorted(index[index >= 0]) == list(range(batches.examples_per_epoch))


def test_documents_stay_whole_and_come_in_a_fresh_order():
    lengths = [5, 9, 3, 7, 6, 8]
    store = stores.numbered(lengths)
    orders = []
    for number in range(3):
        for backward in (False, True):
            batches = made(store, 1, 8, eos=6, backward=backward)
            tokens, targets = read_streams(batches, number)[0]
            line = [*tokens[:1], *targets]
            ends = [-1, *np.flatnonzero(np.array(line) == 6)]
            found = [line[a + 1 : b] for a, b in itertools.pairwise(ends)]
            found = [document[::-1] for document in found] if backward else found
            assert sorted(found) == [store.document(i).tolist() for i in range(6)]
            orders.append(tuple(document[0] for document in found))
    # Backward reads in the order of forward; epochs have orders of their own.
    assert orders[::2] == orders[1::2]
    assert len(set(orders)) == 3


def test_a_row_continues_the_one_before_it():
    batches = made(stores.random(), 5, 7)
    steps = batches.steps_per_epoch
    for step in range(2 * steps):
        batch = batches.at(step)
        real = batch["mask"] > 0
        assert (batch["continues"][real] == float(step % steps > 0)).all()
        if step % steps:
            last = batches.at(step - 1)["targets"][:, -1]
            assert np.array_equal(batch["tokens"][real, 0], last[real])


def test_any_step_at_once_and_in_another_process(bit_equal):
    batches = made(stores.random(), 4, 9, eos=6)
    again = pickle.loads(pickle.dumps(batches))
    late = 3 * batches.steps_per_epoch + 2
    for step in (late, 0, 5, late, 1):
        assert bit_equal(batches.at(step), again.at(step))
    other = StreamBatches(batches.store, 4, 9, seed=4, shuffle=True, eos=6)
    assert not bit_equal(batches.at(0), other.at(0))
    still = made(stores.random(), 4, 9, shuffle=False)
    assert bit_equal(still.at(1), still.at(1 + still.steps_per_epoch))


def test_hosts_read_blocks_of_the_same_global_batch(bit_equal):
    store = stores.random(20)
    whole = made(store, 8, 9)
    parts = [made(store, 8, 9, host_index=i, host_count=4) for i in range(4)]
    for step in range(whole.steps_per_epoch + 1):
        blocks = [part.at(step) for part in parts]
        joined = {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0]}
        assert bit_equal(joined, whole.at(step))


def test_shapes_and_kinds():
    batch = made(stores.random(3, 9), 6, 5).at(0)
    assert {name: (value.dtype.name, value.shape) for name, value in batch.items()} == {
        "tokens": ("int32", (6, 5)),
        "segments": ("int32", (6, 5)),
        "targets": ("int32", (6, 5)),
        "continues": ("float32", (6,)),
        "mask": ("float32", (6,)),
        "index": ("int64", (6,)),
    }


def test_more_streams_than_targets():
    batches = made(stores.numbered([3]), 5, 4, shuffle=False)
    batch = batches.at(0)
    assert batches.steps_per_epoch == 1
    assert batch["mask"].tolist() == [1, 1, 0, 0, 0]
    assert batch["index"].tolist() == [0, 1, -1, -1, -1]
    assert batch["targets"][:, 0].tolist() == [8, 9, -1, -1, -1]
    assert not batch["segments"][2:].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "batch_size 0; expected at least 1"),
        ({"length": 0}, "length 0 of a row; expected at least 1"),
        ({"host_index": 2, "host_count": 2}, "host 2 of 2"),
        ({"eos": 500}, "500 is not in the vocabulary of 100 tokens of random 0"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(DataError, match=message):
        made(stores.random(), **options)


def test_a_corpus_without_targets_is_refused():
    with pytest.raises(DataError, match="one token: there is no next one"):
        made(stores.numbered([0, 1]))
    with pytest.raises(DataError, match="has no tokens"):
        made(stores.numbered([0, 0]))
