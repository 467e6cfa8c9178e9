"""IDX files: what the header promises is what must be there."""

import gzip
import struct

import numpy as np
import pytest

from tlearn.data import DataError, open_dataset, read_idx


def idx(array: np.ndarray, code: int = 0x08) -> bytes:
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, code, array.ndim]) + shape + array.tobytes()


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, images):
    for split, count in (("train", 5), ("t10k", 2)):
        labels = np.arange(count, dtype=np.uint8)
        (tmp_path / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images[:count])))
        (tmp_path / f"{split}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return tmp_path


@pytest.mark.parametrize(("code", "kind"), [(0x08, "u1"), (0x0B, ">i2"), (0x0D, ">f4")])
def test_types_and_byte_order(tmp_path, code, kind):
    array = np.arange(6).reshape(2, 3).astype(kind)
    file = tmp_path / "x-idx"
    file.write_bytes(idx(array, code))
    found = read_idx(file)
    assert found.dtype.isnative
    assert np.array_equal(found, array)


def test_a_folder_of_pairs(folder, images):
    train, test = open_dataset(folder, "train"), open_dataset(f"idx:{folder}", "test")
    assert np.array_equal(train[3]["image"], images[3][..., None])
    # The classes are those of all splits.
    assert train.label_names == test.label_names == ("0", "1", "2", "3", "4")
    assert open_dataset(f"mnist:{folder}", "train").label_names == tuple("0123456789")
    assert open_dataset(folder, "test", label_names=list("abcde")).label_names == tuple("abcde")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"has no t10k-labels-idx1-ubyte\.gz"):
        open_dataset(folder, "train")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:-1], "promises shape (5, 4, 3), 60 bytes, but only 59 follow"),
        (lambda data: data + b"!", "60 bytes, but more follow"),
        (lambda data: b"\x89PNG" + data[4:], "starts with 89 50 4e 47, which is no IDX header"),
        (lambda data: b"\0\0\x07\3" + data[4:], "no IDX header"),
        (lambda data: data[:7], "ends inside its header"),
        (lambda data: b"", "starts with nothing"),
        (lambda data: data[:4] + b"\xff" * 12 + data[16:], "more than max_bytes"),
    ],
)
def test_headers_and_sizes_that_do_not_fit(tmp_path, images, damage, words):
    file = tmp_path / "x-idx3-ubyte.gz"
    file.write_bytes(gzip.compress(damage(idx(images))))
    with pytest.raises(DataError) as caught:
        read_idx(file)
    assert words in str(caught.value)


def test_damaged_compression(tmp_path, images):
    file = tmp_path / "x-idx3-ubyte.gz"
    packed = bytearray(gzip.compress(idx(images)))
    for broken in (packed[:-9], packed[:30] + b"\0\0\0" + packed[33:], b"no gzip at all"):
        file.write_bytes(bytes(broken))
        with pytest.raises(DataError, match="damaged"):
            read_idx(file)
    with pytest.raises(DataError, match="no such file"):
        read_idx(tmp_path / "absent")


def test_pictures_and_labels_that_do_not_belong_together(folder, images):
    labels = folder / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(idx(np.arange(4, dtype=np.uint8))))
    with pytest.raises(DataError, match="holds 5 pictures"):
        open_dataset(folder, "train")
    labels.write_bytes(gzip.compress(idx(images)))
    with pytest.raises(DataError, match=r"expected bytes \[n\]"):
        open_dataset(folder, "train")
    labels.write_bytes(gzip.compress(idx(np.arange(5, dtype=np.uint8))))
    with pytest.raises(DataError, match="run from 0 to 4, but 2 label names"):
        open_dataset(folder, "train", label_names=("a", "b"))
