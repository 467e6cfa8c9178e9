"""Batches: a pure function of (seed, step), with every example once an epoch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlearn.data import (
    ArrayDataset,
    Batches,
    CenterCrop,
    ColorJitter,
    CutMix,
    DataError,
    FlipLR,
    ImageDataset,
    Joined,
    Mixup,
    Normalise,
    Pipeline,
    RandomCrop,
    Resize,
    ToChannels,
    ToFloat,
    mix_batch,
    per_class,
)

PLAIN = Pipeline((ToFloat(), Normalise((0.5,) * 3, (0.25,) * 3)))
RANDOM = Pipeline((RandomCrop(8, padding=2), FlipLR(), *PLAIN.transforms))
SLOW = Pipeline((FlipLR(), ColorJitter(0.4, 0.4, 0.4), *PLAIN.transforms))


class OneByOne(ImageDataset):
    """The same examples without `take`, so that batches go the slow way."""

    def __init__(self, below):
        self.below, self.name = below, below.name
        self.labels, self.label_names = below.labels, below.label_names

    def image(self, index):
        return self.below.image(index)

    def fingerprint(self, index):
        return self.below.fingerprint(index)


def numbers(count: int) -> ArrayDataset:
    """Pictures that tell their index."""
    images = np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)
    return ArrayDataset(images, np.arange(count) % 2, ("even", "odd"))


def test_the_order_is_golden():
    batches = Batches(numbers(10), Pipeline(), 4, seed=0, shuffle=True)
    assert batches.steps_per_epoch == 3
    assert [batches.at(step)["index"].tolist() for step in range(4)] == [
        [3, 0, 2, 7],
        [4, 5, 1, 6],
        [9, 8, -1, -1],
        [8, 3, 4, 9],
    ]
    assert np.array_equal(batches.at(0)["image"].ravel(), [3, 0, 2, 7])
    other = Batches(numbers(10), Pipeline(), 4, seed=1, shuffle=True)
    assert other.at(0)["index"].tolist() == [6, 1, 7, 8]
    plain = Batches(numbers(10), Pipeline(), 4, seed=0, shuffle=False)
    assert plain.at(2)["index"].tolist() == plain.at(5)["index"].tolist() == [8, 9, -1, -1]


@settings(deadline=None)
@given(
    count=st.integers(1, 40),
    size=st.integers(1, 45),
    shuffle=st.booleans(),
    epoch=st.integers(0, 3),
)
def test_every_example_is_counted_once_an_epoch(count, size, shuffle, epoch):
    batches = Batches(numbers(count), Pipeline(), size, seed=5, shuffle=shuffle)
    seen, total = [], 0.0
    for offset, batch in enumerate(batches.epoch(epoch)):
        real = batch["mask"] == 1
        assert batch["image"].shape[0] == batch["mask"].shape[0] == size
        assert np.array_equal(real, batch["index"] >= 0)
        assert np.array_equal(batch["image"][real].ravel(), batch["index"][real])
        assert np.array_equal(batch["label"], batch["image"].ravel() % 2)
        assert real.sum() == batches.examples(epoch * batches.steps_per_epoch + offset)
        seen += batch["index"][real].tolist()
        total += batch["mask"].sum()
    assert sorted(seen) == list(range(count))
    assert total == count


@pytest.mark.parametrize("pipeline", [PLAIN, RANDOM, SLOW])
def test_resuming_at_a_step_gives_the_same_batches(arrays, pipeline, bit_equal):
    straight = Batches(arrays, pipeline, 8, seed=3, shuffle=True)
    run = [straight.at(step) for step in range(12)]
    for step in (11, 4, 7, 0):
        fresh = Batches(arrays, pipeline, 8, seed=3, shuffle=True)
        assert bit_equal(fresh.at(step), run[step])
    # Random pipelines see each example anew every epoch.
    first, second = (
        {int(i): x.tobytes() for batch in straight.epoch(e) for i, x in rows(batch)} for e in (0, 1)
    )
    changed = sum(first[index] != second[index] for index in range(37))
    assert changed == 0 if not pipeline.random else changed > 10


def rows(batch):
    return [(i, x) for i, x in zip(batch["index"], batch["image"], strict=True) if i >= 0]


@pytest.mark.parametrize("pipeline", [PLAIN, RANDOM, SLOW])
@pytest.mark.parametrize("mix", [(), (Mixup(1.0), CutMix())])
@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_together_read_what_one_host_reads(arrays, pipeline, mix, hosts, bit_equal):
    def batches(index, count):
        return Batches(
            arrays,
            pipeline,
            8,
            seed=1,
            shuffle=True,
            mix=mix,
            host_index=index,
            host_count=count,
        )

    for step in (0, 3, 4, 9):
        whole = batches(0, 1).at(step)
        parts = [batches(host, hosts).at(step) for host in range(hosts)]
        assert all(len(part["mask"]) == 8 // hosts for part in parts)
        joined = {key: np.concatenate([part[key] for part in parts]) for key in whole}
        assert bit_equal(joined, whole)


def test_augmentation_does_not_depend_on_batch_size_or_order(arrays):
    def pictures(size, shuffle):
        batches = Batches(arrays, RANDOM, size, seed=7, shuffle=shuffle)
        return {int(i): x.tobytes() for batch in batches.epoch(2) for i, x in rows(batch)}

    expected = pictures(8, True)
    assert len(expected) == 37
    assert pictures(5, True) == expected
    assert pictures(64, False) == expected
    assert len(set(expected.values())) == 37


@pytest.mark.parametrize(
    "pipeline",
    [
        Pipeline(),
        PLAIN,
        RANDOM,
        Pipeline((Resize(8), CenterCrop(5), ToChannels(1), ToFloat())),
        Pipeline((Resize(6), FlipLR(), ToFloat())),
        SLOW,
    ],
    ids=str,
)
def test_whole_batch_indexing_equals_one_by_one_to_the_bit(arrays, pipeline, bit_equal):
    view = per_class(arrays, 6, seed=0)
    for fast in (arrays, view, arrays.aligned(("wasp", "ant", "bee"))):
        quick = Batches(fast, pipeline, 8, seed=2, shuffle=True)
        slow = Batches(OneByOne(fast), pipeline, 8, seed=2, shuffle=True)
        joined = Batches(Joined([fast]), pipeline, 8, seed=2, shuffle=True)
        for step in (0, quick.steps_per_epoch - 1, quick.steps_per_epoch):
            assert bit_equal(quick.at(step), slow.at(step))
            assert bit_equal(joined.at(step), slow.at(step))


@pytest.mark.parametrize("pipeline", [Pipeline(), PLAIN])
@pytest.mark.parametrize("slow", [False, True])
def test_every_batch_is_new_memory(arrays, pipeline, slow):
    floats = ArrayDataset(arrays.images.astype(np.float32), arrays.labels, arrays.label_names)
    for dataset in (arrays, floats):
        if pipeline is PLAIN and dataset is arrays and slow:
            continue
        batches = Batches(
            OneByOne(dataset) if slow else dataset, pipeline, 8, seed=0, shuffle=False
        )
        one, again = batches.at(0), batches.at(0)
        kept = {key: value.copy() for key, value in again.items()}
        for value in one.values():
            assert value.flags.writeable
            assert not np.shares_memory(value, dataset.images)
            value[...] = 7
        assert all(np.array_equal(again[key], kept[key]) for key in kept)
        assert np.array_equal(batches.at(0)["image"], kept["image"])
        assert np.array_equal(batches.at(0)["index"], np.arange(8))


def test_padding_copies_real_rows(arrays):
    last = Batches(arrays, PLAIN, 8, seed=0, shuffle=True).at(4)
    assert last["mask"].tolist() == [1] * 5 + [0] * 3
    assert np.array_equal(last["image"][5:], last["image"][:3])
    assert np.array_equal(last["label"][5:], last["label"][:3])
    assert last["index"][5:].tolist() == [-1] * 3
    tiny = Batches(arrays.subset([4, 5]), PLAIN, 5, seed=0, shuffle=False).at(0)
    assert np.array_equal(tiny["image"][[2, 3, 4]], tiny["image"][[0, 1, 0]])


def test_types_and_shapes(arrays):
    batch = Batches(arrays, PLAIN, 8, seed=0, shuffle=True).at(0)
    shapes = {key: (value.dtype.name, value.shape) for key, value in batch.items()}
    assert shapes == {
        "image": ("float32", (8, 8, 8, 3)),
        "label": ("int32", (8,)),
        "mask": ("float32", (8,)),
        "index": ("int64", (8,)),
    }
    text = str(Batches(arrays, PLAIN, 8, seed=4, shuffle=True, mix=(CutMix(),)))
    assert "37 examples, shuffled by seed 4, 5 batches of 8 an epoch: ToFloat()" in text
    assert "CutMix(alpha=1.0" in text


def test_what_goes_wrong_names_example_epoch_and_step(arrays):
    mixed = Joined([OneByOne(arrays), OneByOne(arrays.subset([3]))])
    mixed.parts[1].below.dataset = ArrayDataset(np.zeros((37, 9, 8, 3), np.uint8), [0] * 37, ("a",))
    with pytest.raises(DataError) as caught:
        Batches(mixed, PLAIN, 38, seed=0, shuffle=False).at(0)
    assert "(8, 8, 3) (insects/0)" in str(caught.value)
    assert "(9, 8, 3)" in str(caught.value)
    assert "end the pipeline with one size" in str(caught.value)
    with pytest.raises(DataError, match=r"example 8 \(insects/8\) at epoch 1, step 6"):
        Batches(OneByOne(arrays), Pipeline((CenterCrop(9),)), 8, seed=0, shuffle=False).at(6)
    wrong = Pipeline((ToFloat(), Normalise((0.5,), (0.5,))))
    with pytest.raises(DataError, match=r"put ToChannels\(1\) before it"):
        Batches(arrays, wrong, 8, seed=0, shuffle=False).at(0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size 0"),
        ({"seed": -1}, "seed -1"),
        ({"host_count": 3}, "divides the batch size"),
        ({"host_index": 1}, "hosts count from 0"),
    ],
)
def test_numbers_that_make_no_sense(arrays, options, words):
    settings = {"batch_size": 8, "seed": 0, "shuffle": True} | options
    with pytest.raises(DataError, match=words):
        Batches(arrays, PLAIN, **settings)
    with pytest.raises(DataError, match="step -1 is negative"):
        Batches(arrays, PLAIN, 8, seed=0, shuffle=True).at(-1)


# --- mixing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mix", [Mixup(0.7), CutMix(1.0)], ids=str)
def test_mixed_labels_say_what_the_pictures_hold(mix):
    # Every picture is one-hot in its own channel, so shares can be read off the pixels.
    images = np.zeros((7, 16, 16, 7), np.float32)
    for index in range(7):
        images[index, :, :, index] = 1
    dataset = ArrayDataset(images, np.arange(7), list("abcdefg"))
    batches = Batches(dataset, Pipeline(), 4, seed=0, shuffle=True, mix=(mix,))
    blends = 0
    for step in range(20):
        batch = batches.at(step)
        held = batch["image"].mean(axis=(1, 2))
        assert np.allclose(held, batch["label_weights"], atol=1e-6)
        assert np.allclose(batch["label_weights"].sum(axis=1), 1, atol=1e-6)
        # The label stays that of the row's own example, and padding is never blended in.
        real = batch["mask"] > 0
        assert np.all(batch["label_weights"][np.arange(4), batch["label"]] >= 0)
        inside = set(batch["label"][real])
        assert all(set(np.flatnonzero(row)) <= inside for row in batch["label_weights"])
        blends += np.sum((held > 0).sum(axis=1)[real] == 2)
    assert blends > 30


def test_mixing_by_hand_and_not_at_all(arrays):
    batch = Batches(arrays, PLAIN, 8, seed=0, shuffle=True).at(4)
    mixed = mix_batch(batch, Mixup(1.0), np.random.default_rng(0), classes=3)
    assert not np.array_equal(mixed["image"][:5], batch["image"][:5])
    assert np.array_equal(mixed["image"][5:], batch["image"][5:])
    never = mix_batch(batch, CutMix(probability=0.0), np.random.default_rng(0), classes=3)
    assert np.array_equal(never["image"], batch["image"])
    assert np.array_equal(never["label_weights"], np.eye(3, dtype=np.float32)[batch["label"]])
    with pytest.raises(DataError, match=r"add ToFloat\(\)"):
        Batches(arrays, Pipeline(), 8, seed=0, shuffle=True, mix=(Mixup(),)).at(0)
    with pytest.raises(DataError, match="alpha is above 0"):
        Mixup(0.0)


def test_the_weight_of_mixup_follows_its_distribution():
    drawn = [Mixup(2.0).draw(np.random.default_rng(seed), 8) for seed in range(2000)]
    weights = np.array([blend.weight for blend in drawn])
    assert abs(weights.mean() - 0.5) < 0.02
    assert abs(weights.var() - 1 / 20) < 0.005  # Beta(2, 2)
    assert {blend.shift for blend in drawn} == set(range(1, 8))
