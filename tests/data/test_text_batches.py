"""Batches of texts: every example once, few widths, a pure function of the step; padding is inert.

Breaks tried: leftovers of a bucket dropped; the incomplete batch taken for the last when shuffled;
segments of 1 on padding; the order within buckets, or that of batches, drawn without the epoch.
"""

import itertools
import pickle
from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import word_texts
from tlearn.bodies import bert
from tlearn.data import DataError, TextBatches, prefetch, tokenise
from tlearn.data.buckets import choose_widths, widened


def made(count=50, **options):
    return tokenise(word_texts.dataset(count, **options), word_texts.tokenizer())


def batches(dataset, size=8, shuffle=True, **options):
    return TextBatches(dataset, size, seed=3, shuffle=shuffle, **options)


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 60),
    size=st.integers(1, 9),
    shuffle=st.booleans(),
    buckets=st.sampled_from([(), (32,), (8, 16, 64), (64,)]),
    epoch=st.integers(0, 3),
)
def test_every_example_once_in_every_epoch(count, size, shuffle, buckets, epoch):
    dataset = made(count)
    given_batches = batches(dataset, size, shuffle, buckets=buckets)
    found = list(given_batches.epoch(epoch))
    assert len(found) == given_batches.steps_per_epoch == -(-count // size)
    places = np.concatenate([batch["index"][batch["mask"] > 0] for batch in found])
    assert sorted(places) == list(range(count))
    assert places.tolist() == given_batches.order(epoch).tolist()
    for number, batch in enumerate(found):
        step = epoch * given_batches.steps_per_epoch + number
        assert batch["tokens"].shape == (size, given_batches.width(step))
        assert given_batches.width(step) in given_batches.buckets
        assert batch["mask"].sum() == given_batches.examples(step)
        assert np.array_equal(batch["index"], given_batches.rows(step))


def test_a_row_is_its_example_and_nothing_else():
    dataset = made(50, pairs=True)
    for batch in batches(dataset, 7, buckets=(16, 32, 48)).epoch(1):
        real = batch["index"][batch["mask"] > 0]
        for row in range(7):
            # Rows that fill the batch are copies of its first ones.
            index = batch["index"][row] if batch["mask"][row] else real[row % len(real)]
            example = dataset[int(index)]
            length = len(example["tokens"])
            assert batch["tokens"][row, :length].tolist() == example["tokens"].tolist()
            assert batch["types"][row, :length].tolist() == example["types"].tolist()
            assert batch["segments"][row].tolist() == [1] * length + [0] * (
                batch["tokens"].shape[1] - length
            )
            assert not batch["tokens"][row, length:].any()
            assert batch["label"][row] == example["label"]
        assert (batch["index"][batch["mask"] == 0] == -1).all()
    kinds = {name: value.dtype.name for name, value in batches(dataset).at(0).items()}
    assert kinds == {
        **dict.fromkeys(("tokens", "segments", "types", "label"), "int32"),
        "mask": "float32",
        "index": "int64",
    }


def test_orders_differ_by_epoch_and_seed_and_nothing_else():
    dataset = made(50)
    one = batches(dataset)
    # From epoch to epoch other texts come together, and batches of other widths follow each other.
    together = [{frozenset(one.rows(e * 7 + i).tolist()) for i in range(7)} for e in (0, 1)]
    assert one.steps_per_epoch == 7
    assert len(together[0] & together[1]) < 3
    assert [one.width(i) for i in range(7)] != [one.width(7 + i) for i in range(7)]
    assert sorted(one.width(i) for i in range(7)) == sorted(one.width(7 + i) for i in range(7))
    assert not np.array_equal(one.order(0), TextBatches(dataset, 8, seed=4, shuffle=True).order(0))
    # Any step at once, in any order, in another process: the same bits.
    again = pickle.loads(pickle.dumps(batches(made(50))))
    for step in (30, 2, 11, 2):
        assert same(one.at(step), again.at(step))
    straight = [one.at(step) for step in range(5, 12)]
    assert all(same(a, b) for a, b in zip(straight, prefetch(one, 5, 12), strict=True))


def test_by_length_without_shuffling():
    one = batches(made(50), shuffle=False)
    lengths = one.dataset.tokens.lengths[one.order(0)]
    assert (np.diff(lengths) >= 0).all()
    assert np.array_equal(one.order(0), one.order(5))
    for step in range(one.steps_per_epoch):
        longest = one.dataset.tokens.lengths[one.rows(step)[one.rows(step) >= 0]].max()
        assert one.width(step) == min(width for width in one.buckets if width >= longest)


def test_hosts_read_blocks_of_the_same_global_batch():
    dataset = made(29)
    whole = batches(dataset, 8)
    parts = [batches(dataset, 8, host_index=i, host_count=4) for i in range(4)]
    for step in range(2 * whole.steps_per_epoch):
        blocks = [part.at(step) for part in parts]
        joined = {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0]}
        assert same(joined, whole.at(step))


