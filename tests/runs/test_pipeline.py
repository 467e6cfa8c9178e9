"""Stages kept under a digest of their inputs: run once, again where something changed, resumed."""

import dataclasses
import itertools
import json
import random
import signal

import pytest
from killing import Children, kill_when, record

from tlearn.cli.main import main
from tlearn.data import DataError, Tokenizer
from tlearn.hub import load
from tlearn.runs import counted
from tlearn.runs.config import DataConfig, HeadConfig, RunConfig, replace
from tlearn.runs.objective_config import ObjectiveConfig
from tlearn.runs.pipeline import (
    Pipeline,
    RunStage,
    StudyStage,
    TokenizerStage,
    plan_pipeline,
    run_pipeline,
)
from tlearn.runs.pipeline_opening import open_pipeline
from tlearn.runs.study import Factor, Study
from tlearn.runs.study.folder import StudyFolder

WORDS = "the cat sat on a mat and then it ran home so did we all".split()


def corpus(folder, seed):
    rng = random.Random(seed)
    texts = [
        "\n".join(" ".join(rng.choices(WORDS, k=8)) + "." for _ in range(5)) for _ in range(24)
    ]
    folder.write_text("\n\n".join(texts))


def task(folder):
    folder.mkdir()
    rng = random.Random(0)
    for part, count in (("train", 40), ("test", 16)):
        lines = ["text\tlabel"]
        for i in range(count):
            label = ("cat", "home")[i % 2]
            lines.append(f"{i} {' '.join(rng.choices(WORDS, k=5))} {label} {part}\t{label}")
        (folder / f"{part}.tsv").write_text("\n".join(lines) + "\n")


FILE = """
import dataclasses
from tests.runs.test_pipeline import stages
PIPELINE = stages({folder!r}, {folder!r})
"""


def compared(folder, more, **tuning) -> Study:
    """The last stage: from scratch, from the first run, and from what more there is."""
    base = RunConfig(
        data=DataConfig(data=f"text:{folder}/task", validation="40%", test_split="test"),
        source="stage:pretrain",
    )
    return Study(
        name="labels",
        title="What each stage buys",
        base=replace(base, batch_size=4, max_length=12, widths="12", **tuning),
        factors=(Factor("stage", {"from scratch": {"fresh": "all"}, "pre-trained": {}, **more}),),
        seeds=(0, 1),
        labels=(4,),
        points=1,
        measures=(),
    )


