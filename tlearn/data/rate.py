"""How fast something goes, for progress displays."""

import threading
import time
from collections import deque
from collections.abc import Callable


class Rate:
    """Counts things and says how many came per second over the last few seconds.

    Any thread may count.
    """

    def __init__(self, window_s: float = 5.0, clock: Callable[[], float] = time.monotonic):
        """Starts counting now.

        Args:
            window_s: Over how many seconds the rate is taken.
            clock: Tells the time in seconds.
        """
        self._window, self._clock, self._lock = window_s, clock, threading.Lock()
        self._marks: deque[tuple[float, int]] = deque([(clock(), 0)])
        self.total = 0

    def add(self, count: int = 1) -> None:
        """Counts some more."""
        with self._lock:
            self.total += count
            now = self._clock()
            self._marks.append((now, self.total))
            # One mark at or before the start of the window stays, to measure from.
            while len(self._marks) > 2 and self._marks[1][0] <= now - self._window:
                self._marks.popleft()

    @property
    def per_second(self) -> float:
        """Counts per second, from the window's start to now; 0 before anything came."""
        with self._lock:
            then, before = self._marks[0]
            elapsed = self._clock() - then
            return (self.total - before) / elapsed if elapsed > 0 else 0.0
