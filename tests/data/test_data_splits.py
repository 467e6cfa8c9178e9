"""Split expressions, subsets by class and seed, validation parts and overlaps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlearn.data import (
    ArrayDataset,
    DataError,
    carve_validation,
    draw,
    open_dataset,
    overlap,
    parse_split,
    per_class,
    select_classes,
    select_split,
)
from tlearn.data.splits import Slice


def ids(dataset):
    return [dataset.id(i) for i in range(len(dataset))]


@pytest.fixture
def splits(arrays):
    opened = []

    def opener(name, start, stop):
        def read():
            opened.append(name)
            return arrays.subset(range(start, stop))

        return read

    return {"train": opener("train", 0, 30), "test": opener("test", 30, 37)}, opened


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("train", range(30)),
        ("train[:10%]", range(3)),
        ("train[-10%:]", range(27, 30)),
        ("train[10:20]", range(10, 20)),
        ("train[-5:]", range(25, 30)),
        ("train[ 25% : 75% ]", range(8, 22)),
        ("train[:2]+test[-1:]", [0, 1, 36]),
        ("all", range(37)),
        ("all[-4:]", range(33, 37)),
        ("train[12.5%:20]", range(4, 20)),
    ],
)
def test_expressions_choose_examples(splits, expression, expected):
    chosen = select_split(splits[0], expression)
    assert ids(chosen) == [f"insects/{i}" for i in expected]


def test_each_split_is_opened_once_and_only_if_named(splits):
    table, opened = splits
    select_split(table, "test[:2]+test[3:]")
    assert opened == ["test"]


@given(count=st.integers(2, 3000), tenths=st.integers(1, 999))
def test_percentages_leave_none_out_and_count_none_twice(count, tenths):
    percent = f"{tenths / 10}"
    places = {
        "head": Slice("x", "", f"{percent}%"),
        "tail": Slice("x", f"{percent}%", ""),
        "back": Slice("x", f"-{(1000 - tenths) / 10}%", ""),
    }
    cut = round(count * tenths / 1000)
    if 0 < cut < count:
        assert places["head"].bounds(count)[1] == places["tail"].bounds(count)[0]
        assert places["head"].bounds(count)[1] == places["back"].bounds(count)[0]


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("trian", "'trian': did you mean 'train'? (there is: train, test)"),
        ("train[:10%", "cannot read the split expression"),
        ("train[10%]", "cannot read the split expression"),
        ("train[a:b]", "'a' in 'train[a:b]' is no whole number or percentage"),
        ("train[:1.5]", "a fraction of an example"),
        ("train[:110%]", "'110%' in 'train[:110%]' is outside -100%..100%"),
        ("train[-101%:]", "'-101%' in 'train[-101%:]' is outside -100%..100%"),
        ("train[:31]", "31 is outside the 30 examples"),
        ("train[20:10]", "holds no example: it runs from 20 to 10 of 30"),
        ("train[:1%]", "holds no example"),
        ("train+", "cannot read"),
        ("", "cannot read"),
    ],
)
def test_wrong_expressions_are_explained(splits, expression, words):
    with pytest.raises(DataError) as caught:
        select_split(splits[0], expression)
    assert words in str(caught.value)


def test_a_split_must_be_chosen_when_there_are_several(splits):
    with pytest.raises(DataError, match="choose one of: train, test"):
        select_split(splits[0], None)
    assert str(parse_split("train [ 1 : 2 ]")[0]) == "train[1:2]"


def test_per_class_is_nested_paired_and_by_name(arrays):
    five, three = per_class(arrays, 5, seed=1), per_class(arrays, 3, seed=1)
    assert np.bincount(five.labels).tolist() == [5, 5, 5]
    assert set(ids(three)) < set(ids(five))
    assert ids(five) == ids(per_class(arrays, 5, seed=1))
    assert ids(five) != ids(per_class(arrays, 5, seed=2))
    # The draw of a class does not hang on which other classes there are.
    alone = per_class(select_classes(arrays, ["wasp"]), 5, seed=1)
    assert set(ids(alone)) == {
        name for name, label in zip(ids(five), five.labels, strict=True) if label == 2
    }


def test_per_class_names_the_classes_that_are_too_small(arrays):
    with pytest.raises(DataError, match=r"fewer than 8 examples:\n  'wasp' has 7"):
        per_class(arrays, 8, seed=0)
    with pytest.raises(DataError, match="at least 1"):
        per_class(arrays, 0, seed=0)


@given(count=st.integers(1, 30), seed=st.integers(0, 5))
def test_validation_is_stratified_exact_and_disjoint(count, seed):
    labels = np.array([0] * 20 + [1] * 10 + [2] * 7)
    whole = ArrayDataset(np.zeros((37, 2, 2), np.uint8), labels, ("ant", "bee", "wasp"))
    train, validation = carve_validation(whole, count=count, seed=seed)
    assert len(validation) == count
    assert sorted(ids(train) + ids(validation)) == sorted(ids(whole))
    for label, size in enumerate((20, 10, 7)):
        assert abs(np.sum(validation.labels == label) - count * size / 37) < 1


def test_as_many_in_all_keep_the_mix_of_classes(arrays):
    some = draw(arrays, examples_per_class=0, examples=18, seed=1)
    # 20, 10 and 7 of 37: shares 9.73, 4.86 and 3.41; the largest remainders are rounded up.
    assert np.bincount(some.labels).tolist() == [10, 5, 3]
    assert ids(some) == ids(draw(arrays, examples_per_class=0, examples=18, seed=1))
    assert ids(some) != ids(draw(arrays, examples_per_class=0, examples=18, seed=2))
    assert draw(arrays, examples_per_class=0, examples=0, seed=1) is arrays
    assert len(draw(arrays, examples_per_class=5, examples=0, seed=1)) == 15
    with pytest.raises(DataError, match="5 examples per class and 18 in all; ask for one"):
        draw(arrays, examples_per_class=5, examples=18, seed=1)
    with pytest.raises(DataError, match="expected 1 to 37"):
        draw(arrays, examples_per_class=0, examples=38, seed=1)
    with pytest.raises(DataError, match=r"none of a class:\n  'bee' has 10\n  'wasp' has 7"):
        draw(arrays, examples_per_class=0, examples=1, seed=1)


def test_validation_sizes_that_leave_nothing(arrays):
    part, held = carve_validation(arrays, fraction=0.2, seed=0)
    assert (len(part), len(held)) == (30, 7)
    with pytest.raises(DataError, match="exactly one"):
        carve_validation(arrays, seed=0)
    with pytest.raises(DataError, match=r"outside 0\.\.1"):
        carve_validation(arrays, fraction=1.0, seed=0)
    with pytest.raises(DataError, match="leaves nothing"):
        carve_validation(arrays, count=37, seed=0)
    with pytest.raises(DataError, match=r"all examples of a class:\n  'wasp': 7 of its 7"):
        carve_validation(arrays, count=35, seed=0)


def test_overlap_finds_exact_duplicates(arrays, tmp_path, make_encoded):
    left, right = arrays.subset(range(20)), arrays.subset(range(18, 37))
    found = overlap(left, right)
    assert found.pairs == (("insects/18", "insects/18"), ("insects/19", "insects/19"))
    assert "share 2 pictures" in str(found)
    assert "share no picture" in str(overlap(left, arrays.subset(range(20, 37))))
    # Against files, pixels are compared.
    for index in (3, 30):
        place = tmp_path / f"class{index}"
        place.mkdir()
        (place / "a.png").write_bytes(make_encoded(arrays.images[index]))
    files = open_dataset(f"folder:{tmp_path}")
    assert overlap(left, files).pairs == (("insects/3", "class3/a.png"),)
    assert len(overlap(files, files)) == 2