def stages(folder, stores, *, steps=3, rate=5e-3, length="6st") -> Pipeline:
    asked = ObjectiveConfig(objective="next_tokens", row_length=8, stores=f"{stores}/stores")
    general, domain = f"blank:{folder}/general.txt", f"blank:{folder}/domain.txt"
    base = replace(
        RunConfig(data=DataConfig(data=general), objective=asked),
        body="awd-lstm",
        settings=("width=8", "hidden=8", "depth=1"),
        tokenizer="stage:tokens",
        optimizer="adamw",
        rate=rate,
        batch_size=4,
        length=length,
        checkpoint_every=2,
        report_every=2,
    )
    adapted = replace(
        base,
        data=DataConfig(data=domain),
        body=RunConfig(data=base.data).body,
        source="stage:pretrain",
        head=HeadConfig(head_weights="source"),
        remember=general,
    )
    labels = dataclasses.replace(
        compared(
            folder,
            {"adapted": {"source": "stage:adapt"}},
            head="ulmfit",
            settings=("dropout_scale=0.3",),
            optimizer="adamw",
            length=f"{steps}st",
        ),
        labels=(4, 8),
        shown=8,
        pilot_seeds=(100,),
    )
    rates = Factor.over("rate", (1e-3, 1e-2), role="nuisance")
    labels = dataclasses.replace(labels, factors=(*labels.factors, rates))
    return Pipeline(
        "small",
        (
            TokenizerStage(name="tokens", corpus=general, kind="word", vocab_size=30),
            RunStage(name="pretrain", run=base),
            RunStage(name="adapt", run=adapted),
            StudyStage(name="labels", study=labels),
        ),
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline")
    corpus(folder / "general.txt", 1)
    corpus(folder / "domain.txt", 2)
    task(folder / "task")
    return folder


def quiet(text):
    pass


def test_a_change_runs_its_stage_and_those_behind_it_again_and_no_other(place):
    out = place / "out"
    folders = run_pipeline(stages(place, place), out, say=quiet, quiet=True)
    assert list(folders) == ["tokens", "pretrain", "adapt", "labels"]
    results = json.loads((folders["adapt"] / "report" / "results.json").read_text())
    before, after = results["remember"]["before"], results["remember"]["after"]
    assert before["loss"] != after["loss"]
    assert {"perplexity", "loss"} <= before.keys()
    report = json.loads((folders["labels"] / "report" / "results.json").read_text())
    assert [arm["name"] for arm in report["arms"]] == ["from scratch", "pre-trained", "adapted"]
    assert report["efficiency"]["points"] == [4, 8]
    told = "\n".join(report["notes"])
    for said in ("Stage pretrain (next_tokens", "Kneser-Ney", "What it may forget", "8 labels"):
        assert said in told, told
    assert "adapted − pre-trained" in told

    def states(pipeline):
        return [one.state for one in plan_pipeline(pipeline, out)]

    files = {name: folder / "run.json" for name, folder in folders.items()}
    made = {name: file.read_bytes() for name, file in files.items() if file.exists()}
    assert states(stages(place, place)) == ["done"] * 4
    run_pipeline(stages(place, place), out, say=quiet, quiet=True)
    assert made == {name: files[name].read_bytes() for name in made}
    assert states(stages(place, place, steps=4)) == ["done", "done", "done", "new"]
    assert states(stages(place, place, rate=1e-3)) == ["done", "new", "new", "new"]
    # Where stores lie changes nothing that is learned.
    assert states(stages(place, place / "elsewhere")) == ["done"] * 4
    text = (place / "domain.txt").read_text()
    (place / "domain.txt").write_text(text + "\n\nA new document here.")
    assert states(stages(place, place)) == ["done", "done", "new", "new"]
    (place / "domain.txt").write_text(text)


def test_wrong_pipelines_are_refused_before_anything_runs():
    base = RunConfig(data=DataConfig(data="blank:x.txt"))
    stage = RunStage(name="one", run=base)
    with pytest.raises(ValueError, match="each used once"):
        Pipeline("p", (stage, stage))
    later = RunStage(name="two", run=replace(base, source="stage:ome"))
    with pytest.raises(ValueError, match=r"uses 'ome': before it are \['one'\]"):
        Pipeline("p", (stage, later))
    wrong = RunStage(name="two", run=replace(base, tokenizer="stage:one"))
    with pytest.raises(ValueError, match="uses 'one' as a TokenizerStage, which is a RunStage"):
        Pipeline("p", (stage, wrong))
    labels = Study(
        name="labels",
        title="Labels",
        base=replace(base, source="stage:one", test_split="test"),
        factors=(Factor("stage", {"one": {}, "other": {"source": "stage:onne"}}),),
        seeds=(0, 1),
    )
    with pytest.raises(ValueError, match=r"stage 'labels' uses 'onne': before it are \['one'\]"):
        Pipeline("p", (stage, StudyStage(name="labels", study=labels)))
    with pytest.raises(ValueError, match="no stages"):
        Pipeline("p", ())
    with pytest.raises(ValueError, match="ulmfit-demo"):
        open_pipeline("ulmfit")


def outcome(folders):
    found = {}
    for name in ("pretrain", "adapt"):
        weights = folders[name] / "model" / "model.safetensors"
        found[name] = weights.read_bytes(), (folders[name] / "metrics.jsonl").read_bytes()
    records = StudyFolder.open(folders["labels"]).records()
    found["labels"] = {
        (r.arm, r.labels, r.seed, r.role): (r.metrics, r.validation, r.values)
        for r in records.values()
    }
    found["tokens"] = (folders["tokens"] / "tokenizer.json").read_bytes()
    return found


@pytest.mark.slow
def test_killed_in_every_stage_it_ends_with_the_same_bytes(place, tmp_path):
    file = place / "pipeline.py"
    file.write_text(FILE.format(folder=str(place)))
    children, out = Children(tmp_path), tmp_path / "killed"
    # In a child too: children compile with other options than this process.
    command = ["pipeline", str(file), "--quiet", "--out"]
    assert children.run([*command, str(tmp_path / "whole")]) == 0, children.said()

    def planned(place):
        return {
            one.stage.name: one.folder for one in plan_pipeline(open_pipeline(str(file)), place)
        }

    whole, folders = planned(tmp_path / "whole"), planned(out)

    def steps(name, count):
        return lambda: len(record(folders[name])) >= count

    moments = {
        "tokens": lambda: any(out.glob(".tokens*")) or folders["tokens"].exists(),
        "store": lambda: any((place / "stores").glob("*")) and folders["pretrain"].exists(),
        "pretrain": steps("pretrain", 2),
        "adapt": steps("adapt", 3),
        "pilots": lambda: any((folders["labels"] / "units").glob("*.unit.json")),
        "labels": lambda: any((folders["labels"] / "units").glob("*.npz")),
    }
    for name, moment in moments.items():
        child = children.start([*command, str(out)])
        assert kill_when(child, moment), f"{name}: {children.said()}"
        assert child.exitcode == -signal.SIGKILL, children.said()
    assert children.run([*command, str(out)]) == 0, children.said()
    assert outcome(folders) == outcome(whole)


@pytest.mark.parametrize("name", ["ulmfit-demo", "bert-demo", "gpt-demo"])
def test_presets_are_four_stages_that_hold_the_tasks_test_texts_out(name):
    stages = open_pipeline(name).stages
    assert [stage.name for stage in stages] == ["tokenizer", "pretrain", "adapt", "labels"]
    tokenizer, pretrain, adapt, labels = stages
    held = ("embedded:scipy@test",)
    assert tokenizer.held_out == pretrain.run.objective.held_out == held
    assert adapt.run.objective.held_out == held
    assert adapt.run.source == "stage:pretrain"
    assert adapt.run.head.head_weights == "source"
    assert labels.study.base.data.data == "embedded:scipy"
    assert labels.study.base.data.test_split == "test"
    assert [arm.name for arm in labels.study.arms] == [
        "from scratch",
        "pre-trained",
        "pre-trained, adapted",
    ]
    assert labels.study.labels == (20, 50, 200)
    assert len(labels.study.seeds) == 5


def test_a_stage_trains_the_tokenizer_that_the_verb_trains(place, tmp_path):
    words = [
        f"{line}\t0" for line in (place / "general.txt").read_text().split("\n\n")[0].split("\n")
    ]
    (tmp_path / "train.tsv").write_text("text\tlabel\nelsewhere\t1\n")
    (tmp_path / "test.tsv").write_bytes("\n".join(["words\tlabel", *words]).encode())
    corpus, special = f"dataset:text:{tmp_path}", ("cls=[CLS]", "sep=[SEP]", "mask=[MASK]")
    verb = ["tokenizer", "--corpus", corpus, "--kind", "unigram", "--vocab-size", "40"]
    verb += ["--special", *special, "--text-field", "words", "--split", "test"]
    verb += ["--characters", "200", "--out", str(tmp_path / "verb")]
    assert main(verb) == 0
    stage = TokenizerStage(
        name="albert",
        corpus=corpus,
        kind="unigram",
        vocab_size=40,
        special=special,
        text_field="words",
        split="test",
        characters=200,
    )
    made = run_pipeline(Pipeline("one", (stage,)), tmp_path, say=quiet, quiet=True)
    tokens = (made["albert"] / "tokenizer.json").read_bytes()
    assert tokens == (tmp_path / "verb" / "tokenizer.json").read_bytes()
    files = {file.name: file.read_bytes() for file in made["albert"].iterdir()}
    assert {"cls", "sep", "mask"} <= dict(Tokenizer.from_files(files).special).keys()
    wrong = dataclasses.replace(stage, special=("mask",))
    with pytest.raises(DataError, match=r"write each once, as mask=\[MASK\]"):
        run_pipeline(Pipeline("one", (wrong,)), tmp_path, say=quiet, quiet=True)
    stages = [stage, wrong]
    for change in ({"split": "train"}, {"errors": "replace"}, {"text_field": "2"}):
        stages.append(dataclasses.replace(stage, **change))
    planned = [plan_pipeline(Pipeline("one", (each,)), tmp_path)[0].digest for each in stages]
    assert len({*planned}) == len(stages)


@pytest.mark.parametrize("still", [False, True])
def test_training_a_tokenizer_tells_how_far_it_is(place, tmp_path, capsys, monkeypatch, still):
    # As if every document had taken long.
    monkeypatch.setattr(counted.time, "monotonic", itertools.count(0, 20).__next__)
    stage = TokenizerStage(name="tokens", corpus=f"blank:{place}/general.txt", vocab_size=60)
    run_pipeline(Pipeline("one", (stage,)), tmp_path, say=quiet, quiet=still)
    assert ("tokens: documents: 24 of 24" in capsys.readouterr().err) is not still


def test_a_pooler_stays_behind_where_labels_are_read_off_the_mean(place, tmp_path):
    general = f"blank:{place}/general.txt"
    asked = ObjectiveConfig(objective="next_sentence", row_length=24, stores=str(tmp_path / "s"))
    learned = replace(
        RunConfig(data=DataConfig(data=general), objective=asked),
        body="bert-tiny",
        settings=("width=8", "depth=1", "heads=2", "feed_forward=8", "positions=32"),
        tokenizer="stage:tokens",
        optimizer="adamw",
        rate=1e-3,
        batch_size=4,
        length="2st",
    )
    labels = compared(place, {}, pooling="mean", length="2st")
    pipeline = Pipeline(
        "pooler",
        (
            TokenizerStage(name="tokens", corpus=general, kind="wordpiece", vocab_size=60),
            RunStage(name="pretrain", run=learned),
            StudyStage(name="labels", study=labels),
        ),
    )
    made = run_pipeline(pipeline, tmp_path / "out", say=quiet, quiet=True)
    weights = load(f"run:{made['pretrain']}").params
    assert any(path.startswith("body/pooler/") for path in weights)
    arms = json.loads((made["labels"] / "report" / "results.json").read_text())["arms"]
    assert [arm["name"] for arm in arms] == ["from scratch", "pre-trained"]
    assert all(not arm["summary"]["failed"] for arm in arms)
