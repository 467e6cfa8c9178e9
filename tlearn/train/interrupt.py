"""Ctrl-C and SIGTERM as a wish that the training loop can grant between two steps."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

_MEANT = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Notes the first SIGINT or SIGTERM instead of dying; the loop polls, saves and leaves.

    A second Ctrl-C raises `KeyboardInterrupt` at once. The handlers found are put back on exit. A
    signal that was ignored (``nohup``, jobs in the background) stays ignored. Outside the main
    thread Python handles no signals, and this does nothing.

    Attributes:
        signal: Name of the signal that came, as ``"SIGTERM"``; None before.

    Example:
        >>> with Interruption() as interruption:
        ...     interruption.requested
        False
    """

    def __init__(self, notify: Callable[[str], None] | None = None):
        """Prepares; signals are taken from ``__enter__`` on.

        Args:
            notify: Told once what will happen now: in the signal handler, or when the loop asks
                next if the signal came in the middle of a print, which cannot be entered twice.
        """
        self.signal: str | None = None
        self._notify = notify
        self._owed: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal came."""
        owed, self._owed = self._owed, None
        if owed is not None and self._notify is not None:
            self._notify(owed)
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a process ended by the signal exits with, 128 + its number; 0 if none came."""
        return 0 if self.signal is None else 128 + signal.Signals[self.signal]

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in _MEANT:
                before = signal.getsignal(number)
                # None: set by something other than Python, which could not be put back.
                if before is not None and before != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.signal = signal.Signals(number).name
        if self._notify is None:
            return
        text = f"{self.signal}: saving after this step, then leaving; Ctrl-C leaves at once"
        try:
            self._notify(text)
        except RuntimeError:
            self._owed = text
