"""PyTorch files of both formats without torch; a pickle that asks for more is refused, not run."""

import os
import struct
import zipfile

import hub_files as hf
import ml_dtypes
import numpy as np
import pytest

from tlearn import hub
from tlearn.hub import HubError


def some_arrays():
    rng = np.random.default_rng(0)
    return {
        "conv.weight": rng.normal(size=(2, 3)).astype(np.float32),
        "half": rng.normal(size=(4,)).astype(np.float16),
        "brain": rng.normal(size=(3,)).astype(ml_dtypes.bfloat16),
        "count": np.array(7, np.int64),
        "flag": np.array([True, False]),
    }


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrap", [None, "state_dict"])
def test_both_formats_bit_for_bit(tmp_path, legacy, wrap):
    arrays = some_arrays()
    path = hf.write_state_dict(tmp_path / "a.pt", arrays, legacy, wrap)
    raw = hub.read_torch(path)
    assert list(raw.arrays) == list(arrays)
    for name, array in arrays.items():
        assert raw.arrays[name].dtype == array.dtype
        assert raw.arrays[name].tobytes() == array.tobytes()
        assert not raw.arrays[name].flags.writeable
    assert raw.aside == ({"epoch": 7, "best": 91.5} if wrap else {})


def test_several_state_dicts_need_a_key(tmp_path):
    arrays = {"w": np.ones(2, np.float32)}
    items, contents = hf.plain_tensors(arrays)
    root = hf.dictionary({"model": hf.dictionary(items), "ema": hf.dictionary(items)})
    path = hf.write_zip(tmp_path / "a.pt", root, contents)
    with pytest.raises(HubError, match=r"2 dictionaries of tensors: \['ema', 'model'\]; say which"):
        hub.read_torch(path)
    assert hub.read_torch(path, key="ema").arrays["w"].tolist() == [1, 1]
    with pytest.raises(HubError, match=r"no dictionary of tensors 'emma'.*nearest: \['ema'"):
        hub.read_torch(path, key="emma")


def test_strided_views_share_their_storage(tmp_path):
    numbers = np.arange(12, dtype=np.float32)
    root = hf.dictionary(
        {
            "plain": hf.tensor("0", "FloatStorage", 12, 0, (3, 4), (4, 1)),
            "transposed": hf.tensor("0", "FloatStorage", 12, 0, (4, 3), (1, 4)),
            "corner": hf.tensor("0", "FloatStorage", 12, 5, (2, 2), (4, 1)),
            "old": hf.tensor(
                "0", "FloatStorage", 12, 0, (12,), (1,), ("torch._utils", "_rebuild_tensor")
            ),
        }
    )
    raw = hub.read_torch(hf.write_zip(tmp_path / "a.pt", root, {"0": numbers.tobytes()})).arrays
    square = numbers.reshape(3, 4)
    np.testing.assert_array_equal(raw["plain"], square)
    np.testing.assert_array_equal(raw["transposed"], square.T)
    np.testing.assert_array_equal(raw["corner"], square[1:3, 1:3])
    np.testing.assert_array_equal(raw["old"], numbers)


def test_legacy_storage_views(tmp_path):
    numbers = np.arange(6, dtype=np.float32)
    view = hf.group(hf.text("1"), hf.number(2), hf.number(3))
    parts = (hf.text("storage"), hf.name("torch", "FloatStorage"), hf.text("0"), hf.text("cpu"))
    of_view = hf.group(*parts, hf.number(6), view) + b"Q"
    made = hf.call(
        hf.name(*hf.REBUILD), of_view, hf.number(1), hf.group(hf.number(2)), hf.group(hf.number(1))
    )
    root = hf.dictionary({"w": made})
    path = hf.write_legacy(tmp_path / "a.pt", root, {"0": numbers.tobytes()})
    assert hub.read_torch(path).arrays["w"].tolist() == [3, 4]


def fine(shape=(2,), strides=(1,), offset=0, count=2, key="0"):
    return hf.tensor(key, "FloatStorage", count, offset, shape, strides)


def evil(*path_and_call):
    return hf.dictionary({"w": fine(), "x": b"".join(path_and_call)})


