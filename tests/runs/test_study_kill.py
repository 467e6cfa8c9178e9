"""A study that is killed, or that two processes run at once, ends with the same figures."""

import collections
import random
import signal
import time
from pathlib import Path

import pytest
from killing import Children, holder_of, kill_when
from small_study import as_file, kept

RUNS = 8


@pytest.fixture(scope="module")
def children(tmp_path_factory) -> Children:
    return Children(tmp_path_factory.mktemp("killed-studies"))


@pytest.fixture(scope="module")
def study(children) -> Path:
    return as_file(children.folder / "small.py")


@pytest.fixture(scope="module")
def whole(children, study) -> dict:
    """The study that nobody has cut, without a report."""
    out = children.folder / "whole"
    assert children.run(["study", str(study), "--out", str(out)], bare=True) == 0, children.said()
    found = kept(out)
    assert len(found["records"]) == RUNS
    assert {record["state"] for record in found["records"].values()} == {"finished"}
    assert len(found["right"]) == 4
    losses = {record["validation"]["loss"] for record in found["records"].values()}
    assert len(losses) == RUNS, "figures tell runs apart"
    return found


@pytest.fixture(scope="module")
def told(children, study) -> dict:
    """The same with its report."""
    out = children.folder / "told"
    assert children.run(["study", str(study), "--out", str(out)]) == 0, children.said()
    found = kept(out)
    assert len(found["report"]["csv"]) == RUNS
    return found


def training(out: Path) -> bool:
    """Whether somebody is training a unit."""
    return any(lock.parent.name != "planning" for lock in out.glob("claims/*/lock"))


def kill_often(
    children: Children, study: Path, out: Path, kinds: list[str], seed: int, **limits: bool
) -> list[str]:
    """Runs a study that is killed at random moments of some kinds, and then lets it end."""
    rng = random.Random(seed)
    command = ["study", str(study), "--out", str(out)]
    killed = []
    for kind in kinds:
        if kind == "sync":
            child = children.start(command, syncs=rng.randrange(1, 9), **limits)
            child.join(120)
        else:
            child, since = children.start(command, **limits), list[float]()
            pause = rng.uniform(0.0, 0.8)

            def moment(kind=kind, since=since, pause=pause) -> bool:
                come = {
                    "start": lambda: True,
                    "train": lambda: training(out),
                    "report": lambda: (out / "report").exists(),
                }[kind]
                if since or come():
                    since.append(time.monotonic())
                return bool(since) and since[-1] - since[0] >= pause * (kind != "report")

            kill_when(child, moment)
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL, children.said()
        killed.append(kind)
    assert children.run(command, **limits) == 0, children.said()
    return killed


def test_killed_while_it_plans_trains_and_commits(children, study, whole):
    out = children.folder / "killed"
    kinds = ["sync", "train"]
    assert kill_often(children, study, out, kinds, seed=1, bare=True) == kinds
    assert kept(out) == whole


@pytest.mark.slow
def test_killed_ten_times(children, study, told):
    kinds = ["start", "sync", "train", "sync", "train", "sync", "train", "sync", "sync", "report"]
    began = time.monotonic()
    out = children.folder / "often"
    killed = kill_often(children, study, out, kinds, seed=10)
    print(f"{len(killed)} kills ({killed}) in {time.monotonic() - began:.0f} s")
    assert killed == kinds
    assert kept(out) == told


def test_two_processes_train_no_run_twice_and_lose_none(children, study, whole):
    out, log = children.folder / "both", children.folder / "trained.jsonl"
    command = ["study", str(study), "--out", str(out)]
    both = [
        children.start(
            command, trained=str(log), said=str(children.folder / f"said-{i}.txt"), bare=True
        )
        for i in range(2)
    ]
    for child in both:
        child.join(240)
    said = [(children.folder / f"said-{i}.txt").read_text() for i in range(2)]
    assert [child.exitcode for child in both] == [0, 0], said
    counts = collections.Counter(log.read_text().splitlines())
    assert len(counts) == RUNS
    assert set(counts.values()) == {1}
    assert kept(out) == whole


@pytest.mark.slow
def test_what_one_of_two_processes_loses_the_other_takes_over(children, study, told):
    out = children.folder / "one-dies"
    command = ["study", str(study), "--out", str(out)]
    said = [children.folder / f"said-one-{i}.txt" for i in range(2)]
    both = [children.start(command, said=str(file)) for file in said]

    def held() -> bool:
        """Whether the first of them trains a unit."""
        locks = out.glob("claims/*/lock")
        return any(holder_of(x) == both[0].pid for x in locks if x.parent.name != "planning")

    assert kill_when(both[0], held)
    both[1].join(240)
    assert both[1].exitcode == 0, said[1].read_text()
    assert kept(out) == told
