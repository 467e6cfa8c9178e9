"""What runs in a worker process: it makes whole batches, and leaves when its parent is gone."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from tlearn.data.batches import Batch, MakesBatches

_batches: MakesBatches | None = None


def pool(batches: MakesBatches, count: int) -> ProcessPoolExecutor:
    """Starts worker processes that each hold a copy of the batches.

    They are started afresh rather than forked: a copy of a process with threads, as JAX has, may
    hang.
    """
    return ProcessPoolExecutor(
        count,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(batches,),
    )


def make(step: int) -> Batch:
    """Makes one batch in a worker process."""
    if _batches is None:
        raise RuntimeError("this process is no worker: call at(step) of the batches")
    return _batches.at(step)


def _start(batches: MakesBatches) -> None:
    global _batches
    _batches = batches
    # Ctrl-C reaches every process of the terminal; only the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent: Any = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: Any) -> None:
    """Waits for the parent's end, however it comes, and ends this process: nobody else would."""
    parent.join()
    os._exit(1)
