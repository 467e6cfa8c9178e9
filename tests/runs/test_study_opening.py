"""Studies by name and out of files: what lies beside a file can be imported, slips are told."""

import sys

import pytest

from tlearn.runs.study.opening import open_study

_STUDY = """
import dataclasses

import beside_it

from tlearn.runs.study.presets import digits_rates

STUDY = dataclasses.replace(digits_rates(), name=beside_it.NAME)
"""


def test_a_file_imports_what_lies_beside_it(tmp_path):
    (tmp_path / "beside_it.py").write_text('NAME = "own"\n')
    (tmp_path / "study.py").write_text(_STUDY)
    before = list(sys.path)
    assert open_study(str(tmp_path / "study.py")).name == "own"
    assert sys.path == before


def test_a_name_that_is_nothing_names_the_nearest_preset():
    with pytest.raises(ValueError, match="digits-rates"):
        open_study("digits-rate")


def test_a_file_without_a_study_is_told(tmp_path):
    (tmp_path / "empty.py").write_text("STUDY = 3\n")
    with pytest.raises(ValueError, match="and has int"):
        open_study(str(tmp_path / "empty.py"))
