"""Datasets of arrays, views and joins: labels are names, digests follow contents."""

import pickle

import numpy as np
import pytest

from tlearn.data import (
    ArrayDataset,
    DataError,
    Dataset,
    Joined,
    aligned,
    describe,
    digits,
    open_dataset,
    select_classes,
)


class Bare:
    """The least a user's own dataset has."""

    label_names = ("bee", "ant")
    digest = "mine"

    def __len__(self):
        return 4

    def __getitem__(self, index):
        image = np.full((8, 8, 3), index, np.uint8)
        return {"image": image, "label": np.int32(index % 2), "id": f"own {index}"}


def test_an_example_is_pixels_label_and_id(arrays):
    example = arrays[-1]
    assert isinstance(arrays, Dataset)
    assert example["image"].shape == (8, 8, 3)
    assert example["image"].dtype == np.uint8
    assert example["label"].dtype == np.int32
    assert example["id"] == "insects/36"
    with pytest.raises(IndexError, match="example 37 of a dataset of 37"):
        arrays[37]


def test_reading_gives_arrays_of_ones_own(arrays):
    before = arrays.digest
    arrays[0]["image"][:] = 0
    arrays.take(np.array([0, 1]))["image"][:] = 0
    fresh = ArrayDataset(arrays.images, arrays.labels, arrays.label_names)
    assert fresh.digest == before


def test_arrays_that_do_not_fit_are_all_listed():
    with pytest.raises(DataError) as caught:
        ArrayDataset(np.zeros((3, 4)), np.array([0.0, 1.0]), ("a",), name="wrong")
    message = str(caught.value)
    assert "[n h w c]" in message
    assert "float64" in message
    assert "whole numbers" in message
    with pytest.raises(DataError, match="run from 0 to 2, but 2 label names"):
        ArrayDataset(np.zeros((3, 4, 4), np.uint8), [0, 1, 2], ("a", "b"))
    with pytest.raises(DataError, match="occur twice: a"):
        ArrayDataset(np.zeros((3, 4, 4), np.uint8), [0, 1, 1], ("a", "a"))


def test_the_digest_is_of_pixels_labels_names_and_order(arrays):
    images, labels, names = arrays.images, arrays.labels, arrays.label_names
    flipped = images.copy()
    flipped[5, 3, 3, 0] ^= 1
    swapped = labels.copy()
    swapped[0] = (labels[0] + 1) % 3
    order = np.arange(37)[::-1]
    digests = {
        arrays.digest,
        ArrayDataset(flipped, labels, names).digest,
        ArrayDataset(images, swapped, names).digest,
        ArrayDataset(images, labels, names[::-1]).digest,
        ArrayDataset(images[order], labels[order], names).digest,
        arrays.subset(range(36)).digest,
    }
    assert len(digests) == 6
    assert ArrayDataset(images, labels, names, name="elsewhere").digest == arrays.digest
    # What lies below does not matter: the same examples are the same data.
    assert arrays.subset(range(37)).digest == arrays.digest
    assert Joined([arrays.subset(range(20)), arrays.subset(range(20, 37))]).digest == arrays.digest


def test_a_view_keeps_ids_and_looks_through_views(arrays):
    view = arrays.subset([9, 4, 7]).subset([2, 0])
    assert view.dataset is arrays
    assert [view[i]["id"] for i in range(2)] == ["insects/7", "insects/9"]
    assert np.array_equal(view.take(np.array([1]))["image"][0], arrays.images[9])
    assert np.array_equal(view.labels, arrays.labels[[7, 9]])
    with pytest.raises(DataError, match="outside insects, which has 37 examples"):
        arrays.subset([0, 37])
    with pytest.raises(DataError, match="no example"):
        arrays.subset([])


