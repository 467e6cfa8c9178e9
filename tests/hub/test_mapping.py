"""Tables as data: strict both ways, all problems at once, and exact inverses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlearn.hub.errors import HubError
from tlearn.hub.mapping import Row, Table, apply, expand, invert, lazily
from tlearn.hub.transforms import TRANSFORMS, Pointwise

TABLE = Table(
    "toy",
    (
        Row("conv1.weight", "params/body/stem/conv/kernel", "conv"),
        Row("{at}.fc.weight", "params/body/{at}/dense/kernel", "linear"),
        Row("{at}.steps", "", "drop", "counts steps"),
    ),
    {"at": (("layer.0", "stage_1/block_01"), ("layer.1", "stage_1/block_02"))},
)


def arrays():
    rng = np.random.default_rng(0)
    return {
        "conv1.weight": rng.normal(size=(5, 3, 2, 2)).astype(np.float32),
        "layer.0.fc.weight": rng.normal(size=(4, 3)).astype(np.float16),
        "layer.1.fc.weight": rng.normal(size=(2, 3)).astype(np.float32),
        "layer.0.steps": np.array(3),
    }


def test_a_table_spells_out_every_name():
    assert [(pair.source, pair.target) for pair in expand(TABLE)] == [
        ("conv1.weight", "params/body/stem/conv/kernel"),
        ("layer.0.fc.weight", "params/body/stage_1/block_01/dense/kernel"),
        ("layer.1.fc.weight", "params/body/stage_1/block_02/dense/kernel"),
        ("layer.0.steps", ""),
        ("layer.1.steps", ""),
    ]


def test_apply_moves_every_number_to_its_place():
    foreign = arrays()
    flat = apply(TABLE, foreign)
    assert list(flat) == sorted(flat)
    kernel = flat["params/body/stem/conv/kernel"]
    assert kernel.shape == (2, 2, 3, 5)
    for o, i, h, w in np.ndindex(5, 3, 2, 2):
        assert kernel[h, w, i, o] == foreign["conv1.weight"][o, i, h, w]
    dense = flat["params/body/stage_1/block_01/dense/kernel"]
    np.testing.assert_array_equal(dense, foreign["layer.0.fc.weight"].T)
    assert dense.dtype == np.float16


def test_what_apply_returns_shares_no_memory_with_the_file():
    foreign = arrays()
    flat = apply(TABLE, foreign)
    for array in flat.values():
        assert array.flags.owndata
        assert array.flags.c_contiguous
        array[...] = 0
    assert foreign["conv1.weight"].any()


def test_invert_is_the_exact_inverse():
    foreign = arrays()
    back = invert(TABLE, apply(TABLE, foreign))
    del foreign["layer.0.steps"]
    assert set(back) == set(foreign)
    for name, array in foreign.items():
        assert back[name].dtype == array.dtype
        assert back[name].tobytes() == array.tobytes()
    again = apply(TABLE, back)
    for path, array in apply(TABLE, foreign).items():
        assert again[path].tobytes() == array.tobytes()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_transform_undoes_itself(data):
    name = data.draw(st.sampled_from(sorted(TRANSFORMS)))
    transform = TRANSFORMS[name]
    rank = transform.rank or data.draw(st.integers(0, 4))
    shape = data.draw(st.tuples(*[st.integers(1, 4)] * rank))
    if transform.single is not None:
        shape = tuple(1 if i == transform.single else n for i, n in enumerate(shape))
    if isinstance(transform, Pointwise):
        shape = tuple(1 if i in transform.pixel else n for i, n in enumerate(shape))
    if name == "patches":
        shape = (shape[0], data.draw(st.sampled_from([1, 3, 4, 9, 12, 27])))
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    there = transform.forward(array)
    assert transform.backward(there).tobytes() == array.tobytes()
    assert transform.backward(there).shape == array.shape


def test_all_misfits_in_one_error():
    foreign = arrays()
    foreign["conv1.weigth"] = foreign.pop("conv1.weight")
    foreign["layer.0.fc.weight"] = np.zeros((2, 3, 4), np.float32)
    foreign["extra"] = np.zeros(1)
    with pytest.raises(HubError) as error:
        apply(TABLE, foreign)
    message = str(error.value)
    assert "'conv1.weight' is missing (nearest: 'conv1.weigth')" in message
    assert "'conv1.weigth' is not in the table (nearest: 'conv1.weight')" in message
    assert "'extra' is not in the table" in message
    assert "'layer.0.fc.weight' has the shape (2, 3, 4), but 2 axes are wanted" in message


def test_invert_is_as_strict():
    flat = apply(TABLE, arrays())
    flat["params/body/more"] = flat.pop("params/body/stem/conv/kernel")
    with pytest.raises(HubError) as error:
        invert(TABLE, flat)
    assert "'params/body/stem/conv/kernel' is missing" in str(error.value)
    assert "'params/body/more' is not in the table" in str(error.value)


FAULTS = {
    "unknown transform": (Row("a", "params/body/a", "rotate"), "unknown transform 'rotate'"),
    "unknown field": (Row("{x}.a", "params/body/{x}/a"), r"unknown fields \['x'\]"),
    "other fields": (Row("{at}.a", "params/body/a"), "different fields"),
    "silent drop": (Row("a", "", "drop"), "needs a reason"),
    "twin source": (Row("conv1.weight", "params/body/b"), "two rows produce the source"),
    "twin target": (Row("b", "params/body/stem/conv/kernel"), "two rows produce the target"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faulty_tables_are_refused(case):
    row, message = FAULTS[case]
    with pytest.raises(HubError, match=message):
        expand(Table("toy", (*TABLE.rows, row), TABLE.fields))


def test_a_depthwise_kernel_has_one_channel_a_group():
    with pytest.raises(HubError, match="axis 1 must be 1"):
        TRANSFORMS["depthwise"].forward(np.zeros((4, 2, 3, 3)))


FUSED = Table(
    "fused",
    (
        *(
            Row("{at}.c_attn.weight", f"params/body/{{at}}/{name}/kernel", "identity", part=(i, 3))
            for i, name in enumerate(("query", "key", "value"))
        ),
        *(
            Row("{at}.qkv.weight", f"params/body/{{at}}/{name}/fused", "linear", part=(i, 3))
            for i, name in enumerate(("query", "key", "value"))
        ),
        *(
            Row("{at}.c_attn.bias", f"params/body/{{at}}/{name}/bias", "vector", part=(i, 3))
            for i, name in enumerate(("query", "key", "value"))
        ),
        Row("wte", "params/body/embeddings/tokens/embedding"),
        Row("lm_head", "", "drop", "the table again", tied="wte"),
    ),
    {"at": (("h.0", "block_00"),)},
)


def fused():
    rng = np.random.default_rng(1)
    table = rng.normal(size=(7, 4)).astype(np.float32)
    return {
        "h.0.c_attn.weight": rng.normal(size=(4, 12)).astype(np.float32),
        "h.0.qkv.weight": rng.normal(size=(12, 4)).astype(np.float32),
        "h.0.c_attn.bias": rng.normal(size=12).astype(np.float32),
        "wte": table,
        "lm_head": table.copy(),
    }


def test_parts_are_cut_along_the_output_axis_and_joined_again():
    foreign = fused()
    flat = apply(FUSED, foreign)
    at = "params/body/block_00"
    for i, name in enumerate(("query", "key", "value")):
        cut = slice(4 * i, 4 * i + 4)
        np.testing.assert_array_equal(
            flat[f"{at}/{name}/kernel"], foreign["h.0.c_attn.weight"][:, cut]
        )
        np.testing.assert_array_equal(flat[f"{at}/{name}/fused"], foreign["h.0.qkv.weight"][cut].T)
        np.testing.assert_array_equal(flat[f"{at}/{name}/bias"], foreign["h.0.c_attn.bias"][cut])
        assert flat[f"{at}/{name}/kernel"].flags.owndata
    back = invert(FUSED, flat)
    assert set(back) == set(foreign) - {"lm_head"}
    for name, array in back.items():
        assert array.tobytes() == foreign[name].tobytes()
        assert array.shape == foreign[name].shape


def test_what_is_tied_must_be_equal_bit_for_bit_or_absent():
    foreign = fused()
    del foreign["lm_head"]
    alone = apply(FUSED, foreign)
    foreign["lm_head"] = foreign["wte"].copy()
    foreign["lm_head"][3, 2] = np.nextafter(foreign["lm_head"][3, 2], np.float32(9))
    assert set(lazily(FUSED, foreign)) == set(alone)  # not one number was looked at
    with pytest.raises(HubError, match="'lm_head' must equal 'wte', but their values differ"):
        apply(FUSED, foreign)
    foreign["lm_head"] = foreign["lm_head"][:5]
    with pytest.raises(HubError, match=r"'lm_head' is tied to 'wte', but has the shape \(5, 4\)"):
        lazily(FUSED, foreign)


def test_a_tied_name_stands_in_for_its_twin():
    foreign = fused()
    table = foreign.pop("wte")
    np.testing.assert_array_equal(
        apply(FUSED, foreign)["params/body/embeddings/tokens/embedding"], table
    )
    del foreign["lm_head"]
    with pytest.raises(HubError, match="'wte' is missing"):
        apply(FUSED, foreign)


def test_what_does_not_part_evenly_is_refused_with_all_else():
    foreign = fused()
    foreign["h.0.c_attn.bias"] = foreign["h.0.c_attn.bias"][:11]
    foreign["more"] = np.zeros(1)
    with pytest.raises(HubError) as error:
        apply(FUSED, foreign)
    assert "'h.0.c_attn.bias' has the shape (11,), which does not part into 3" in str(error.value)
    assert "'more' is not in the table" in str(error.value)
    flat = apply(FUSED, fused())
    flat["params/body/block_00/key/bias"] = np.zeros(3, np.float32)
    with pytest.raises(HubError, match="equal parts are wanted"):
        invert(FUSED, flat)


PART_FAULTS = {
    "a gap": (Row("x", "params/body/x", part=(0, 2)),),
    "an overlap": (
        Row("x", "params/body/x", part=(0, 2)),
        Row("x", "params/body/y", part=(0, 2)),
    ),
    "unlike counts": (
        Row("x", "params/body/x", part=(0, 2)),
        Row("x", "params/body/y", part=(1, 3)),
    ),
    "unlike transforms": (
        Row("x", "params/body/x", "linear", part=(0, 2)),
        Row("x", "params/body/y", part=(1, 2)),
    ),
    "a whole and a part": (Row("x", "params/body/x"), Row("x", "params/body/y", part=(1, 2))),
    "a tie to nothing": (Row("x", "", "drop", "again", tied="y"),),
    "a tie that loads": (Row("x", "params/body/x", tied="wte"), Row("wte", "params/body/w")),
}


@pytest.mark.parametrize("case", PART_FAULTS)
def test_faulty_parts_and_ties_are_refused(case):
    with pytest.raises(HubError, match="is faulty"):
        expand(Table("toy", PART_FAULTS[case]))
