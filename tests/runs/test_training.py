"""Whole runs: what they leave in their folder, and that every option does what it says."""

import dataclasses
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_runs import NEW, OLD, colour_folder, config, transfer

from tlearn import hub
from tlearn.model import variables
from tlearn.runs.config import from_json
from tlearn.runs.config import replace as change
from tlearn.runs.examples import make_task
from tlearn.runs.folder import RunFolderError
from tlearn.runs.reading import Selection
from tlearn.runs.training import StoppedError, resume, start
from tlearn.runs.use import load, score
from tlearn.runs.writers import read_metrics


def weights(run) -> dict[str, np.ndarray]:
    return dict(hub.load(f"run:{run}").params)


def distance(a, b) -> float:
    shared = [p for p in a if p in b and p.startswith("body/")]
    return float(np.sqrt(sum(np.sum((a[p] - b[p]) ** 2) for p in shared)))


def results(run) -> dict:
    return json.loads((run / "report" / "results.json").read_text())


@pytest.fixture(scope="module")
def plain(digits_run, tmp_path_factory):
    """The transfer that the others differ from by one option."""
    out = tmp_path_factory.mktemp("plain") / "run"
    return transfer(digits_run, out, test_split="test", freeze="bottom:1")


def test_a_run_leaves_a_whole_folder(plain, digits_run):
    run = plain.folder
    assert plain.finished
    assert plain.exit_code == 0
    there = {p.relative_to(run).parts[0] for p in run.rglob("*")}
    assert there >= {"run.json", "config.json", "plan.txt", "plan.json", "seeds.json"}
    assert there >= {"versions.json", "metrics.jsonl", "timing.jsonl", "tensorboard", "model"}
    assert there >= {"checkpoints", "report.html", "report"}
    assert not {"lock"} & there
    page = (run / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "head/dense/kernel" in page
    source = hub.load(f"run:{run}")
    assert source.label_names == NEW
    assert source.facts == hub.load(f"run:{digits_run}").facts
    assert source.provenance["origin"]["from"] == f"run:{digits_run}"


def test_its_record_has_each_figure_once(plain):
    events = read_metrics(plain.folder / "metrics.jsonl")
    at = [(event["event"], event["step"]) for event in events]
    train = [("train", s) for s in (4, 8, 12)]
    # 40 pictures in batches of 20: an epoch is two steps.
    assert sorted(at) == sorted([*train, *(("validation", s) for s in range(2, 13, 2)), at[-1]])
    assert at[-1] == ("test", 12)
    found = results(plain.folder)
    last = read_metrics(plain.folder / "metrics.jsonl", "validation")[-1]
    assert found["validation"]["accuracy"] == last["accuracy"]
    assert found["validation"]["count"] == 65
    assert found["test"]["accuracy"] == events[-1]["accuracy"] == plain.test.metrics["accuracy"]
    assert found["test"]["count"] == 250
    timing = read_metrics(plain.folder / "timing.jsonl", "train")
    assert all(event["examples_per_s"] > 0 for event in timing)


def test_what_is_frozen_is_the_source_to_the_bit(plain, digits_run):
    before, after = weights(digits_run), weights(plain.folder)
    for path in before:
        if path.startswith("body/"):
            moved = not np.array_equal(before[path], after[path])
            assert moved == (not path.startswith("body/stem/")), path
    still = hub.load(f"run:{digits_run}").collections
    now = hub.load(f"run:{plain.folder}").collections
    for path, value in still.items():
        assert np.array_equal(value, now[path]) == path.startswith("body/stem/"), path


def test_the_model_of_a_run_scores_what_the_run_said(plain):
    again = score(str(plain.folder), Selection("digits", "test", classes=NEW))
    assert again.metrics == pytest.approx(plain.test.metrics, abs=1e-6)


def test_averaged_weights_are_evaluated_and_kept(plain, digits_run, tmp_path):
    run = transfer(digits_run, tmp_path / "ema", freeze="bottom:1", test_split="test", ema=0.9)
    again = score(str(run.folder), Selection("digits", "test", classes=NEW))
    assert again.metrics == pytest.approx(run.test.metrics, abs=1e-6)
    # Averages trail behind: the head began at zero and has come less far.
    trailing, last = weights(run.folder)["head/dense/kernel"], weights(plain.folder)
    assert 0 < np.linalg.norm(trailing) < 0.9 * np.linalg.norm(last["head/dense/kernel"])


def test_bfloat16_computes_differently_and_keeps_float32(plain, digits_run, tmp_path):
    run = transfer(digits_run, tmp_path / "bf16", freeze="bottom:1", dtype="bfloat16")
    after, exact = weights(run.folder), weights(plain.folder)
    assert all(value.dtype == np.float32 for value in after.values())
    assert 1e-6 < distance(after, exact) < 0.2 * distance(exact, weights(digits_run))


def test_workers_mixing_and_augmentation_give_the_same_bytes(digits_run, tmp_path):
    options = {"mix": "mixup", "augment": "crop", "length": "4st", "freeze": "body"}
    one = transfer(digits_run, tmp_path / "one", **options)
    two = transfer(digits_run, tmp_path / "two", **options, workers=2)
    bare = transfer(digits_run, tmp_path / "bare", length="4st", freeze="body")
    models = [(r.folder / "model" / "model.safetensors").read_bytes() for r in (one, two, bare)]
    assert models[0] == models[1] != models[2]


@pytest.mark.parametrize("layout", ["replicated", "sharded"])
def test_four_devices_train_as_one(plain, digits_run, tmp_path, layout):
    changes = {"freeze": "bottom:1", "devices": 4, "layout": layout, "test_split": "test"}
    run = transfer(digits_run, tmp_path / "four", **changes)
    one = weights(plain.folder)
    for path, value in weights(run.folder).items():
        np.testing.assert_allclose(value, one[path], rtol=2e-4, atol=2e-5, err_msg=path)
    assert run.test.metrics == pytest.approx(plain.test.metrics, abs=1e-3)


def test_a_stop_on_four_devices_is_resumed_to_the_same_bytes(digits_run, tmp_path):
    changes = {"devices": 4, "layout": "sharded", "unfreeze": "head-first", "length": "4st"}
    whole = transfer(digits_run, tmp_path / "whole", **changes).folder
    cut = transfer(digits_run, tmp_path / "cut", **changes, checkpoint_every=3).folder
    _unfinish(cut, keep=3)
    again = resume(cut, say=list().append, quiet=True)
    assert again.finished
    models = [(r / "model" / "model.safetensors").read_bytes() for r in (whole, cut)]
    assert models[0] == models[1]


def _unfinish(run, keep: int) -> None:
    """Puts a run back to one of its checkpoints."""
    import shutil

    for name in ("model", "report"):
        shutil.rmtree(run / name)
    for checkpoint in (run / "checkpoints").iterdir():
        if checkpoint.name.isdigit() and int(checkpoint.name) > keep:
            shutil.rmtree(checkpoint)
    assert (run / "checkpoints" / str(keep)).is_dir()


def test_chain_thaw_trains_one_layer_at_a_time(digits_run, tmp_path):
    run = transfer(digits_run, tmp_path / "thaw", unfreeze="chain-thaw", length="8st", ema=0.5)
    events = read_metrics(run.folder / "metrics.jsonl", "stage")
    assert [(e["step"], e["stage"]) for e in events] == [(0, 0), (2, 1), (4, 2), (6, 3)]
    trained = [event["trained"] for event in events]
    assert trained[3] == sum(trained[:3])
    assert [e["stage"] for e in read_metrics(run.folder / "metrics.jsonl", "train")] == [1, 3]


# Statistics stay the source's, so that body and source body differ by what is trained alone.
MOVING = {"length": "16st", "head_init": "scaled", "norms": "eval"}


@pytest.fixture(scope="module")
def free(digits_run, tmp_path_factory):
    return transfer(digits_run, tmp_path_factory.mktemp("free") / "run", **MOVING).folder


def test_a_fisher_pull_keeps_near_the_source(free, digits_run, tmp_path):
    strong = {"pull": "fisher", "pull_strength": 1.0, "fisher_data": "digits"}
    # A few parameters weigh hundreds of times the mean: too much for a plain gradient step.
    strong["pull_way"] = "proximal"
    held = transfer(digits_run, tmp_path / "held", **MOVING, **strong).folder
    source = weights(digits_run)
    assert distance(weights(held), source) < 0.9 * distance(weights(free), source)


def answers(body, head) -> np.ndarray:
    """What the source's head says to the body of a run, on pictures of the new digits."""
    loaded = load(str(head))
    task = make_task(config(head), loaded.source)
    images = jnp.asarray(task.eval_batches(task.train, 40).at(0)["image"])
    own = hub.load(f"run:{body}")
    moved = {p: own.params[p] if p.startswith("body/") else v for p, v in loaded.params.items()}
    logits = loaded.model.apply(variables(moved, own.collections), images, train=False)
    return np.asarray(jax.nn.softmax(logits))


@pytest.mark.parametrize(("form", "strength"), [("features", 1.0), ("logits", 3.0)])
def test_a_pull_in_function_space_keeps_the_answers(form, strength, free, digits_run, tmp_path):
    strong = {"pull": form, "pull_strength": strength}
    held = transfer(digits_run, tmp_path / "held", **MOVING, **strong).folder
    said = answers(digits_run, digits_run)
    change = {run: np.abs(answers(run, digits_run) - said).mean() for run in (held, free)}
    assert change[held] < 0.8 * change[free]


def test_the_head_of_the_source_goes_on(digits_run, tmp_path):
    same = {"classes": OLD, "length": "1st", "rate": 1e-6, "norms": "eval"}
    kept = transfer(digits_run, tmp_path / "kept", **same, head_weights="source")
    before = score(str(digits_run), Selection("digits", "train", classes=OLD))
    held = kept.validation
    assert held.metrics["accuracy"] == pytest.approx(before.metrics["accuracy"], abs=0.1)
    with pytest.raises(ValueError, match="needs the source's 5 labels in their order: 0, 1, 2"):
        transfer(digits_run, tmp_path / "no", head_weights="source")
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("channels", ["convert", "adapt"])
def test_pictures_with_other_channels(channels, digits_run, tmp_path):
    data = str(colour_folder(tmp_path / "pictures"))
    changes = {"data": data, "classes": (), "per_class": 0, "validation": "test", "size": 8}
    with pytest.raises(ValueError, match="3 channels, the body was trained on 1; say channels="):
        transfer(digits_run, tmp_path / "strict", **changes)
    pull = {"pull_strength": 0.1} if channels == "adapt" else {}
    run = transfer(digits_run, tmp_path / "run", **changes, **pull, channels=channels, length="4st")
    model = load(str(run.folder))
    facts = model.source.facts
    assert facts.channels == {"convert": 1, "adapt": 3}[channels]
    assert model.model.body.in_channels == facts.channels
    assert run.validation.count == 24


def test_a_loss_that_is_not_finite_stops_the_run(digits_run, tmp_path):
    with pytest.raises(StoppedError) as stopped:
        transfer(digits_run, tmp_path / "nan", rate=1e30, report_every=10)
    text = str(stopped.value)
    assert "not finite at step 1;" in text
    assert "Examples of that batch: [" in text
    assert "lower the rate" in text
    assert [p.name for p in (tmp_path / "nan" / "checkpoints").glob("[0-9]*")] == ["1"]
    assert not read_metrics(tmp_path / "nan" / "metrics.jsonl")
    said = []
    with pytest.raises(StoppedError, match="not finite at step 1;"):
        resume(tmp_path / "nan", say=said.append, quiet=True)
    assert said[0] == "resuming at step 1 of 12"


def test_resuming_refuses_what_would_be_another_run(plain, digits_run, tmp_path):
    run = plain.folder
    asked = from_json(json.loads((run / "config.json").read_text()))
    assert resume(run, asked=asked, say=list().append).finished
    with pytest.raises(RunFolderError, match=r"optimizer\.rate: 0\.05 -> 0\.1\nresume without"):
        resume(run, asked=change(asked, rate=0.1))
    with pytest.raises(RunFolderError, match="does not exist"):
        resume(tmp_path / "nowhere")
    other = transfer(digits_run, tmp_path / "other", length="2st").folder
    _unfinish(other, keep=2)
    digests = json.loads((other / "digests.json").read_text())
    (other / "digests.json").write_text(json.dumps(digests | {"source": "0"}))
    with pytest.raises(RunFolderError, match="source changed since it started"):
        resume(other)
    # Cut short so early that not even these were written: nothing was trained on them either.
    (other / "digests.json").unlink()
    assert resume(other, say=list().append, quiet=True).finished
    assert json.loads((other / "digests.json").read_text()) == digests


def test_a_taken_folder_is_refused_before_anything_is_read(plain, tmp_path):
    before = sorted((p, p.stat().st_mtime_ns) for p in plain.folder.rglob("*"))
    missing = dataclasses.replace(config(tmp_path), source="run:nowhere")
    with pytest.raises(RunFolderError, match="already holds a run; resume it"):
        start(missing, plain.folder)
    assert sorted((p, p.stat().st_mtime_ns) for p in plain.folder.rglob("*")) == before


def test_nothing_drags_torch_in(tmp_path):
    pytest.importorskip("torch")
    code = (
        "import sys; from pathlib import Path; from tlearn.runs.writers import TensorBoard; "
        f"TensorBoard(Path({str(tmp_path)!r})).close(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_the_report_tells_the_total_pull(digits_run, tmp_path):
    changes = {"pull_strength": 0.25, "layer_decay": 0.5, "schedule": "constant", "rate": 0.02}
    transfer(digits_run, tmp_path / "pulled", **changes)
    found = results(tmp_path / "pulled")
    # The top layer is pulled hardest: its rate is half the head's.
    assert found["pull"] == pytest.approx(found["step"] * 0.02 * 0.5 * 0.25, rel=1e-5)
    assert "Σ η·λ" in (tmp_path / "pulled" / "report.html").read_text()
