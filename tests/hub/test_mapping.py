"""Tables as data: strict both ways, all problems at once, and exact inverses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlearn.hub.errors import HubError
from tlearn.hub.mapping import TRANSFORMS, Row, Table, apply, expand, invert

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
