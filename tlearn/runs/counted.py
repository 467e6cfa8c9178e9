"""How far something is that reports what is done, on the screen."""

import time
from types import TracebackType
from typing import Any

from tlearn.runs.console import Console

_LIVE_S = 1.0
"""Seconds before a bar appears: what is done sooner needs none."""
_MOVE_S = 0.1
"""Seconds between two movements of a bar: each costs more than a short document."""


class Counted:
    """Progress of what is counted, called with (done, all); 0 of all is an unknown number.

    A bar where there is a terminal, a line now and then elsewhere. What is done at once shows
    neither. It begins anew where the count does.
    """

    def __init__(
        self, title: str, *, quiet: bool = False, stream: Any = None, every_s: float = 10.0
    ):
        """Shows nothing yet.

        Args:
            title: What is counted.
            quiet: Show nothing at all.
            stream: A text stream to write to; stderr by default.
            every_s: Seconds before a plain line, and between two.
        """
        self._title, self._quiet = title, quiet
        self._stream, self._every = stream, every_s
        self._console: Console | None = None
        self._done, self._all = 0, 0
        self._told = time.monotonic()

    def __call__(self, done: int, count: int) -> None:
        """Tells how many are done, of how many."""
        if self._quiet:
            return
        if done < self._done or count != self._all:
            self.close()
        self._done, self._all = done, count
        waited = time.monotonic() - self._told
        if self._console is None:
            if waited < min(_LIVE_S, self._every):
                return
            self._console = Console(count, title=self._title, stream=self._stream)
        live = self._console.live
        if waited < min(_MOVE_S if live else self._every, self._every):
            return
        self._told = time.monotonic()
        self._console.step(done)
        if not live:
            self._console.line(f"{self._title}: {done:,}" + (f" of {count:,}" if count else ""))

    def close(self) -> None:
        """Leaves what is shown as it is."""
        if self._console is not None:
            self._console.step(self._done)
            self._console.close()
            self._console = None
        self._told = time.monotonic()

    def __enter__(self) -> "Counted":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
