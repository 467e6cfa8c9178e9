"""What a stage of a pipeline depends on: whatever it reads, and no bookkeeping."""

import dataclasses

from tlearn.data import embedded
from tlearn.runs.config import DataConfig, RunConfig, replace
from tlearn.runs.objective_config import ObjectiveConfig
from tlearn.runs.pipeline import Pipeline, RunStage, StudyStage, TokenizerStage, plan_pipeline
from tlearn.runs.study import Factor, Study


def test_a_source_from_elsewhere_is_part_of_what_a_stage_depends_on(tmp_path):
    weights = tmp_path / "weights.npz"
    weights.write_bytes(b"one")
    run = replace(RunConfig(data=DataConfig(data="blank:x.txt")), source=f"npz:{weights}")
    made = Pipeline("one", (RunStage(name="learn", run=run),))
    before = plan_pipeline(made, tmp_path)[0].digest
    weights.write_bytes(b"two")
    assert plan_pipeline(made, tmp_path)[0].digest != before


def digest(folder, **changes):
    """The digest of a stage that pre-trains, as the files are now."""
    asked = ObjectiveConfig(objective="next_tokens")
    run = RunConfig(data=DataConfig(data=f"blank:{folder}/general.txt"), objective=asked)
    made = Pipeline("one", (RunStage(name="learn", run=replace(run, **changes)),))
    return plan_pipeline(made, folder)[0].digest


def test_every_corpus_of_a_stage_is_part_of_what_it_depends_on(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "prepared"))
    (tmp_path / "general.txt").write_text("some text")
    info = tmp_path / "prepared" / "reviews" / "plain" / "1.0.0" / "dataset_info.json"
    for file in (tmp_path / "CoLA" / "test.tsv", tmp_path / "one@two.tsv", info):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
    here = str(tmp_path)
    cases = {
        "test.tsv": [
            {"test_split": f"text:{here}/CoLA"},
            {"data": f"dataset:text:{here}/CoLA"},
            {"data": f"dataset:glue:{here}/CoLA@test"},
            {"data": f"dataset:tsv:{here}/CoLA/test.tsv"},
            {"validation": f"dataset:text:{here}/CoLA@test + blank:{here}/general.txt"},
        ],
        "one@two.tsv": [{"test_split": f"table:{here}/one@two.tsv"}],
        "dataset_info.json": [
            {"data": "tfds:reviews/plain"},
            {"replay": "tfds:reviews/plain:1.0.0@test"},
            {"validation": "dataset:tfds:reviews"},
        ],
    }
    for name, reads in cases.items():
        (file,) = tmp_path.rglob(name)
        others = digest(tmp_path)
        before = [digest(tmp_path, **changes) for changes in reads]
        assert before == [digest(tmp_path, **changes) for changes in reads]
        file.write_text(file.read_text() + " ")
        assert digest(tmp_path) == others
        after = [digest(tmp_path, **changes) for changes in reads]
        assert not {*before} & {*after}, name


def test_bookkeeping_is_no_part_of_what_a_stage_depends_on(tmp_path):
    (tmp_path / "general.txt").write_text("some text")
    told = {"report_every": 7, "checkpoint_every": 9, "keep": 1, "workers": 2}
    assert digest(tmp_path, stores="x", **told) == digest(tmp_path)
    assert digest(tmp_path, rate=0.5) != digest(tmp_path)
    base = RunConfig(data=DataConfig(data="text:x", test_split="test"))
    rates = Factor("f", {"a": {}, "b": {"rate": 1.0}})
    study = Study(name="a", title="A", base=base, factors=(rates,), seeds=(0, 1))

    def of(run):
        stage = StudyStage(name="a", study=dataclasses.replace(study, base=run))
        return plan_pipeline(Pipeline("one", (stage,)), tmp_path)[0].digest

    assert of(replace(base, **told)) == of(base)
    assert of(replace(base, seed=1)) != of(base)


def test_how_documentation_is_read_is_part_of_what_a_stage_depends_on(tmp_path, monkeypatch):
    stages = (TokenizerStage(name="pieces", corpus="embedded:stdlib", vocab_size=300),)
    made = Pipeline("one", stages)
    before = plan_pipeline(made, tmp_path)[0].digest
    assert plan_pipeline(made, tmp_path)[0].digest == before
    monkeypatch.setattr(embedded, "RULES", embedded.RULES + 1)
    assert plan_pipeline(made, tmp_path)[0].digest != before


def test_a_folder_that_is_called_source_is_not_what_a_source_was_judged_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("general", "held-out"):
        (tmp_path / f"{name}.txt").write_text("some text")
    (tmp_path / "source").mkdir()
    file = tmp_path / "source" / "train.tsv"
    file.write_text("text\tlabel\nfine\t1\n")
    weights = tmp_path / "weights.npz"
    weights.write_bytes(b"one")
    base = replace(
        RunConfig(data=DataConfig(data="blank:general.txt")),
        source=f"npz:{weights}",
        objective="next_tokens",
        test_split="blank:held-out.txt",
    )
    study = Study(name="s", title="s", base=base, factors=(), seeds=(0,), remember="source")

    def digests():
        stages = (
            RunStage(name="run", run=replace(base, remember="source")),
            StudyStage(name="study", study=study),
            RunStage(name="data", run=replace(base, data="dataset:text:source")),
        )
        return [plan_pipeline(Pipeline("one", (stage,)), tmp_path)[0].digest for stage in stages]

    before = digests()
    file.write_text("text\tlabel\nbad\t0\n")
    after = digests()
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False]