GETATTR = hf.call(
    hf.name("builtins", "getattr"), hf.name("collections", "OrderedDict"), hf.text("__class__")
)
NESTED = hf.call(
    hf.name(*hf.REBUILD),
    hf.call(hf.name("os", "system"), hf.text("touch PWNED")),
    hf.number(0),
    hf.group(),
    hf.group(),
)
REFUSED = {
    "os.system": (hf.call(hf.name("os", "system"), hf.text("touch PWNED")), "'os.system'"),
    "posix": (hf.call(hf.name("posix", "system"), hf.text("touch PWNED")), "'posix.system'"),
    "eval": (hf.call(hf.name("builtins", "eval"), hf.text("open('PWNED','w')")), "'builtins.eval'"),
    "exec": (hf.call(hf.name("__builtin__", "exec"), hf.text("1")), "'__builtin__.exec'"),
    "nested reduce": (NESTED, "'os.system'"),
    "getattr": (GETATTR, "'builtins.getattr'"),
    "dotted": (
        hf.text("collections") + hf.text("OrderedDict.__init__.__globals__") + b"\x93",
        "'collections.OrderedDict.__init__",
    ),
    "dotted torch": (
        hf.text("torch") + hf.text("_utils._rebuild_tensor_v2") + b"\x93",
        "'torch._utils._rebuild_tensor_v2'",
    ),
    "hub load": (hf.name("torch.hub", "load"), "'torch.hub.load'"),
    "torch.load": (hf.name("torch", "load"), "'torch.load'"),
    "numpy": (hf.name("numpy.core.multiarray", "_reconstruct"), "'numpy.core.multiarray."),
    "class": (hf.name("argparse", "Namespace"), "'argparse.Namespace'"),
    "newline": (hf.text("os\nsystem") + hf.text("x") + b"\x93", r"os\\nsystem.x"),
    "calls a type": (hf.call(hf.name("torch", "FloatStorage"), hf.number(9)), "is no function"),
    "calls text": (hf.call(hf.text("eval"), hf.number(9)), "calls str"),
    "calls a tensor": (hf.call(fine(), hf.number(9)), "calls Tensor"),
    "build": (fine() + hf.dictionary({"__class__": hf.text("x")}) + b"b", "sets the state of a"),
    "inst": (b"(ios\nsystem\n", "pickle opcode INST"),
    "newobj": (hf.name("collections", "OrderedDict") + b")\x81", "pickle opcode NEWOBJ"),
    "obj": (b"(" + hf.name("collections", "OrderedDict") + b"o", "pickle opcode OBJ"),
    "ext": (b"\x82\x01", "pickle opcode EXT1"),
    "persid": (b"Pfile\n", "pickle opcode PERSID"),
    "unknown opcode": (b"\xf0", "pickle opcode 0xf0"),
    "bytearray": (b"\x96" + struct.pack("<Q", 2**60), "pickle opcode BYTEARRAY8"),
    "huge text": (b"\x8d" + struct.pack("<Q", 2**60), "the file is truncated"),
    "huge bytes": (b"B" + struct.pack("<I", 2**32 - 1), "the file is truncated"),
    "huge number": (b"\x8b" + struct.pack("<i", 2**31 - 1), "a whole number of 2147483647 bytes"),
    "negative number": (b"\x8b" + struct.pack("<i", -5), "a whole number of -5 bytes"),
    "unknown memo": (b"j" + struct.pack("<I", 2**31), "recalls the value 2147483648"),
    "tuple key": (b"}" + hf.group(hf.number(1)) + hf.number(1) + b"s", "key is a tuple"),
    "tensor key": (b"}" + fine() + hf.number(1) + b"s", "key is a Tensor"),
    "list to dict": (b"]" + hf.number(1) + hf.number(2) + b"s", "wants a dict"),
    "no mark": (b"0" * 40 + b"t", "the pickle is broken|no beginning"),
    "no storage": (hf.name("torch", "FloatStorage") + b"Q", "is no storage of numbers"),
    "odd dict": (b"}(" + hf.text("a") + b"u", "a key without value"),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("case", REFUSED)
def test_what_builds_no_tensor_is_refused_and_never_run(tmp_path, monkeypatch, case, legacy):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "system", lambda command: pytest.fail("executed"))
    value, message = REFUSED[case]
    path = tmp_path / "a.pt"
    if legacy:
        hf.write_legacy(path, evil(value), {"0": b"x" * 8})
    else:
        hf.write_zip(path, evil(value), {"0": b"x" * 8})
    with pytest.raises(HubError, match=message):
        hub.read_torch(path)
    assert os.listdir(tmp_path) == ["a.pt"]


def test_the_refusal_says_where_what_and_what_to_do(tmp_path):
    value, _ = REFUSED["os.system"]
    path = hf.write_zip(tmp_path / "a.pt", evil(value), {"0": b"x" * 8})
    with pytest.raises(HubError) as error:
        hub.read_torch(path)
    message = str(error.value)
    for part in ("archive/data.pkl", "byte", "GLOBAL", "'os.system'", "not imported", "state dict"):
        assert part in message