def test_only_the_widest_bucket_ends_incomplete_and_waste_is_told():
    dataset = made(100)
    one = batches(dataset, 8, buckets=(8, 16, 32, 512))
    for epoch in range(3):
        steps = range(epoch * one.steps_per_epoch, (epoch + 1) * one.steps_per_epoch)
        short = [one.width(step) for step in steps if one.examples(step) < 8]
        assert short == [32]  # The widest that an example needs, not the widest there is.
    slots = sum(batch["tokens"].size for batch in one.epoch(0))
    real = sum((batch["segments"] * batch["mask"][:, None]).sum() for batch in one.epoch(0))
    assert one.waste == pytest.approx(1 - real / slots)
    assert f"8 16 32 tokens wide: {one.waste:.1%} padding" in str(one)
    assert one.waste < batches(dataset, 8, buckets=(32,)).waste - 0.1
    wide = batches(dataset, 8, buckets=(32,))
    assert wide.widths == (32,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"buckets": (8, 16)}, r"more tokens than the widest bucket, 16 .*max_length=16"),
        ({"buckets": (64, 32)}, "each greater than the one before"),
        ({"size": 0}, "batch_size 0"),
        ({"host_count": 3}, "host 0 of 3 with batch_size 8"),
    ],
)
def test_numbers_that_make_no_sense(options, message):
    with pytest.raises(DataError, match=message):
        batches(made(50), **options)


def padded(lengths, widths):
    place = np.searchsorted(widths, lengths)
    return int(np.array(widths)[place].sum())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 64), min_size=1, max_size=30))
def test_widths_are_the_best_of_so_many(lengths):
    lengths = np.array(lengths)
    for most in (1, 2, 3):
        found = choose_widths(lengths, most=most)
        grid = range(8, int(-(-lengths.max() // 8) * 8) + 1, 8)
        options = (
            some
            for count in range(1, len(found) + 1)
            for some in itertools.combinations(grid, count)
            if some[-1] >= lengths.max()
        )
        assert len(found) <= most
        assert padded(lengths, found) == min(padded(lengths, some) for some in options)


def test_widths_are_few_and_within_the_limit():
    lengths = np.random.default_rng(0).gamma(2, 60, 5000).astype(int).clip(4, 500)
    found = choose_widths(lengths, limit=500)
    assert len(found) <= 6
    assert found[-1] == 500
    assert padded(lengths, found) < 1.3 * lengths.sum()
    assert choose_widths(np.full(10, 30)) == (32,)
    assert widened(found, np.array([600])) == (*found, 640)
    with pytest.raises(DataError, match="beyond the limit of 64"):
        choose_widths(np.array([65]), limit=64)


def test_results_are_those_of_the_text_alone():
    body = bert.Bert(
        vocab_size=len(word_texts.PIECES),
        width=16,
        depth=2,
        heads=2,
        feed_forward=32,
        positions=64,
        types=2,
    )
    dataset = made(23, pairs=True)
    first = batches(dataset, 8).at(0)
    inputs = [jax.numpy.asarray(first[name]) for name in body.inputs]
    tree = jax.jit(partial(body.init, train=False))(jax.random.key(0), *inputs)
    apply = jax.jit(lambda *inputs: body.apply(tree, *inputs, train=False).pooled)
    for one in (batches(dataset, 8, buckets=(24, 64)), batches(dataset, 8, False, buckets=(64,))):
        found = np.full((23, 16), np.nan, np.float32)
        for batch in one.epoch(0):
            real = batch["mask"] > 0
            found[batch["index"][real]] = apply(*(batch[n] for n in body.inputs))[real]
        for index in (0, 22):
            example = dataset[index]
            tokens, types = (example[n][None].astype(np.int32) for n in ("tokens", "types"))
            alone = apply(tokens, np.ones_like(tokens), types)
            np.testing.assert_allclose(found[index], alone[0], rtol=1e-5, atol=1e-5)
