"""Rows of two objectives: fixed numbers of each, each row as its own objective makes it.

Breaks tried: one seed for both objectives; rows of the second numbered from 0; the label 0 where
there is none; targets filled up with padding; an epoch as long as the first objective's pass.
"""

import pickle

import numpy as np
import pytest

from tests import stores
from tlearn.data import DataError
from tlearn.data.joined_batches import BatchesInTurn, JoinedBatches, rows_of_each, second_seed
from tlearn.tasks.row_making import Rows

MARKS = dict(stores.SPECIAL)
SENTINELS = tuple(range(99, 79, -1))
PAIRS = [("span_corruption", "prefix_lm"), ("masked_tokens", "next_sentence")]


def rows(first, second, share=0.25):
    return Rows(
        objective=first,
        also=second,
        also_share=share,
        length=24,
        marks=MARKS,
        sentinels=SENTINELS,
    )


def made(first, second, size=8, shuffle=True, **options):
    store = stores.random(60, 50, vocab_size=80)
    object.__setattr__(store, "vocab_size", 100)
    return rows(first, second, **options).batches(store, size, seed=3, shuffle=shuffle)


def alone(batches, objective, size, seed, shuffle=True):
    asked = Rows(objective=objective, length=24, marks=MARKS, sentinels=SENTINELS)
    return asked.batches(batches.dataset, size, seed=seed, shuffle=shuffle)


def check_same(row, own, place):
    """One row is what its own objective makes, and filling behind it."""
    for name, value in own.items():
        if name == "index":
            continue
        theirs = value[place]
        if theirs.ndim:
            np.testing.assert_array_equal(row[name][: len(theirs)], theirs)
            empty = -1 if name == "targets" else 0
            assert (row[name][len(theirs) :] == empty).all()
        else:
            assert row[name] == theirs


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_every_batch_has_as_many_rows_of_each_as_its_own_objective_makes(first, second):
    batches = made(first, second)
    assert isinstance(batches, JoinedBatches)
    apart = (alone(batches, first, 6, 3), alone(batches, second, 2, second_seed(3)))
    begins = apart[0].examples_per_epoch
    for step in (0, 1, 5, batches.steps_per_epoch, 3 * batches.steps_per_epoch + 2):
        batch = batches.at(step)
        assert batch["kind"].tolist() == [0] * 6 + [1] * 2
        np.testing.assert_array_equal(batch["index"], batches.rows(step))
        for kind, part in enumerate(apart):
            own = part.at(step)
            for place in range(part.batch_size):
                row = {name: value[6 * kind + place] for name, value in batch.items()}
                check_same(row, own, place)
                index = own["index"][place]
                assert row["index"] == (index + begins * kind if index >= 0 else -1)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_an_epoch_reads_the_corpus_once_and_passes_leave_no_row_out(first, second):
    batches = made(first, second)
    counts = [part.examples_per_epoch for part in (batches.first, batches.second)]
    read = batches.steps_per_epoch * np.array([6 / counts[0], 2 / counts[1]])
    assert 1 <= read.sum() < 1 + 6 / counts[0] + 2 / counts[1]
    for part, begin in zip((batches.first, batches.second), (0, counts[0]), strict=True):
        kind = int(begin > 0)
        seen = np.concatenate(
            [
                batch["index"][(batch["kind"] == kind) & (batch["mask"] > 0)]
                for batch in map(batches.at, range(2 * part.steps_per_epoch))
            ]
        )
        assert sorted(seen) == sorted([*range(begin, begin + part.examples_per_epoch)] * 2)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_an_evaluation_has_every_row_of_both_once(first, second):
    batches = made(first, second, size=7, shuffle=False)
    assert isinstance(batches, BatchesInTurn)
    apart = [alone(batches, name, 7, 3, shuffle=False) for name in (first, second)]
    seen, step = [], 0
    shapes = {name: value.shape for name, value in batches.at(0).items()}
    for kind, part in enumerate(apart):
        for own in part.epoch():
            batch = batches.at(step)
            assert {name: value.shape for name, value in batch.items()} == shapes
            assert (batch["kind"] == kind).all()
            for place in range(7):
                check_same({name: value[place] for name, value in batch.items()}, own, place)
            seen += batch["index"][batch["mask"] > 0].tolist()
            step += 1
    assert step == batches.steps_per_epoch
    assert seen == list(range(batches.examples_per_epoch))


def test_rows_that_are_no_pair_have_no_label():
    for first, second in (PAIRS[1], PAIRS[1][::-1]):
        batch = made(first, second).at(0)
        paired = batch["kind"] == (second == "next_sentence")
        assert (batch["label"][~paired] == -1).all()
        assert set(batch["label"][paired]) <= {0, 1}


def test_no_random_number_is_used_for_both_and_batches_are_a_function_of_the_step(bit_equal):
    batches = made(*PAIRS[1], share=0.5)
    assert len({3, batches.first.seed, batches.second.seed}) == 2
    again = pickle.loads(pickle.dumps(batches))
    for step in (7, 0, 40, 7):
        assert bit_equal(batches.at(step), again.at(step))


def test_a_share_is_a_number_of_rows():
    assert rows_of_each(8, 0.25) == (6, 2)
    assert rows_of_each(10, 1 / 3) == (7, 3)
    assert rows_of_each(2, 0.4) == (1, 1)
    for size, share, lone in ((4, 0.1, "second"), (4, 0.9, "first"), (1, 0.25, "second")):
        with pytest.raises(DataError, match=f"leaves the {lone} objective no row"):
            rows_of_each(size, share)
