"""Runs in processes of their own that are killed at chosen moments, for the tests of resuming.

Children are forked from a server that has imported everything and started nothing, so that being
killed costs no test the seconds of importing JAX.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

# A body of two layers, pictures of eight pixels; yet stages, averages, accumulation, dropout,
# augmentation and a pull: everything that a resumed run could get wrong.
SOURCE = (
    "pretrain --data digits --classes 0 1 2 3 4 --settings stage_blocks=1, stage_widths=8, "
    "stem_width=8 --length 2ep --batch-size 64 --rate 0.1 --quiet"
).split()
TRANSFER = (
    "--data digits --classes 5 6 7 8 9 --per-class 8 --validation 10% --test-split test "
    "--length 8ep --batch-size 10 --rate 0.05 --clip 1 --unfreeze gradual --ema 0.9 "
    "--accumulate 2 --head-dropout 0.2 --augment crop --pull-strength 0.1 "
    "--checkpoint-every 3 --report-every 5"
).split()
STEPS = 32


def environment(folder: Path) -> dict[str, str]:
    """What is set for the children: all compile alike, and each program once."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        # Compiling is most of the time of runs as short as these.
        "XLA_FLAGS": "--xla_backend_optimization_level=1",
    }


class Children:
    """Runs command lines in processes that share a cache of compiled programs."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(
            ["tlearn.runs.training", "tlearn.cli.train", "tlearn.runs.study.many"]
        )
        before = dict(os.environ)
        os.environ.update(environment(folder))
        try:
            forkserver.ensure_running()  # Children have the environment that it starts with.
        finally:
            os.environ.clear()
            os.environ.update(before)

    def start(self, args: Sequence[str], **limits: Any) -> Any:
        """Starts a command line; its output goes to a file that `said` reads.

        Limits: ``file_size`` in bytes; ``syncs``, the call of fsync at which the child is killed,
        before what it has written is renamed or its folder kept; ``said`` and ``trained``, files
        for its output and for a line for every run of a study that it trains; ``bare`` for a study
        without forecast and report, which cost more than training it.
        """
        child = self._context.Process(
            target=_child,
            args=(list(args), str(limits.pop("said", self.folder / "said.txt")), limits),
        )
        child.start()
        return child

    def run(self, args: Sequence[str], **limits: Any) -> int:
        """Runs a command line to its end; the exit code, negative after a signal."""
        child = self.start(args, **limits)
        child.join(240)
        assert child.exitcode is not None, "still running"
        return child.exitcode

    def said(self) -> str:
        """What the child that was started last has said."""
        return (self.folder / "said.txt").read_text()


def _child(args: list[str], said: str, limits: dict[str, Any]) -> None:
    out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
    if "file_size" in limits:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (limits["file_size"],) * 2)
    if "syncs" in limits:
        _die_at_sync(limits["syncs"])
    if "trained" in limits:
        _log_training(limits["trained"])
    from tlearn.cli.main import main

    code = main(args) if "bare" not in limits else _run_study(args)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run_study(args: list[str]) -> int:
    from tlearn.runs.study.opening import open_study
    from tlearn.runs.study.running import run_study

    _, file, _, out = args
    run_study(open_study(file), out)
    return 0


def _die_at_sync(count: int) -> None:
    left, sync = [count], os.fsync

    def fsync(descriptor: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(descriptor)

    os.fsync = fsync


def _log_training(log: str) -> None:
    from tlearn.runs.study import many

    run = many.run_many

    def run_many(configs: Any, *args: Any, **settings: Any) -> Any:
        with open(log, "a") as stream:
            for c in configs:
                name = [c.train.seed, c.strategy.layer_decay, c.optimizer.rate, c.data.test_split]
                stream.write(json.dumps(name) + "\n")
        return run(configs, *args, **settings)

    many.run_many = run_many


def kill_when(child: Any, moment: Callable[[], bool], sign: int = signal.SIGKILL) -> bool:
    """Sends a signal when the moment has come; False if the child has ended before."""
    while child.exitcode is None:
        if moment():
            os.kill(child.pid, sign)
            child.join(120)
            return child.exitcode != 0
        time.sleep(0.003)
    return False


def holder_of(lock: Path) -> int:
    """The process that holds a lock; 0 if there is none."""
    with contextlib.suppress(OSError, ValueError):
        return int(lock.read_text())
    return 0


def record(run: Path) -> list[dict[str, Any]]:
    """The events in a record that may be being written."""
    events = []
    with contextlib.suppress(OSError, ValueError):
        for line in (run / "metrics.jsonl").read_text().splitlines():
            events.append(json.loads(line))
    return events


def saving(run: Path) -> bool:
    """Whether a checkpoint is being written."""
    return any("tmp" in path.name for path in (run / "checkpoints").glob("*"))


def outcome(run: Path) -> dict[str, Any]:
    """What has to be the same however often a run was cut: weights, last state, record."""
    last = max(int(p.name) for p in (run / "checkpoints").iterdir() if p.name.isdigit())
    manifest = json.loads((run / "checkpoints" / str(last) / "manifest" / "metadata").read_text())
    return {
        "weights": (run / "model" / "model.safetensors").read_bytes(),
        "step": last,
        "leaves": manifest["leaves"],
        "once": manifest["once"],
        "record": (run / "metrics.jsonl").read_bytes(),
    }
