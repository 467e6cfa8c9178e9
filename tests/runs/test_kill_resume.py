"""A run that is killed and resumed, however often and whenever, ends with the same bytes."""

import json
import random
import shutil
import signal
import time

import pytest
from killing import SOURCE, STEPS, TRANSFER, Children, kill_when, outcome, record, saving

from tlearn.runs.writers import read_metrics


@pytest.fixture(scope="module")
def children(tmp_path_factory) -> Children:
    return Children(tmp_path_factory.mktemp("kill"))


@pytest.fixture(scope="module")
def transfer(children) -> list[str]:
    """The command line of the run that is killed."""
    source = children.folder / "source"
    assert children.run([*SOURCE, "--out", str(source)]) == 0, children.said()
    return ["finetune", "--source", f"run:{source}", *TRANSFER]


@pytest.fixture(scope="module")
def whole(children, transfer):
    """The run that nobody has cut."""
    assert children.run([*transfer, "--out", str(children.folder / "whole")]) == 0, children.said()
    found = outcome(children.folder / "whole")
    assert found["step"] == STEPS
    assert found["leaves"]
    return found


def same(run, whole) -> None:
    found = outcome(run)
    for name in whole:
        assert found[name] == whole[name], name


def moment(kind: str, run, rng: random.Random):
    """A condition that becomes true at a random moment of a kind."""
    begun, since = len(record(run)), []
    stages = sum(event["event"] == "stage" for event in record(run))
    wanted, pause = begun + rng.randrange(1, 4), rng.uniform(0.0, 0.2)

    def come() -> bool:
        if kind == "start":  # Anywhere: while data, model and checkpoint are being read, too.
            since.append(time.monotonic())
            return since[-1] - since[0] > 10 * pause
        events = record(run)
        if kind == "save" and saving(run):
            return True
        if kind == "stage" and sum(e["event"] == "stage" for e in events) > stages:
            return True
        if kind == "finish":
            return any(event["event"] == "test" for event in events)
        if len(events) >= wanted + 3 * (kind != "step"):
            since.append(time.monotonic())
        return bool(since) and since[-1] - since[0] > pause

    return come


def kill_often(children, transfer, whole, run, kinds, seed) -> list[str]:
    rng = random.Random(seed)
    killed = []
    for kind in kinds:
        resume = (run / "config.json").exists()
        args = ["finetune", "--resume", str(run)] if resume else [*transfer, "--out", str(run)]
        child = children.start(args)
        if kill_when(child, moment(kind, run, rng)):
            assert child.exitcode == -signal.SIGKILL, children.said()
            killed.append(kind)
        else:
            assert child.exitcode == 0, children.said()
            break
    if (run / "config.json").exists():
        assert children.run(["finetune", "--resume", str(run)]) == 0, children.said()
    same(run, whole)
    return killed


def test_killed_at_a_save_at_a_stage_and_at_the_end(children, transfer, whole):
    kinds = ["stage", "save", "step", "finish"]
    killed = kill_often(children, transfer, whole, children.folder / "killed", kinds, seed=1)
    assert killed == kinds


@pytest.mark.slow
def test_killed_twenty_times(children, transfer):
    transfer = ["40ep" if word == "8ep" else word for word in transfer]
    assert children.run([*transfer, "--out", str(children.folder / "long")]) == 0
    whole = outcome(children.folder / "long")
    rng = random.Random(20)
    kinds = [rng.choice(["start", "step", "save", "stage"]) for _ in range(19)] + ["finish"]
    began = time.monotonic()
    killed = kill_often(children, transfer, whole, children.folder / "often", kinds, seed=20)
    print(f"{len(killed)} kills ({killed}) in {time.monotonic() - began:.0f} s")
    assert len(killed) == 20
    assert {"save", "stage", "finish"} <= set(killed)


def test_sigterm_saves_and_leaves(children, transfer, whole):
    run = children.folder / "term"
    child = children.start([*transfer, "--out", str(run)])
    assert kill_when(child, lambda: len(record(run)) >= 4, signal.SIGTERM)
    assert child.exitcode == 128 + signal.SIGTERM
    said = children.said()
    assert "SIGTERM: saving after this step" in said
    step = int(said.partition("stopped at step ")[2].partition(";")[0])
    assert (run / "checkpoints" / str(step)).is_dir()
    assert not (run / "model").exists()
    assert children.run(["finetune", "--resume", str(run)]) == 0
    assert f"resuming at step {step} of {STEPS}" in children.said()
    same(run, whole)


def test_a_damaged_checkpoint_is_reported_and_the_one_before_used(children, transfer, whole):
    run = children.folder / "damaged"
    shutil.copytree(children.folder / "whole", run)
    # As it was before it finished: no model, no report.
    shutil.rmtree(run / "model")
    shutil.rmtree(run / "report")
    torn = max((run / "checkpoints" / str(STEPS)).rglob("d/*"), key=lambda p: p.stat().st_size)
    content = bytearray(torn.read_bytes())
    content[len(content) // 2] ^= 0xFF
    torn.write_bytes(content)
    assert children.run(["finetune", "--resume", str(run)]) == 0, children.said()
    said = children.said()
    assert f"the checkpoint of step {STEPS} is damaged" in said
    assert "using the one of step 30" in said
    assert "resuming at step 30 of" in said
    same(run, whole)


def test_a_finished_run_is_left_alone(children, whole):
    run = children.folder / "whole"
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in run.rglob("*") if p.is_file()}
    assert children.run(["finetune", "--resume", str(run)]) == 0
    said = children.said()
    assert f"finished at step {STEPS}; there is nothing to resume" in said
    test = read_metrics(run / "metrics.jsonl", "test")[0]
    assert f"test: accuracy {test['accuracy']:.4f}" in said
    after = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in run.rglob("*") if p.is_file()}
    assert after == before


def test_a_full_disk_stops_the_run_and_loses_nothing(children, transfer, whole):
    run = children.folder / "full"
    child = children.start([*transfer, "--out", str(run)])
    assert kill_when(child, lambda: (run / "checkpoints" / "6").is_dir())
    last = max(int(p.name) for p in (run / "checkpoints").iterdir() if p.name.isdigit())
    assert children.run(["finetune", "--resume", str(run)], file_size=4096) == 1
    said = children.said()
    assert "error: " in said
    assert "Traceback" not in said
    assert "full" in said or "resume" in said
    assert (run / "checkpoints" / str(last)).is_dir()
    assert children.run(["finetune", "--resume", str(run)]) == 0, children.said()
    same(run, whole)


def test_the_uncut_record_tells_each_thing_once(children, whole):
    events = [json.loads(line) for line in whole["record"].splitlines()]
    at = [(event["event"], event["step"]) for event in events]
    assert len(set(at)) == len(at)
    assert [step for name, step in at if name == "stage"] == [0, 4, 8]
    assert [step for name, step in at if name == "validation"] == list(range(4, STEPS + 1, 4))
    assert [step for name, step in at if name == "train"] == [5, 10, 15, 20, 25, 30, STEPS]
    assert at[-1] == ("test", STEPS)
    assert all(event["update"] == event["step"] // 2 for event in events)
