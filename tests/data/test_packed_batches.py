"""Packed rows: every token but each document's first is a target once, documents are apart.

Breaks tried: a document's last target left out; segments numbered through the batch; documents in
one order in all epochs; packing that overfills a row.
"""

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import stores
from tests.stores import FIRST
from tlearn.data import DataError
from tlearn.data.packed_batches import PackedBatches
from tlearn.data.pieces import cut, pack

BOS, EOS = 5, 6


def made(store, size=4, length=8, shuffle=True, **options):
    return PackedBatches(store, size, length, seed=3, shuffle=shuffle, **options)


def segments_of(batches, number=0):
    """Each segment's tokens and targets, and the indices seen."""
    found, indices = [], []
    for batch in batches.epoch(number):
        indices += batch["index"].tolist()
        assert np.array_equal(batch["segments"] > 0, batch["targets"] >= 0)
        assert (batch["tokens"][batch["segments"] == 0] == 0).all()
        for row in range(len(batch["tokens"])):
            for segment in range(1, batch["segments"][row].max() + 1):
                at = batch["segments"][row] == segment
                assert np.diff(np.flatnonzero(at)).max(initial=1) == 1
                found.append((batch["tokens"][row][at], batch["targets"][row][at]))
    return found, indices


def test_by_hand():
    # 7 8 9 10 11 | 12 13 | 14 with marks 5 and 6: six, three and two targets in rows of four.
    batches = made(stores.numbered([5, 2, 1]), 2, 4, shuffle=False, bos=BOS, eos=EOS)
    whole = [
        (b["tokens"].tolist(), b["segments"].tolist(), b["targets"].tolist())
        for b in batches.epoch()
    ]
    assert whole == [
        (
            [[5, 7, 8, 9], [10, 11, 5, 14]],
            [[1, 1, 1, 1], [1, 1, 2, 2]],
            [[7, 8, 9, 10], [11, 6, 14, 6]],
        ),
        ([[5, 12, 13, 0], [0] * 4], [[1, 1, 1, 0], [0] * 4], [[12, 13, 6, -1], [-1] * 4]),
    ]


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(lambda x: max(x) > 1),
    size=st.integers(1, 5),
    length=st.integers(1, 12),
    shuffle=st.booleans(),
    bos=st.sampled_from([None, BOS]),
    eos=st.sampled_from([None, EOS]),
    number=st.integers(0, 2),
)
def test_every_token_but_each_documents_first_is_a_target_once(
    lengths, size, length, shuffle, bos, eos, number
):
    store = stores.numbered(lengths)
    batches = made(store, size, length, shuffle, bos=bos, eos=eos)
    found, indices = segments_of(batches, number)
    targets = np.concatenate([b for _, b in found])
    full = [i for i, count in enumerate(lengths) if count]
    firsts = [] if bos else [int(store.document(i)[0]) for i in full]
    assert sorted([*targets[targets >= FIRST], *firsts]) == store.tokens.tolist()
    assert (targets == EOS).sum() == (len(full) if eos else 0)
    assert len(targets) == batches.targets_per_epoch
    # Within a segment a target is the next token, and all are one document's: they count up.
    for tokens, own in found:
        assert np.array_equal(tokens[1:], own[:-1])
        line = np.array([*tokens, own[-1]])
        line = line[line >= FIRST]
        assert (np.diff(line) == 1).all()
        ends = np.searchsorted(np.cumsum(lengths), line - FIRST, side="right")
        assert len(set(ends)) <= 1
    assert sorted(i for i in indices if i >= 0) == list(range(batches.examples_per_epoch))
    assert len(indices) == batches.steps_per_epoch * size


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(lambda x: sum(x) > 1),
    length=st.integers(1, 12),
    shuffle=st.booleans(),
    number=st.integers(0, 2),
)
def test_across_documents_every_token_but_the_first_is_a_target_once(
    lengths, length, shuffle, number
):
    store = stores.numbered(lengths)
    batches = made(store, 3, length, shuffle, eos=EOS, cross=True)
    rows = {}
    for batch in batches.epoch(number):
        assert set(np.unique(batch["segments"])) <= {0, 1}
        for row, index in enumerate(batch["index"]):
            if index >= 0:
                real = batch["targets"][row] >= 0
                rows[int(index)] = (batch["tokens"][row][real], batch["targets"][row][real])
    assert sorted(rows) == list(range(batches.examples_per_epoch))
    # All rows are full but the last, and joined by index they are one line of whole documents.
    assert all(len(rows[i][0]) == length for i in range(len(rows) - 1))
    line = [int(rows[0][0][0]), *(int(t) for i in range(len(rows)) for t in rows[i][1])]
    joined = [int(t) for i in range(len(rows)) for t in rows[i][0]]
    assert joined == line[:-1]
    ends = [-1, *np.flatnonzero(np.array(line) == EOS).tolist()]
    documents = [line[a + 1 : b] for a, b in itertools.pairwise(ends)]
    wanted = [store.document(i).tolist() for i in range(len(store)) if lengths[i]]
    assert sorted(documents) == wanted
    if not shuffle:
        assert documents == wanted