CLAIMS = {
    "past the end": (fine(shape=(3,)), "reaches element 2 of storage '0', which has 2"),
    "offset": (fine(offset=1), "reaches element 2"),
    "huge offset": (fine(offset=2**62), "reaches element"),
    "strides": (fine(shape=(2, 2), strides=(1, 1)), "reaches element 2"),
    "negative stride": (fine(strides=(-1,)), "no whole numbers from 0"),
    "negative shape": (fine(shape=(-1,)), "no whole numbers from 0"),
    "expanded": (fine(shape=(10**6, 2), strides=(0, 1)), "claims 2000000 elements"),
    "absurd": (fine(shape=(2**40,), count=2**40), "claims 4398046511104 bytes, its member has 8"),
    "ranks": (fine(shape=(2, 1)), "2 sizes and 1 strides"),
    "no member": (fine(key="7"), "has no member 'archive/data/7'"),
    "outside": (fine(key="../../x"), "has no member"),
}


@pytest.mark.parametrize("case", CLAIMS)
def test_tensors_cannot_claim_what_is_not_there(tmp_path, case):
    value, message = CLAIMS[case]
    path = hf.write_zip(tmp_path / "a.pt", hf.dictionary({"w": value}), {"0": b"x" * 8})
    with pytest.raises(HubError, match=message):
        hub.read_torch(path)


def test_one_storage_cannot_be_multiplied(tmp_path):
    count = 2**16
    items = {str(i): fine(shape=(count,), count=count) for i in range(32)}
    path = hf.write_zip(tmp_path / "a.pt", hf.dictionary(items), {"0": b"x" * 4 * count})
    with pytest.raises(HubError, match="too many share one"):
        hub.read_torch(path)


def test_two_descriptions_of_one_storage_are_refused(tmp_path):
    items = {"a": fine(), "b": hf.tensor("0", "HalfStorage", 4, 0, (4,), (1,))}
    path = hf.write_zip(tmp_path / "a.pt", hf.dictionary(items), {"0": b"x" * 8})
    with pytest.raises(HubError, match="described in two ways"):
        hub.read_torch(path)


def test_deep_nesting_neither_crashes_nor_hangs(tmp_path):
    # Deep enough to overrun the C stack of anything that recurses.
    for nest in (b")" + b"\x85" * 60_000, b"]" * 40_000 + b"a" * 39_999):
        path = hf.write_zip(tmp_path / "a.pt", evil(nest), {"0": b"x" * 8})
        assert hub.read_torch(path).arrays["w"].shape == (2,)
    deep = hf.dictionary({"w": fine()})
    for _ in range(2000):
        deep = b"}" + hf.text("a") + deep + b"s"
    path = hf.write_zip(tmp_path / "b.pt", deep, {"0": b"x" * 8})
    with pytest.raises(HubError, match="holds no dictionary of tensors"):
        hub.read_torch(path)


def test_dictionaries_that_multiply_or_hold_themselves_end(tmp_path):
    laughs = b"}(" + b"".join(hf.text(str(i)) + hf.number(1) for i in range(300)) + b"uq\x00"
    for level in range(1, 5):
        refs = b"".join(hf.text(str(i)) + b"h" + bytes([level - 1]) for i in range(300))
        laughs += b"}(" + refs + b"uq" + bytes([level])
    path = hf.write_zip(tmp_path / "a.pt", evil(laughs)[:-1] + b"u", {"0": b"x" * 8})
    with pytest.raises(HubError):
        hub.read_torch(path)
    itself = b"}q\x00" + hf.text("me") + b"h\x00s" + hf.text("w") + fine() + b"s"
    path = hf.write_zip(tmp_path / "b.pt", itself, {"0": b"x" * 8})
    with pytest.raises(HubError, match="dictionaries of tensors"):
        hub.read_torch(path)


def test_pickles_of_endless_opcodes_end(tmp_path, monkeypatch):
    from tlearn.hub import pickle_machine

    monkeypatch.setattr(pickle_machine, "_MOST_STEPS", 1000)
    path = hf.write_zip(tmp_path / "a.pt", evil(b"N0" * 1000 + b"N"), {"0": b"x" * 8})
    with pytest.raises(HubError, match="more than 1000 opcodes"):
        hub.read_torch(path)


