"""Sound files come back bit for bit; every lie of a header is an error that says what is wrong."""

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
        "weight": rng.normal(size=(3, 4)).astype(np.float32),
        "half": rng.normal(size=(5,)).astype(np.float16),
        "brain": rng.normal(size=(2, 2)).astype(ml_dtypes.bfloat16),
        "count": np.array(7, np.int64),
        "empty": np.zeros((0, 3), np.float32),
    }


def assert_same(read, wanted):
    assert set(read) == set(wanted)
    for name, array in wanted.items():
        assert read[name].dtype == array.dtype, name
        assert read[name].shape == array.shape, name
        assert read[name].tobytes() == array.tobytes(), name


def test_safetensors_round_trip_even_of_transposed_views(tmp_path):
    arrays = some_arrays() | {"view": np.arange(6, dtype=np.float32).reshape(2, 3).T}
    hub.write_safetensors(tmp_path / "a.safetensors", arrays, {"format": "pt"})
    raw = hub.read_safetensors(tmp_path / "a.safetensors")
    assert_same(raw.arrays, arrays)
    assert raw.aside == {"format": "pt"}


def test_safetensors_arrays_are_read_only_views_of_the_file(tmp_path):
    hub.write_safetensors(tmp_path / "a.safetensors", some_arrays())
    array = hub.read_safetensors(tmp_path / "a.safetensors").arrays["weight"]
    assert not array.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def entry(shape=(2,), begin=0, end=8, dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


BAD_HEADERS = {
    "10^12 bytes": ({}, b"", 10**12, "header claims 1000000000000 bytes, the file has 2"),
    "beyond the file": ({"a": entry(end=800, shape=(200,))}, b"x" * 8, None, "lie outside the 8"),
    "overlap": (
        {"a": entry(), "b": entry(begin=4, end=12)},
        b"x" * 12,
        None,
        "'a' and 'b' overlap at byte 4",
    ),
    "gap": ({"a": entry(begin=4, end=12)}, b"x" * 12, None, "4 bytes before tensor 'a'"),
    "trailing": ({"a": entry()}, b"x" * 9, None, "1 bytes after the last tensor"),
    "dtype": ({"a": entry(dtype="PICKLE")}, b"x" * 8, None, "unknown dtype 'PICKLE'; known: F64"),
    "bytes": ({"a": entry(shape=(3,))}, b"x" * 8, None, "make 12 bytes, its offsets 8"),
    "huge shape": ({"a": entry(shape=(2**62, 2**62))}, b"x" * 8, None, r"make \d{30,} bytes"),
    "negative": ({"a": entry(shape=(-2,))}, b"x" * 8, None, "whole numbers from 0"),
    "bool": ({"a": entry(shape=(True, 2))}, b"x" * 8, None, "whole numbers from 0"),
    "reversed": ({"a": entry(begin=8, end=0)}, b"x" * 8, None, "lie outside"),
    "extra key": ({"a": entry() | {"x": 1}}, b"x" * 8, None, "exactly dtype, shape"),
    "no json": (b"{'a'", b"", None, "no JSON"),
    "twins": (b'{"a":1,"a":2}', b"", None, "'a' occurs twice"),
    "deep": (b"[" * 200_000, b"", None, "nested too deeply"),
    "metadata": ({"__metadata__": {"a": 1}}, b"", None, "__metadata__ must map"),
    "list": (b"[]", b"", None, "no JSON object"),
}


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_safetensors_header_lies_are_named(tmp_path, case):
    header, data, length, message = BAD_HEADERS[case]
    path = hf.write_safetensors_raw(tmp_path / "a.safetensors", header, data, length)
    with pytest.raises(HubError, match=message):
        hub.read_safetensors(path)


def test_safetensors_names_all_faults_at_once(tmp_path):
    header = {"a": entry(dtype="X"), "b": entry(shape=(9,)), "c": entry(end=999)}
    path = hf.write_safetensors_raw(tmp_path / "a.safetensors", header, b"x" * 8)
    with pytest.raises(HubError) as error:
        hub.read_safetensors(path)
    assert all(f"tensor '{name}'" in str(error.value) for name in "abc")


@pytest.mark.parametrize("kind", ["safetensors", "npz", "torch"])
def test_every_truncation_is_an_error(tmp_path, kind):
    arrays = {"a": np.arange(3, dtype=np.float32), "b": np.ones((2, 2), np.float32)}
    path = tmp_path / "whole"
    if kind == "safetensors":
        hub.write_safetensors(path, arrays)
    elif kind == "npz":
        with path.open("wb") as stream:
            np.savez(stream, **arrays)
    else:
        hf.write_state_dict(path, arrays, legacy=True)
    read = {"safetensors": hub.read_safetensors, "npz": hub.read_npz, "torch": hub.read_torch}[kind]
    read(path)
    whole = path.read_bytes()
    step = max(1, len(whole) // 60)
    for length in [*range(0, len(whole), step), len(whole) - 1]:
        (tmp_path / "torn").write_bytes(whole[:length])
        with pytest.raises(HubError):
            read(tmp_path / "torn")


@pytest.mark.parametrize("kind", ["safetensors", "npz", "torch", "torch_zip"])
def test_flipped_bytes_never_escape_as_another_error(tmp_path, kind):
    arrays = {"a": np.arange(3, dtype=np.float32), "b": np.ones((2, 2), np.float32)}
    path = tmp_path / "whole"
    if kind == "safetensors":
        hub.write_safetensors(path, arrays)
    elif kind == "npz":
        with path.open("wb") as stream:
            np.savez_compressed(stream, **arrays)
    else:
        hf.write_state_dict(path, arrays, legacy=kind == "torch")
    read = {"safetensors": hub.read_safetensors, "npz": hub.read_npz}.get(kind, hub.read_torch)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        torn = bytearray(whole)
        for at in rng.integers(0, len(torn), 2):
            torn[at] = rng.integers(256)
        (tmp_path / "torn").write_bytes(torn)
        try:
            read(tmp_path / "torn")
        except HubError:
            refused += 1
    assert refused > 0


def test_npz_round_trip_stored_deflated_and_fortran(tmp_path):
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "names": np.array(["ant", "bee"]),
        "scalar": np.array(3),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        assert_same(hub.read_npz(tmp_path / "a.npz").arrays, arrays)


def npy(header, data=b""):
    text = repr(header).encode() if isinstance(header, dict) else header
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def header(shape=(2,), descr="<f4"):
    return {"descr": descr, "fortran_order": False, "shape": shape}


BAD_MEMBERS = {
    "objects": (npy(header(descr="|O"), b"x" * 16), "Python objects, which only a pickle"),
    "pickle": (b"\x80\x02cos\nsystem\n.", "is no array: it begins with"),
    "huge": (npy(header(shape=(10**15,)), b"x" * 8), "make 4000000000000000 bytes, but 8"),
    "negative": (npy(header(shape=(-1,)), b"x" * 8), "no header of a plain array"),
    "code": (npy(b"__import__('os').system('true')"), "no header of a plain array"),
    "deep": (npy(b"(" * 9000), "no header of a plain array"),
    "digits": (npy(str(header()).replace("2", "1" * 9000).encode()), "no header of a plain array"),
    "short": (npy(header(), b"x" * 4), "make 8 bytes, but 4"),
    "structured": (npy(header(descr=[("a", "<f4")]), b"x" * 8), "no header of a plain array"),
}


@pytest.mark.parametrize("case", BAD_MEMBERS)
def test_npz_members_that_lie_are_named(tmp_path, case):
    content, message = BAD_MEMBERS[case]
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(HubError, match=message):
        hub.read_npz(tmp_path / "a.npz")


def test_npz_deflate_bomb_is_refused_before_inflating(tmp_path):
    content = npy(header(shape=(2**25,)), b"\0" * 2**27)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(HubError, match="claim to inflate to 134217856: a bomb"):
        hub.read_npz(tmp_path / "a.npz")


def test_a_member_that_inflates_past_its_declared_size_is_cut_off(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", npy(header(shape=(2**20,)), b"\0" * 2**22))
    content = bytearray(path.read_bytes())
    size = struct.pack("<I", 2**22 + 128)
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, struct.pack("<I", 500)))
    with pytest.raises(HubError, match="inflates to more than the declared 500"):
        hub.read_npz(path)


@pytest.mark.parametrize("member", ["../a.npy", "/etc/a.npy", "x\\..\\..\\a.npy", "C:/a.npy"])
def test_archives_that_name_files_outside_are_refused(tmp_path, member):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr(member, npy(header(), b"x" * 8))
    with pytest.raises(HubError, match="names a file outside the archive"):
        hub.read_npz(tmp_path / "a.npz")


def test_overlapping_and_twin_members_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", npy(header(), b"x" * 8))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.npy", npy(header(), b"y" * 8))
    with pytest.raises(HubError, match=r"'a\.npy' occurs twice"):
        hub.read_npz(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", npy(header(), b"x" * 8))
        archive.writestr("b.npy", npy(header(), b"x" * 8))
        archive.filelist[1].header_offset = 0
    with pytest.raises(HubError, match="overlap"):
        hub.read_npz(path)


def test_files_that_are_not_there_say_what_is(tmp_path):
    (tmp_path / "resnet20.th").write_bytes(b"")
    with pytest.raises(HubError, match=r"no weight file .*resnet21.th; its folder holds"):
        hub.read_torch(tmp_path / "resnet21.th")
    with pytest.raises(HubError, match="is empty"):
        hub.read_torch(tmp_path / "resnet20.th")
    with pytest.raises(HubError, match="is a folder"):
        hub.read_torch(tmp_path)
