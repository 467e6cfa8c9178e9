"""Datasets opened again within one place are read once there, and anew outside of it."""

import numpy as np
import pytest

from tlearn.data import DataError, open_dataset, open_texts, reading_once


def _write(place, first):
    rows = "\n".join(f"{first} {i}\t{i % 2}" for i in range(6))
    (place / "train.tsv").write_text(f"text\tlabel\n{rows}\n")
    (place / "test.tsv").write_text("text\tlabel\nthe end\t0\n")


def test_texts_are_read_once_inside_and_anew_outside(tmp_path):
    _write(tmp_path, "old")
    spec = f"text:{tmp_path}"
    with reading_once():
        one = open_texts(spec, "train")
        _write(tmp_path, "new")
        assert open_texts(spec, "train") is one
        # Another stretch of the same file: the file is not read again either.
        assert open_texts(spec, "train[:2]")[0]["text"] == "old 0"
        assert open_texts(spec, "test")[0]["text"] == "the end"
    assert open_texts(spec, "train")[0]["text"] == "new 0"


def test_pictures_are_the_same_and_options_keep_datasets_apart():
    with reading_once():
        whole = open_dataset("digits", "train")
        assert open_dataset("digits", "train") is whole
        part = open_dataset("digits", "train[:5]")
        with pytest.raises(DataError):
            open_dataset("digits", "train", exclude=("x",))
    np.testing.assert_array_equal(part[3]["image"], open_dataset("digits", "train")[3]["image"])
