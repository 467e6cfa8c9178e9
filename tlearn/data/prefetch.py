"""Batches made ahead of time, in threads or processes, and placed while the step runs."""

import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from tlearn.data.batches import Batch, MakesBatches
from tlearn.data.errors import DataError
from tlearn.data.rate import Rate
from tlearn.data.workers import make, pool

_END = object()
_POLL_S = 0.1


class Prefetch(Iterator[Any]):
    """An iterator over batches of consecutive steps that are made while the caller is busy.

    Close it, use it in a ``with`` block, or run it to its end; it then leaves no thread and no
    process behind.
    """

    def __init__(
        self,
        batches: MakesBatches,
        start: int,
        stop: int | None,
        *,
        place: Callable[[Batch], Any] | None,
        depth: int,
        workers: int,
        threads: int,
    ):
        """Starts making batches; see `prefetch`."""
        self.rate = Rate()
        """Counts real examples as they are handed out."""
        self._ready: queue.Queue[tuple[str, int, Any]] = queue.Queue(maxsize=depth)
        self._halt = threading.Event()
        self._over = False
        executor = pool(batches, workers) if workers else ThreadPoolExecutor(threads)
        call = make if workers else batches.at
        # The thread must not hold on to this object, or it could never be collected.
        self._thread = threading.Thread(
            target=_feed,
            args=(executor, call, start, stop, place, self._ready, self._halt, workers or threads),
            name="tlearn-prefetch",
            daemon=True,
        )
        self._closing = weakref.finalize(self, self._halt.set)
        self._thread.start()

    def __next__(self) -> Any:
        while not self._over:
            try:
                kind, count, value = self._ready.get(timeout=_POLL_S)
            except queue.Empty:
                if self._thread.is_alive():
                    continue
                self._over = self._ready.empty()
                continue
            if kind == "batch":
                self.rate.add(count)
                return value
            self.close()
            if kind == "error":
                raise value
        raise StopIteration

    def close(self) -> None:
        """Stops making batches and waits until threads and processes are gone; twice is fine."""
        self._over = True
        self._halt.set()
        self._thread.join()

    def __enter__(self) -> "Prefetch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def prefetch(
    batches: MakesBatches,
    start: int = 0,
    stop: int | None = None,
    *,
    place: Callable[[Batch], Any] | None = None,
    depth: int = 2,
    workers: int = 0,
    threads: int = 1,
) -> Prefetch:
    """Makes the batches of steps ``start`` to ``stop - 1`` ahead of time, in order.

    Args:
        batches: What to make.
        start: The first step.
        stop: The step after the last one; None goes on for ever.
        place: Called with each batch where it waits, e.g. to put it on devices; its result is
            what comes out.
        depth: How many placed batches may wait.
        workers: Processes that make batches, for decoding big folders. A script that uses them must
            start its work under ``if __name__ == "__main__":``.
        threads: Threads that make batches, where there are no workers.

    Raises:
        DataError: While iterating, what went wrong with a batch, naming example and step.

    Example:
        >>> from tlearn.data import Batches, Pipeline, open_dataset
        >>> digits = Batches(
        ...     open_dataset("digits", "test"), Pipeline(), 250, seed=0, shuffle=False
        ... )
        >>> [int(batch["mask"].sum()) for batch in prefetch(digits, 0, 2)]
        [250, 250]
    """
    if start < 0 or (stop is not None and stop < start):
        raise DataError(f"steps {start} to {stop}: expected 0 <= start <= stop")
    if depth < 1 or workers < 0 or threads < 1:
        raise DataError(
            f"depth {depth}, workers {workers}, threads {threads}: expected at least 1, 0 and 1"
        )
    return Prefetch(
        batches, start, stop, place=place, depth=depth, workers=workers, threads=threads
    )


def _feed(
    executor: Executor,
    call: Callable[[int], Batch],
    start: int,
    stop: int | None,
    place: Callable[[Batch], Any] | None,
    ready: "queue.Queue[tuple[str, int, Any]]",
    halt: threading.Event,
    ahead: int,
) -> None:
    """Keeps the makers busy and hands batches on in order, until the end, an error or a halt."""
    waiting: deque[Future[Batch]] = deque()
    step = submitted = start
    try:
        while not halt.is_set() and (stop is None or step < stop):
            while len(waiting) <= ahead and (stop is None or submitted < stop):
                waiting.append(executor.submit(call, submitted))
                submitted += 1
            batch = _result(waiting[0], halt)
            if batch is None:
                return
            waiting.popleft()
            count = int(np.sum(batch["mask"]))
            _put(ready, ("batch", count, batch if place is None else place(batch)), halt)
            step += 1
        _put(ready, ("end", 0, _END), halt)
    except BrokenExecutor as error:
        broken = DataError(
            f"a worker process ended while batch {step} was being made. Either it was killed (out "
            "of memory?), or the script does not start its work under "
            "`if __name__ == '__main__':`, which worker processes need"
        )
        broken.__cause__ = error
        _put(ready, ("error", 0, broken), halt)
    except BaseException as error:
        _put(ready, ("error", 0, error), halt)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _result(future: "Future[Batch]", halt: threading.Event) -> Batch | None:
    """Waits for a batch; None when told to halt."""
    while not halt.is_set():
        try:
            return future.result(timeout=_POLL_S)
        except TimeoutError:
            # The future's own error may be a TimeoutError too.
            if future.done():
                return future.result()
    return None


def _put(
    ready: "queue.Queue[tuple[str, int, Any]]", item: tuple[str, int, Any], halt: threading.Event
) -> None:
    while not halt.is_set():
        try:
            ready.put(item, timeout=_POLL_S)
            return
        except queue.Full:
            continue