def test_labels_are_aligned_by_name_not_by_place(arrays):
    turned = arrays.aligned(("wasp", "moth", "ant", "bee"))
    assert turned.label_names == ("wasp", "moth", "ant", "bee")
    for index in range(37):
        name = arrays.label_names[arrays[index]["label"]]
        assert turned.label_names[turned[index]["label"]] == name


def test_labels_unseen_in_training_are_named(arrays):
    with pytest.raises(DataError) as caught:
        arrays.aligned(("ant", "Bee"))
    message = str(caught.value)
    assert "unseen in training" in message
    assert "'bee' (10 examples): did you mean 'Bee'?" in message
    assert "'wasp' (7 examples)" in message
    # A name that no example carries does no harm.
    assert select_classes(arrays, ["ant"]).aligned(["ant"]).label_names == ("ant",)
    only = arrays.subset(np.flatnonzero(arrays.labels == 0))
    assert only.aligned(("ant",)).labels.tolist() == [0] * 20


def test_classes_are_selected_by_name_in_the_order_given(arrays):
    part = select_classes(arrays, ["wasp", "ant"])
    assert part.label_names == ("wasp", "ant")
    assert np.bincount(part.labels).tolist() == [7, 20]
    assert {part.id(i) for i in range(27)} == {
        f"insects/{i}" for i in range(37) if arrays.labels[i] != 1
    }
    with pytest.raises(DataError, match=r"'waps': did you mean 'wasp'\?"):
        select_classes(arrays, ["waps"])


def test_joining_needs_equal_label_names(arrays):
    joined = Joined([arrays, arrays.subset([3])])
    assert len(joined) == 38
    assert joined[37]["id"] == "insects/3"
    with pytest.raises(DataError, match="aligned"):
        Joined([arrays, arrays.aligned(("wasp", "ant", "bee"))])


def test_own_datasets_need_only_the_protocol(arrays):
    bare = Bare()
    assert isinstance(bare, Dataset)
    turned = aligned(bare, ("ant", "bee"))
    assert turned.labels.tolist() == [1, 0, 1, 0]
    assert turned[3]["id"] == "own 3"
    assert len(Joined([turned, select_classes(arrays, ["ant", "bee"])])) == 34
    assert len(turned.digest) == 64
    assert "4 examples" in describe(bare)


def test_describe_tells_counts_and_sizes(arrays):
    text = arrays.describe()
    assert "insects: 37 examples" in text
    assert "ant 20, bee 10, wasp 7" in text
    assert "8 x 8 x 3 uint8" in text


def test_datasets_can_be_sent_to_another_process(arrays):
    view = pickle.loads(pickle.dumps(arrays.subset([1, 2])))
    assert np.array_equal(view[1]["image"], arrays[2]["image"])


def test_the_embedded_digits_are_scikit_learns(monkeypatch):
    datasets = pytest.importorskip("sklearn.datasets")
    ours, bundle = digits(), datasets.load_digits()
    assert np.array_equal(ours.labels, bundle["target"])
    assert np.array_equal(ours.images[..., 0], np.rint(bundle["images"] * 255 / 16))
    # Should the file ever move, the way round through the package gives the same.
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert digits().digest == ours.digest


def test_the_embedded_digits_have_splits():
    train, test = open_dataset("digits", "train"), open_dataset("digits", "test")
    assert (len(train), len(test)) == (1297, 500)
    assert train.label_names == tuple("0123456789")
    assert np.bincount(test.labels).tolist() == [50] * 10
    ids = {train.id(i) for i in range(1297)} | {test.id(i) for i in range(500)}
    assert len(ids) == 1797
    levels = np.unique(train.take(np.arange(1297))["image"])
    assert levels.tolist() == np.rint(np.arange(17) * 255 / 16).astype(int).tolist()
    # Golden: these very digits are the test split, under every version of NumPy.
    assert [test.id(i) for i in range(5)] == [f"digits/{i}" for i in GOLDEN_TEST]


GOLDEN_TEST = (2, 4, 5, 9, 15)
