"""What a body forgets of its source's language while it learns labels: before and after.

Breaks tried: the run's own fresh layers measured as the source's; the source's body after as
before; the run's body without the source's decoder; measured again on resume.
"""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from small_sources import WAYS, Sources, corpora, labels, remembered, said

from tlearn import hub
from tlearn.runs.build import build
from tlearn.runs.config import replace
from tlearn.runs.reading import Selection
from tlearn.runs.study.declaration import Study
from tlearn.runs.study.factors import Factor
from tlearn.runs.training import resume, start
from tlearn.runs.use import score


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return corpora(tmp_path_factory.mktemp("forgetting"))


@pytest.fixture(scope="module")
def trained(place):
    return Sources(place)


def put_back(place, source, tuned):
    """The source with the body of a tuned run, as a run of its own."""
    own, moved = hub.load(f"run:{source}"), hub.load(f"run:{tuned}")
    shared = {p: np.asarray(v) for p, v in moved.params.items() if p.startswith("body/")}
    params = {p: shared.get(p, np.asarray(v)) for p, v in own.params.items()}
    assert any(not np.array_equal(v, np.asarray(own.params[p])) for p, v in params.items())
    hub.save_model(place, dataclasses.replace(own, params=params))
    return place


@pytest.mark.parametrize(
    "body", [pytest.param(b, marks=pytest.mark.slow if "bert" in b else ()) for b in WAYS]
)
def test_before_is_the_source_and_after_its_head_on_the_tuned_body(
    place, trained, tmp_path, body, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    source = trained(body)
    told: list[str] = []
    tuned = start(labels(place, source), tmp_path / "tuned", say=told.append, quiet=True).folder
    found = remembered(tuned)
    other = Selection(f"blank:{place}/other.txt")
    assert found["before"] == score(str(source), other).metrics
    whole = put_back(tmp_path / "whole", source, tuned)
    after = score(f"run:{whole}", other).metrics
    assert found["after"].keys() == after.keys()
    for name, value in after.items():
        assert found["after"][name] == pytest.approx(value, rel=1e-6)
    assert found["after"]["loss"] != pytest.approx(found["before"]["loss"], rel=1e-6)
    line = next(line for line in told if line.startswith("what may be forgotten, before and"))
    assert f"loss {found['before']['loss']:.4f}, {found['after']['loss']:.4f}" in line
    assert line in (tuned / "report" / "report.md").read_text()


def test_layers_drawn_afresh_do_not_change_what_the_source_was(place, trained, tmp_path):
    source = trained("gpt2")
    judged = json.loads((source / "report" / "results.json").read_text())["validation"]
    asked = labels(place, source, remember="source", fresh="top:1", frozen_dtype="bfloat16")
    asked = replace(asked, freeze="bottom:1")
    found = remembered(start(asked, tmp_path / "tuned", say=said, quiet=True).folder)
    assert found["before"]["loss"] == judged["loss"]
    assert found["after"]["loss"] != pytest.approx(judged["loss"], rel=1e-4)


def test_what_nothing_moves_forgets_nothing(place, trained, tmp_path):
    # On two devices, over which the run's weights lie split and the source's own head does not.
    split = {"devices": 2, "layout": "sharded"}
    asked = labels(place, trained("gpt2"), freeze="body", **split)
    found = remembered(start(asked, tmp_path / "tuned", say=said, quiet=True).folder)
    assert found["before"] == found["after"]


def test_a_run_that_was_cut_off_tells_the_same(place, trained, tmp_path):
    asked = labels(place, trained("gpt2"), remember="source")
    whole = start(asked, tmp_path / "whole", say=said, quiet=True).folder
    start(asked, tmp_path / "cut", say=said, quiet=True)
    # As a kill after the second checkpoint would leave it, and one while the end was written.
    for lost in (("report", "model", "checkpoints/6"), ("report", "model")):
        for name in lost:
            shutil.rmtree(tmp_path / "cut" / name)
        (tmp_path / "cut" / "report.html").unlink()
        resume(tmp_path / "cut", say=said, quiet=True)
        metrics = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "cut")]
        assert metrics[0] == metrics[1]
        assert remembered(whole) == remembered(tmp_path / "cut")


def test_a_corpus_that_changed_is_noticed(place, trained):
    built = build(labels(place, trained("gpt2")), draw=False)
    other = build(labels(place, trained("gpt2"), remember="source"), draw=False)
    assert built.digests["data remember"] != other.digests["data remember"]
    assert (
        "data remember" not in build(labels(place, trained("gpt2"), remember="", stores="")).digests
    )


def test_what_cannot_be_measured_is_refused_by_name(place, trained, tmp_path):
    own = hub.load(f"run:{trained('gpt2')}")
    body = {path: v for path, v in own.params.items() if path.startswith("body/")}
    hub.save_model(tmp_path, dataclasses.replace(own, params=body, head=None))
    with pytest.raises(ValueError, match=r"the head of run:.* is none: name a source that was"):
        build(labels(place, tmp_path))
    with pytest.raises(ValueError, match="and there is no source"):
        replace(labels(place, tmp_path), source="")
    with pytest.raises(ValueError, match="knows no other vocabulary"):
        labels(place, trained("gpt2"), vocabulary="remap", tokenizer=str(place / "word"))
    with pytest.raises(ValueError, match="give it as the study's own remember"):
        Study(
            name="forgetting",
            title="",
            base=labels(place, trained("gpt2"), test_split="test"),
            factors=(Factor.over("rate", (0.1, 0.2)),),
            seeds=(0,),
        )
    with pytest.raises(ValueError, match="stores is for"):
        labels(place, tmp_path, remember="")


def test_a_folder_from_elsewhere_is_asked_by_its_own_head(place, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    exported = hub.export_folder(hub.load(f"run:{trained('gpt2')}"), tmp_path / "gpt2")
    asked = replace(labels(place, ""), source=f"hf:{exported}")
    found = remembered(start(asked, tmp_path / "tuned", say=said, quiet=True).folder)
    own = score(f"hf:{exported}", Selection(f"blank:{place}/other.txt")).metrics
    assert found["before"] == own
    with pytest.raises(ValueError, match="is no run on a corpus: name a corpus"):
        build(replace(asked, remember="source"))
