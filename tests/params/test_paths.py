"""Paths: flatten and unflatten, split and merge are exact inverses; near misses are found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlearn.params import flatten, layer_of, merge, nearest, split, unflatten

NAMES = st.text(st.characters(blacklist_characters="/", blacklist_categories=("Cs",)), min_size=1)
TREES = st.recursive(
    st.integers(), lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3), max_leaves=8
).filter(lambda tree: isinstance(tree, dict))
FLATS = st.dictionaries(NAMES, st.integers(), max_size=8)


@settings(max_examples=60, deadline=None)
@given(TREES)
def test_unflatten_undoes_flatten(tree):
    flat = flatten(tree)
    assert unflatten(flat) == tree
    assert flatten(unflatten(flat)) == flat
    assert list(flat) == sorted(flat)


@settings(max_examples=60, deadline=None)
@given(FLATS, st.data())
def test_merge_undoes_split(flat, data):
    chosen = data.draw(st.sets(st.sampled_from(sorted(flat)))) if flat else set()
    inside, outside = split(flat, chosen)
    assert set(inside) == chosen
    assert not inside.keys() & outside.keys()
    assert merge(inside, outside) == merge(outside, inside) == flat
    assert list(merge(outside, inside)) == sorted(flat)


def test_leaves_are_handed_through_not_copied():
    leaf = np.ones(2)
    assert flatten({"body": {"stem": leaf}})["body/stem"] is leaf
    assert split({"a": leaf, "b": leaf}, ["a"])[0]["a"] is leaf


@pytest.mark.parametrize("key", ["a/b", ""])
def test_names_that_are_no_part_of_a_path_are_refused(key):
    with pytest.raises(ValueError, match="below 'body/'"):
        flatten({"body": {key: 1}})


@pytest.mark.parametrize("order", [["a", "a/b"], ["a/b", "a"]])
def test_a_leaf_is_no_folder(order):
    with pytest.raises(ValueError, match="a"):
        unflatten({path: 1 for path in order})


def test_splitting_off_what_is_not_there_names_it_and_the_nearest():
    with pytest.raises(KeyError, match=r"head/kernl.*head/kernel"):
        split({"head/kernel": 1, "body/x": 2}, ["head/kernl"])


def test_merging_parts_that_overlap_names_the_paths():
    with pytest.raises(ValueError, match="body/x"):
        merge({"body/x": 1, "head/y": 2}, {"body/x": 1})


def test_layers_of_paths():
    assert layer_of("body/stage_1/block_01/conv_1/kernel") == "stage_1"
    assert layer_of("head/dense/bias") == "head"


def test_nearest_is_best_first_and_empty_for_strangers():
    names = ["stage_1", "stage_2", "stem"]
    assert nearest("stag_1", names)[0] == "stage_1"
    assert nearest("xyzzy", names) == []
    assert len(nearest("stage", names, n=1)) == 1