def test_orders_are_fresh_every_epoch():
    store = stores.random(60)
    for cross in (False, True):
        batches = made(store, cross=cross, eos=EOS)
        steps = batches.steps_per_epoch
        orders = [
            np.concatenate([batches.rows(e * steps + s) for s in range(steps)]) for e in range(2)
        ]
        assert not np.array_equal(*orders)
        assert batches.random == cross
    # Across documents, what an index holds changes too: the documents have another order.
    lines = [
        {int(b["index"][0]): b["tokens"][0].tolist() for b in made(store, 1, cross=True).epoch(e)}
        for e in range(2)
    ]
    assert lines[0].keys() == lines[1].keys()
    assert np.mean([lines[0][i] != lines[1][i] for i in lines[0]]) > 0.9


@settings(max_examples=60, deadline=None)
@given(costs=st.lists(st.integers(1, 20), min_size=1, max_size=60), room=st.integers(20, 30))
def test_packing_holds_every_piece_once_and_overfills_nothing(costs, room):
    costs = np.array(costs)
    packing = pack(costs, room)
    assert sorted(packing.pieces) == list(range(len(costs)))
    row, number, piece = packing.of(np.arange(len(packing)))
    held = np.bincount(row, costs[piece], len(packing))
    assert held.max() <= room
    assert (held > 0).all()
    assert all((np.diff(piece[row == r]) > 0).all() for r in range(len(packing)))
    firsts = [piece[(row == r) & (number == 0)][0] for r in range(len(packing))]
    assert firsts == sorted(firsts)
    # A row is opened only for what fits into none: no two could be one.
    assert np.sort(held)[:2].sum() > room or len(packing) == 1
    some = packing.of(np.arange(len(packing))[::-1])
    assert np.array_equal(np.sort(some[2]), np.arange(len(costs)))


def test_rows_are_nearly_full():
    lengths = np.random.default_rng(0).integers(1, 300, 3000)
    cuts = cut(lengths, 128)
    pieces = cuts.of(np.arange(len(cuts)))
    assert pieces.counts.max() == 128
    assert np.array_equal(np.bincount(pieces.documents, pieces.counts), lengths)
    assert lengths.sum() / (len(pack(pieces.counts, 128)) * 128) > 0.99


def test_any_step_at_once_and_in_another_process(bit_equal):
    for cross in (False, True):
        batches = made(stores.random(), bos=BOS, eos=EOS, cross=cross)
        again = pickle.loads(pickle.dumps(batches))
        late = 3 * batches.steps_per_epoch + 2
        for step in (late, 0, 5, late, 1):
            assert bit_equal(batches.at(step), again.at(step))
        still = made(stores.random(), shuffle=False, cross=cross)
        assert bit_equal(still.at(1), still.at(1 + still.steps_per_epoch))


@pytest.mark.parametrize("cross", [False, True])
def test_hosts_read_blocks_of_the_same_global_batch(bit_equal, cross):
    store = stores.random(21)
    whole = made(store, 8, cross=cross)
    parts = [made(store, 8, cross=cross, host_index=i, host_count=4) for i in range(4)]
    for step in range(whole.steps_per_epoch + 1):
        blocks = [part.at(step) for part in parts]
        joined = {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0]}
        assert bit_equal(joined, whole.at(step))


def test_documents_of_one_token():
    store = stores.numbered([1, 1, 1])
    with pytest.raises(DataError, match="one token each"):
        made(store)
    assert made(store, eos=EOS).targets_per_epoch == 3
    assert made(store, cross=True).targets_per_epoch == 2
