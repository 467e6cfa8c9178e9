"""The digest: equal exactly for bit-equal named arrays; tables lay out what they are given."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tlearn.params import digest, table

FLAT = {"body/a": np.arange(6, dtype=np.float32).reshape(2, 3), "head/b": np.zeros(2, np.int32)}


def test_order_and_layout_do_not_matter():
    other = {"head/b": jnp.zeros(2, jnp.int32), "body/a": np.asfortranarray(FLAT["body/a"])}
    assert digest(other) == digest(FLAT)
    assert len(digest(FLAT)) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"body/a": np.nextafter(FLAT["body/a"], np.float32(9))},
        {"body/a": FLAT["body/a"].reshape(3, 2)},
        {"body/a": FLAT["body/a"].astype(np.float64)},
        {"body/a": FLAT["body/a"].astype(jnp.bfloat16)},
        {"body/a": -FLAT["body/a"]},
        {"body/c": FLAT["body/a"]},
    ],
    ids=["one bit", "shape", "float64", "bfloat16", "sign of zero", "more"],
)
def test_any_change_shows(change):
    assert digest(FLAT | change) != digest(FLAT)


def test_a_renamed_leaf_shows():
    assert digest({"body/b": FLAT["body/a"]}) != digest({"body/a": FLAT["body/a"]})


def test_bytes_of_one_leaf_cannot_pass_for_another():
    # 1 and 256 in bytes that shift by one across the border of two leaves.
    a = {"a": np.array([1, 0], np.uint8), "b": np.array([1], np.uint8)}
    b = {"a": np.array([1], np.uint8), "b": np.array([0, 1], np.uint8)}
    assert digest(a) != digest(b)


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(np.float32, arrays.array_shapes(min_dims=1, max_dims=3, max_side=4)), st.data()
)
def test_a_flipped_bit_shows(array, data):
    flipped = array.copy()
    raw = flipped.view(np.uint8).reshape(-1)
    raw[data.draw(st.integers(0, raw.size - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert digest({"x": flipped}) != digest({"x": array})
    assert digest({"x": array.copy()}) == digest({"x": array})


def test_table_aligns_and_refuses_ragged_rows():
    text = table(["path", "size"], [["head/bias", 10], ["b", 1234567]], right=[1])
    assert text.splitlines() == [
        "path          size",
        "---------  -------",
        "head/bias       10",
        "b          1234567",
    ]
    with pytest.raises(ValueError, match="a row has 1 cells, the header 2"):
        table(["a", "b"], [["x"]])
