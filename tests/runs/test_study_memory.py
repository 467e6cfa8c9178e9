"""What a study's runs forget of a language model's own task: as each of them alone measures it.

Breaks tried: the first run's body measured for all; evaluated in batches of another size; layers
drawn afresh taken for the source's; weights that moved in place of their averages; records that do
not say which figure it is; a run alone that is not asked; keys without the corpus.
"""

import dataclasses

import numpy as np
import pytest
from small_sources import WAYS, Sources, corpora, labels, remembered, said

from tlearn import hub
from tlearn.runs.config import DataConfig, replace
from tlearn.runs.fingerprint import fingerprint
from tlearn.runs.study import Factor, Study, keys
from tlearn.runs.study.gathering import gather
from tlearn.runs.study.many import Looks, run_many
from tlearn.runs.study.memory import memory_of, remembering
from tlearn.runs.study.results import collect
from tlearn.runs.study.running import run_study
from tlearn.runs.training import start
from tlearn.studies import study_facts
from tlearn.studies.study_files import rows_of
from tlearn.train.mesh import make_mesh


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return corpora(tmp_path_factory.mktemp("studied"))


@pytest.fixture(scope="module")
def trained(place):
    return Sources(place)


def close(found, alone):
    assert found.keys() == {"before", "after"}
    for when, loss in found.items():
        assert loss == pytest.approx(alone[when]["loss"], rel=2e-6), when
    assert found["after"] != pytest.approx(found["before"], rel=1e-4)


@pytest.mark.parametrize(
    "body",
    [pytest.param(b, marks=() if b == "awd-lstm" else pytest.mark.slow) for b in WAYS],
)
def test_a_study_measures_what_a_run_alone_does(place, trained, tmp_path, body):
    # More rows than the usual evaluation batch, which of streams are other rows.
    common = {"batch_size": 68, "length": "3st"}
    first, second = (
        labels(place, trained(body), **common, **own) for own in ({}, {"seed": 1, "rate": 0.2})
    )
    looks = Looks(metric="accuracy", remember=first.objective.remember)
    outcomes = run_many([first, second], looks)
    assert {found.remembered_metric for found in outcomes} == {"loss"}
    alone = start(second, tmp_path / "alone", say=said, quiet=True).folder
    close(outcomes[1].remembered, remembered(alone))
    assert outcomes[0].remembered["before"] == outcomes[1].remembered["before"]
    assert outcomes[0].remembered["after"] != outcomes[1].remembered["after"]


def test_what_was_drawn_kept_in_halves_or_averaged_is_measured_the_same(place, trained, tmp_path):
    common = {"freeze": "bottom:1", "frozen_dtype": "bfloat16", "fresh": "top:1", "ema": 0.5}
    common |= {"widths": "24"}
    asked = labels(place, trained("gpt2"), remember="source", **common)
    looks = Looks(metric="accuracy", remember=asked.objective.remember)
    # Over several devices a block is filled up, and what fills it is not asked.
    runs = [asked, replace(asked, seed=1), replace(asked, seed=2)]
    found = run_many(runs, looks, mesh=make_mesh(2))
    alone = start(runs[2], tmp_path / "alone", say=said, quiet=True).folder
    assert len(found) == 3
    close(found[2].remembered, remembered(alone))


def study(base, **changes):
    given = {
        "name": "forgetting",
        "title": "What is forgotten",
        "base": base,
        "factors": (Factor.over("rate", (1e-3, 3e-2)),),
        "seeds": (0, 1),
        "points": 1,
        "measures": (),
    }
    return Study(**{**given, **changes})


def test_records_and_results_tell_it_as_of_sources_that_tell_labels(
    place, trained, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    tables = tmp_path / "tables"
    tables.mkdir()
    first, *rows = (place / "table.tsv").read_text().splitlines()
    for part, some in (("train", rows[:28]), ("test", rows[28:])):
        (tables / f"{part}.tsv").write_text("\n".join([first, *some]))
    data = DataConfig(data=str(tables), validation="20%", test_split="test", widths="24")
    base = labels(place, trained("gpt2"), length="2st", remember="", stores="")
    asked = study(dataclasses.replace(base, data=data), remember=f"blank:{place}/other.txt")
    results = collect(asked, run_study(asked, tmp_path / "out", say=said), "tlearn study")
    assert len(results.records) == 4
    assert {record.remembered_metric for record in results.records} == {"loss"}
    assert len({record.remembered["before"] for record in results.records}) == 1
    before, after, _ = study_facts.remembered(results)["loss"]["0.03"]
    assert after.mean != before.mean
    for row, record in zip(rows_of(results), results.records, strict=True):
        assert row["source_task/after"] == record.remembered["after"]
        assert row["source_task/metric"] == "loss"
    # The same of runs that share no program.
    single = dataclasses.replace(
        asked, how="single", seeds=(1,), factors=(Factor.over("rate", (3e-2,)),)
    )
    alone = run_study(single, tmp_path / "single", say=said).records().values()
    assert {record.remembered_metric for record in alone} == {"loss"}
    by_run = {(record.arm, record.seed): record.remembered for record in results.records}
    for record in alone:
        for when, loss in record.remembered.items():
            assert by_run[record.arm, record.seed][when] == pytest.approx(loss, rel=2e-6)


def test_what_cannot_be_measured_is_refused_by_name(place, trained, tmp_path):
    own = hub.load(f"run:{trained('gpt2')}")
    told = {"head/dense/bias": np.zeros(2), "head/dense/kernel": np.zeros((8, 2))}
    params = {path: value for path, value in own.params.items() if path.startswith("body/")}
    params |= {path: value.astype("float32") for path, value in told.items()}
    head = {"family": "linear", "classes": 2}
    hub.save_model(tmp_path, dataclasses.replace(own, params=params, head=head))
    asked = labels(place, tmp_path, remember="", stores="")
    with pytest.raises(ValueError, match="tells labels, which is measured of runs that"):
        remembering(asked, "reviews@test")
    with pytest.raises(ValueError, match="remember measures accuracy or loss, not f1"):
        memory_of(gather([asked]), f"tsv:{place}/table.tsv", "f1")


def test_a_run_is_known_by_the_texts_that_its_source_was_judged_on(place, trained, monkeypatch):
    base = labels(place, trained("gpt2"), remember="source", validation="20%", test_split="test")
    asked = study(base, remember="source")
    (cell, *_) = asked.reported({arm.name: {} for arm in asked.arms})
    read = []
    monkeypatch.setattr(keys, "fingerprint", lambda spec: read.append(spec) or fingerprint(spec))
    keys.run_key(asked, cell)
    assert f"blank:{place}/corpus.txt" in read
    assert "source" not in read
