"""Checkpoints that are damaged, cut short or without room: told, and nothing good is lost."""

import multiprocessing
import random
import subprocess
import sys
import textwrap
import time
from typing import Any

import numpy as np
import pytest

from tests.checkpoint_states import assert_same, files_of, ruin, small
from tlearn.train.checkpoint import CheckpointError, Checkpoints

RUINS = [
    "torn folder",
    "empty folder",
    "missing file",
    "truncate",
    "flip",
    "manifest flip",
    "manifest cut",
    "other arrays",
]


@pytest.mark.parametrize("how", RUINS)
def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(tmp_path, capfd, how):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, small(1), {"epoch": 1})
        checkpoints.save(2, small(2), {"epoch": 2})
    ruin(tmp_path / "2", how)
    said: list[str] = []
    checkpoints = Checkpoints(tmp_path, report=said.append)
    step, state, extra = checkpoints.restore(small(0))
    assert (step, extra) == (1, {"epoch": 1})
    assert_same(state, small(1))
    assert len(said) == len(checkpoints.problems) == 1
    assert "step 2 is damaged" in said[0]
    assert "using the one of step 1" in said[0]
    assert len(said[0]) < 600
    # The damaged one makes way for the step when it is reached again, and is not deleted.
    assert checkpoints.save(2, small(2))
    checkpoints.close()
    assert (tmp_path / "damaged" / "2").is_dir()
    again = Checkpoints(tmp_path)
    assert_same(again.restore(small(0))[1], small(2))
    assert again.problems == []
    assert "Traceback" not in capfd.readouterr().err


def test_any_flipped_byte_is_harmless_or_noticed(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, small(1), {"epoch": 1})
        checkpoints.save(2, small(2), {"epoch": 2})
    rng = random.Random(0)
    noticed = 0
    for file in files_of(tmp_path / "2"):
        content = file.read_bytes()
        for _ in range(2 if content else 0):
            bad = bytearray(content)
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
            file.write_bytes(bytes(bad))
            step, state, _ = Checkpoints(tmp_path, report=lambda _: None).restore(small(0))
            noticed += step == 1
            assert_same(state, small(step))
        file.write_bytes(content)
    assert noticed > 0


def test_if_none_is_good_one_error_says_what_is_wrong_with_each(tmp_path):
    with pytest.raises(CheckpointError, match="no finished checkpoint"):
        Checkpoints(tmp_path / "nothing").restore(small(0))
    assert not (tmp_path / "nothing").exists()
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, small(1))
        checkpoints.save(2, small(2))
    ruin(tmp_path / "1", "empty folder")
    ruin(tmp_path / "2", "truncate")
    with pytest.raises(CheckpointError) as caught:
        Checkpoints(tmp_path).restore(small(0))
    message = str(caught.value)
    assert "step 2 is damaged: its arrays cannot be read" in message
    assert "step 1 is damaged: its manifest cannot be read" in message
    assert len(message) < 1500


def test_a_failed_save_surfaces_later_and_later_saves_work(tmp_path, monkeypatch):
    from tlearn.train.store import Store

    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, small(1))
        checkpoints.wait()
        real = Store.write

        def full(self, *_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Store, "write", full)
        assert checkpoints.save(2, small(2))
        with pytest.raises(CheckpointError, match=r"step 2 .* disk is full .* that of step 1"):
            checkpoints.save(3, small(3))
        checkpoints.save(3, small(3))
        with pytest.raises(CheckpointError, match=r"MiB free, up to 0\.0 MiB needed"):
            checkpoints.wait()
        monkeypatch.setattr(Store, "write", real)
        assert checkpoints.save(4, small(4))
        checkpoints.wait()
        assert checkpoints.steps() == [1, 4]
    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(ZeroDivisionError):  # What went wrong first is what is raised.
        _save_and_fail(Checkpoints(tmp_path))


def _save_and_fail(checkpoints: Checkpoints) -> None:
    with checkpoints:
        checkpoints.save(5, small(5))
        raise ZeroDivisionError


def test_a_full_disk_is_a_clear_error_and_loses_nothing(tmp_path):
    """A real limit of the operating system on file sizes, in a process of its own."""
    code = """
        import resource, signal, sys
        import numpy as np
        from tlearn.train.checkpoint import CheckpointError, Checkpoints
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        def state(step):
            return {"w": np.random.default_rng(step).normal(size=(400, 400))}
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        checkpoints = Checkpoints(sys.argv[1])
        checkpoints.save(1, state(1))
        checkpoints.wait()
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        checkpoints.save(2, state(2))
        try:
            checkpoints.wait()
        except CheckpointError as error:
            print("ERROR", error)
        try:
            checkpoints.save_once("frozen", state(2))
        except CheckpointError as error:
            print("ERROR", error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        step, found, _ = checkpoints.restore(state(0))
        print("AFTER", step, np.array_equal(found["w"], state(1)["w"]))
        checkpoints.save(3, state(3))
        checkpoints.close()
        print("STEPS", checkpoints.steps())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "checkpoint of step 2 could not be written" in lines[0]
    assert "the disk is full or a file-size limit was reached" in lines[0]
    assert "up to 1.2 MiB needed); the newest checkpoint is still that of step 1" in lines[0]
    assert "the weights 'frozen' could not be written" in lines[1]
    assert lines[2:] == ["AFTER 1 True", "STEPS [1, 3]"]
    assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.rglob("*tmp*")] == []


def kill_state(step: int) -> dict[str, Any]:
    rng = np.random.default_rng(step)
    return {f"w{i}": rng.normal(size=(100, 20 + i)).astype(np.float32) for i in range(40)}


def _save_for_ever(folder: str, started: Any) -> None:
    """The body of the process that is killed: resume, then save step after step."""
    checkpoints = Checkpoints(folder, keep=2)
    step = checkpoints.restore(kill_state(0))[0] if checkpoints.steps() else 0
    while True:
        step += 1
        checkpoints.save(step, kill_state(step), {"step": step})
        started.set()


def test_ten_kills_at_random_times_never_leave_half_a_checkpoint(tmp_path):
    # A fork server imports jax and Orbax once; its children start in milliseconds.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["orbax.checkpoint", __name__])
    rng = random.Random(7)
    reached = []
    for number in range(10):
        started = context.Event()
        process = context.Process(target=_save_for_ever, args=(str(tmp_path), started), daemon=True)
        process.start()
        assert started.wait(60)
        # Every other child is killed after a checkpoint of its own, however slow the machine is.
        newest, patience = max(reached, default=-1), time.monotonic() + 60
        while number % 2 and time.monotonic() < patience:
            if max(Checkpoints(tmp_path).steps(), default=-1) > newest:
                break
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.4))
        process.kill()
        process.join()
        said: list[str] = []
        checkpoints = Checkpoints(tmp_path, report=said.append)
        if not checkpoints.steps():
            reached.append(0)
            continue
        step, state, extra = checkpoints.restore(kill_state(0))
        assert extra == {"step": step}
        assert_same(state, kill_state(step))
        assert step == checkpoints.steps()[-1]
        assert said == []  # Rename is atomic: what has a number is whole.
        reached.append(step)
    assert reached == sorted(reached)
    assert reached[-1] >= 4  # Five children at least left one each.
