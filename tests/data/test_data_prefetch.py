"""Prefetching: the same batches in the same order, errors with their place, nothing left behind."""

import gc
import multiprocessing
import subprocess
import sys
import textwrap
import threading
import time

import jax
import numpy as np
import pytest

from tlearn.data import (
    Batches,
    DataError,
    FlipLR,
    Pipeline,
    RandomResizedCrop,
    Rate,
    ToFloat,
    open_dataset,
    prefetch,
)

PIPELINE = Pipeline((RandomResizedCrop(8), FlipLR(), ToFloat()))


@pytest.fixture
def batches(folder):
    return Batches(open_dataset(folder, "train"), PIPELINE, 3, seed=0, shuffle=True)


def threads():
    return {thread.name for thread in threading.enumerate() if "tlearn" in thread.name}


@pytest.mark.parametrize("count", [1, 3])
def test_threads_give_the_same_batches_in_order(batches, bit_equal, count):
    with prefetch(batches, 2, 9, threads=count) as ahead:
        found = list(ahead)
    assert len(found) == 7
    assert all(bit_equal(batch, batches.at(step)) for step, batch in enumerate(found, start=2))
    assert not threads()
    assert ahead.rate.total == sum(batches.examples(step) for step in range(2, 9))


def test_processes_give_the_same_bytes(batches, bit_equal):
    with prefetch(batches, 0, 6, workers=2) as ahead:
        found = list(ahead)
    assert len(found) == 6
    assert all(bit_equal(batch, batches.at(step)) for step, batch in enumerate(found))
    assert not multiprocessing.active_children()


def test_placing_on_devices_happens_ahead(batches):
    placed = []

    def place(batch):
        placed.append(threading.current_thread().name)
        return jax.device_put(batch)

    with prefetch(batches, 0, 3, place=place) as ahead:
        for step, batch in enumerate(ahead):
            assert isinstance(batch["image"], jax.Array)
            assert np.array_equal(batch["image"], batches.at(step)["image"])
    assert set(placed) == {"tlearn-prefetch"}


def test_no_more_is_made_ahead_than_asked_for(batches):
    placed = []
    with prefetch(batches, depth=2, place=lambda batch: placed.append(1)) as ahead:
        next(ahead)
        time.sleep(0.3)
        # One handed out, two waiting, one that waits for room.
        assert len(placed) <= 4
    assert not threads()


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_arrive_where_they_belong_with_their_place(folder, workers):
    dataset = open_dataset(folder, "train")
    broken = folder / "train" / "dog" / "3.jpeg"
    broken.write_bytes(broken.read_bytes()[:100])
    batches = Batches(dataset, PIPELINE, 2, seed=0, shuffle=False)
    ahead = prefetch(batches, workers=workers)
    for _ in range(3):
        next(ahead)
    with pytest.raises(DataError, match=r"example 7 \(train/dog/3\.jpeg\) at epoch 0, step 3"):
        next(ahead)
    with pytest.raises(StopIteration):
        next(ahead)
    assert not threads()
    assert not multiprocessing.active_children()


def test_errors_of_placing_arrive_too(batches):
    def place(batch):
        raise MemoryError("the device is full")

    with prefetch(batches, 0, 3, place=place) as ahead, pytest.raises(MemoryError, match="full"):
        next(ahead)


def test_leaving_early_leaves_nothing_behind(batches):
    ahead = prefetch(batches, depth=1)
    next(ahead)
    ahead.close()
    ahead.close()
    assert not threads()
    with pytest.raises(StopIteration):
        next(ahead)
    # Forgetting it is enough.
    forgotten = prefetch(batches, depth=1)
    next(forgotten)
    del forgotten
    gc.collect()
    deadline = time.monotonic() + 5
    while threads() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not threads()


def test_a_killed_worker_is_an_error_not_a_hang(batches):
    with prefetch(batches, workers=1) as ahead:
        next(ahead)
        for child in multiprocessing.active_children():
            child.kill()
        with pytest.raises(DataError, match="a worker process ended"):
            list(ahead)


def test_workers_end_when_their_parent_is_killed(folder, tmp_path):
    script = tmp_path / "orphans.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import multiprocessing, os, signal
            from tlearn.data import *
            if __name__ == "__main__":
                data = open_dataset("folder:{folder}", "train")
                ahead = prefetch(
                    Batches(data, Pipeline((Resize((4, 4)),)), 2, seed=0, shuffle=True), workers=1
                )
                next(ahead)
                print(*[child.pid for child in multiprocessing.active_children()], flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            """
        )
    )
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert run.returncode == -9
    (orphan,) = map(int, run.stdout.split())
    deadline = time.monotonic() + 10
    while alive(orphan) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(orphan)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_numbers_that_make_no_sense(batches):
    for options in ({"start": -1}, {"start": 3, "stop": 2}, {"depth": 0}, {"workers": -1}):
        with pytest.raises(DataError, match="expected"):
            prefetch(batches, **options)
    assert list(prefetch(batches, 4, 4)) == []


def test_the_rate_is_of_the_last_seconds():
    now = [100.0]
    rate = Rate(window_s=5.0, clock=lambda: now[0])
    assert rate.per_second == 0.0
    for _ in range(10):
        now[0] += 1
        rate.add(20)
    assert rate.per_second == 20.0
    for _ in range(5):
        now[0] += 1
        rate.add(50)
    assert rate.per_second == 50.0
    assert rate.total == 450
