"""The quickstart, cut short: its parts fit, its folder is its own."""

import json

import pytest

from tlearn.runs import quickstart, quickstart_source
from tlearn.runs.folder import RunFolderError


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A quickstart of two updates and two seeds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quickstart, "STEPS", 2)
        patch.setattr(quickstart, "POINTS", 1)
        patch.setattr(quickstart_source, "STEPS", 2)
        patch.setattr(
            quickstart_source,
            "BODY",
            {"stage_blocks": (1, 1), "stage_widths": (4, 8), "stem_width": 4},
        )
        settings = quickstart.arms()
        kept = ("from scratch", "head only, cached", "pulled, unsquared")
        patch.setattr(quickstart, "arms", lambda: {name: settings[name] for name in kept})
        out = tmp_path_factory.mktemp("quickstart") / "out"
        said = []
        options = quickstart.Quickstart(out=str(out), seeds=2, per_class=(5, 10))
        quickstart.run(options, said.append, "tlearn quickstart")
    return out, said


def test_it_leaves_a_report_plots_and_a_source(finished):
    out, said = finished
    page = (out / "report.html").read_text()
    assert "from scratch" in page
    assert "<script" not in page
    assert len(list((out / "plots").glob("*.png"))) == 3
    assert (out / "source" / "model" / "model.safetensors").is_file()
    results = json.loads((out / "results.json").read_text())
    assert json.dumps(results).count("pulled, unsquared") >= 1
    assert any("trains" in line for line in said)


def test_two_seeds_name_no_winner(finished):
    out, _ = finished
    assert "too few seeds" in (out / "report.md").read_text()


def test_its_folder_is_refused_if_it_holds_something_else(finished, tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="something else"):
        quickstart._clear(tmp_path)
    assert (tmp_path / "letter.txt").read_text() == "mine"
    out, _ = finished
    quickstart._clear(out)
    assert not out.exists()


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"(?s)at least 2.*10 among them"):
        quickstart.Quickstart(seeds=1, per_class=(5,))