def test_archives_are_checked_before_their_pickle(tmp_path):
    root = hf.dictionary({"w": fine()})
    contents = {"0": b"x" * 8}
    path = hf.write_zip(tmp_path / "a.pt", root, contents, extra={"../../evil": "x"})
    with pytest.raises(HubError, match="names a file outside the archive"):
        hub.read_torch(path)
    path = hf.write_zip(tmp_path / "b.pt", root, contents, extra={"other/data.pkl": "x"})
    with pytest.raises(HubError, match=r"2 members data\.pkl"):
        hub.read_torch(path)
    zeros = {"0": b"\0" * 2**27}
    large = hf.dictionary({"w": fine(shape=(2**25,), count=2**25)})
    path = hf.write_zip(tmp_path / "c.pt", large, zeros, deflate=True)
    with pytest.raises(HubError, match="a bomb"):
        hub.read_torch(path)
    path = hf.write_zip(tmp_path / "d.pt", root, contents, deflate=True)
    assert hub.read_torch(path).arrays["w"].shape == (2,)
    with zipfile.ZipFile(tmp_path / "e.pt", "w") as archive:
        archive.writestr("x/data.pkl", hf.pickled(root))
        archive.writestr("x/byteorder", "big")
    with pytest.raises(HubError, match="big-endian"):
        hub.read_torch(tmp_path / "e.pt")


def test_legacy_sizes_and_storages_must_agree(tmp_path):
    root = hf.dictionary({"w": fine()})
    path = hf.write_legacy(tmp_path / "a.pt", root, {"0": b"x" * 8}, {"0": 3})
    with pytest.raises(HubError, match="has 3 elements, the pickle says 2"):
        hub.read_torch(path)
    path = hf.write_legacy(tmp_path / "b.pt", root, {})
    with pytest.raises(HubError, match=r"storages \['0'\] are missing"):
        hub.read_torch(path)
    path = hf.write_legacy(tmp_path / "c.pt", root, {"0": b"x" * 8, "9": b"y" * 8})
    with pytest.raises(HubError, match="'9' is listed twice or used by no tensor"):
        hub.read_torch(path)


def test_other_files_are_named_for_what_they_are(tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(b"\x80\x02N.")
    with pytest.raises(HubError, match=r"not one that torch\.save wrote"):
        hub.read_torch(path)
    path.write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(HubError, match="neither of torch's formats: it begins with b'<!DOCTYP"):
        hub.read_torch(path)
    hf.write_zip(path, b"](" + fine() + b"e", {"0": b"x" * 8})
    with pytest.raises(HubError, match=r"holds a list, not a dictionary.*state_dict"):
        hub.read_torch(path)


@pytest.mark.torch
@pytest.mark.parametrize("zipped", [True, False])
def test_files_torch_itself_writes(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    linear = torch.nn.Linear(3, 2)
    base = torch.randn(4, 6)
    state = {
        "weight": linear.weight,
        "bias": linear.bias.detach(),
        "brain": base.to(torch.bfloat16),
        "view": base.t()[1:3],
        "count": torch.tensor(3),
        "flags": torch.tensor([True, False]),
        "double": base.double(),
        "empty": torch.zeros(0, 3),
    }
    size = base.shape
    saved = {"state_dict": state, "epoch": 3, "size": size, "device": torch.device("cpu")}
    torch.save(saved, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    raw = hub.read_torch(tmp_path / "a.pt")
    assert raw.aside == {"epoch": 3, "device": "cpu"}
    assert list(raw.arrays) == list(state)
    for name, tensor in state.items():
        tensor = tensor.detach()
        exact = tensor.float() if name == "brain" else tensor
        np.testing.assert_array_equal(raw.arrays[name].astype(exact.numpy().dtype), exact.numpy())
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    torch.save(model.state_dict(), tmp_path / "b.pt", _use_new_zipfile_serialization=zipped)
    assert set(hub.read_torch(tmp_path / "b.pt").arrays) == set(model.state_dict())
    torch.save(model, tmp_path / "c.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(HubError, match=r"torch\.nn\.modules\.container\.Sequential"):
        hub.read_torch(tmp_path / "c.pt")


@pytest.mark.data
@pytest.mark.torch
@pytest.mark.parametrize(
    "file",
    [
        "w_resnet_cifar10/resnet20-12fca82f.th",
        "w_resnet_cifar10/resnet32-d509ac18.th",
        "w_vit_mnist/vit_mnist.pth",
    ],
)
def test_real_files_equal_torchs_own_reading(shared_data, file):
    torch = pytest.importorskip("torch")
    wanted = torch.load(shared_data / file, map_location="cpu", weights_only=True)
    wanted = wanted.get("state_dict", wanted)
    raw = hub.read_torch(shared_data / file)
    assert list(raw.arrays) == list(wanted)
    for name, tensor in wanted.items():
        assert raw.arrays[name].tobytes() == tensor.numpy().tobytes()
