"""The verb study: what it will take, its runs, its report; what it refuses."""

import pytest

from tlearn.cli.main import main

STUDY = """
from tlearn.runs.config import DataConfig, RunConfig, replace
from tlearn.runs.study import Factor, Study

STUDY = Study(
    name="tiny",
    title="Tiny",
    base=replace(
        RunConfig(data=DataConfig(data="digits", test_split="test", validation="20%")),
        settings=("stage_widths=8,", "stage_blocks=1,", "stem_width=8"),
        length="3st",
        batch_size=10,
    ),
    factors=(Factor.over("rate", (0.1, 0.01)),),
    seeds=(0, 1),
    labels=(2,),
)
"""


@pytest.fixture
def file(tmp_path):
    place = tmp_path / "tiny.py"
    place.write_text(STUDY)
    return place


def test_a_study_is_forecast_run_and_reported(file, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["study", str(file), "--dry-run", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "2 arms; 0 pilot runs and 4 reported runs" in told
    assert "4 runs × 3 steps" in told
    assert not out.exists()
    assert main(["study", str(file), "--out", str(out)]) == 0
    assert "too few" in capsys.readouterr().out
    page = (out / "report" / "report.html").read_text()
    assert "Tiny" in page
    before = (out / "report" / "results.csv").read_bytes()
    assert main(["study", str(file), "--out", str(out), "--report"]) == 0
    assert (out / "report" / "results.csv").read_bytes() == before
    units = sorted(file.name for file in (out / "units").iterdir())
    assert main(["study", str(file), "--out", str(out)]) == 0
    assert "1 of 1 units are there already" in capsys.readouterr().out
    assert sorted(file.name for file in (out / "units").iterdir()) == units


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ([], "needs a preset or a file"),
        (["digits-rate"], "digits-rates"),
        (["FILE", "--report", "--out", "nowhere"], "holds no study"),
    ],
)
def test_what_cannot_be_done_is_said(args, told, file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["study", *(str(file) if a == "FILE" else a for a in args)]) in (1, 2)
    assert told in capsys.readouterr().err
