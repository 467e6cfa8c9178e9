"""A leaf is read in parts: the same numbers, and never much of the file beside them.

Breaks tried: pieces of a transposed leaf cut along the file's rows; what is added left out of a
part; twins not compared; pages given back only at the end.
"""

import sys

import numpy as np
import pytest

from tlearn.hub import leaf as leaves
from tlearn.hub.errors import HubError
from tlearn.hub.leaf import Leaf
from tlearn.params import digest

ROWS, COLUMNS = 1200, 40


@pytest.fixture
def mapped(tmp_path, monkeypatch):
    """Numbers of a file, read some rows at a time."""
    monkeypatch.setattr(leaves, "_PART", 7 * COLUMNS * 4)
    numbers = np.random.default_rng(0).standard_normal((ROWS, COLUMNS)).astype(np.float32)
    np.save(tmp_path / "numbers.npy", numbers)
    return np.load(tmp_path / "numbers.npy", mmap_mode="r"), numbers


VIEWS = {
    "as it lies": lambda x: x,
    "transposed": lambda x: x.T,
    "turned round": lambda x: x[::-1],
    "three axes": lambda x: x.reshape(30, 40, 40).transpose(1, 0, 2),
    "one number": lambda x: x[3, 4],
    "none": lambda x: x[:0],
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dtype", [None, np.float16])
def test_parts_are_the_whole(mapped, view, dtype):
    file, numbers = (np.asanyarray(VIEWS[view](array)) for array in mapped)
    leaf = Leaf(file, dtype=dtype, plus=file)
    whole = (numbers.astype(dtype or np.float32)) * 2
    np.testing.assert_array_equal(leaf.read(), whole)
    pieces = [piece.reshape(-1) for piece in leaf.pieces()]
    np.testing.assert_array_equal(
        np.concatenate([*pieces, whole[:0].reshape(-1)] if whole.ndim else pieces),
        whole.reshape(-1),
    )
    assert digest({"leaf": leaf}) == digest({"leaf": whole})
    if view == "as it lies":
        assert len(pieces) > 100


def test_twins_that_differ_are_told_before_the_first_piece(mapped):
    file, numbers = mapped
    leaf = Leaf(file, twins=(("tied", file, numbers + 1),))
    with pytest.raises(HubError, match="not tied"):
        next(leaf.pieces())


@pytest.mark.skipif(sys.platform != "linux", reason="counts resident memory as Linux does")
def test_a_digest_takes_no_memory_of_a_large_leafs_size(tmp_path):
    def resident(field):
        with open("/proc/self/status") as lines:
            return next(int(x.split()[1]) * 1024 for x in lines if x.startswith(field + ":"))

    size = 2**26
    np.save(tmp_path / "large.npy", np.zeros((2**14, 2**10), np.float32))
    leaf = Leaf(np.load(tmp_path / "large.npy", mmap_mode="r"))
    digest({"small": Leaf(leaf._view[:8])})
    before = resident("VmRSS")
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pytest.skip("the high-water mark cannot be reset here")
    digest({"leaf": leaf})
    assert resident("VmHWM") - before < size / 3
