"""Progress of a run on the screen."""

import math
import sys
import time
from collections.abc import Mapping
from typing import Any


class Console:
    """Progress on stderr: a bar where there is a terminal, plain lines elsewhere.

    Attributes:
        live: Whether there is a bar.
    """

    def __init__(
        self,
        total: int,
        *,
        title: str = "training",
        start: int = 0,
        stream: Any = None,
        every_s: float = 10.0,
    ):
        """Starts at step ``start`` of ``total``.

        Args:
            total: Steps of the whole run; 0 for an unknown number.
            title: What is going on.
            start: Step to go on from.
            stream: A text stream to write to; stderr by default.
            every_s: Seconds between plain lines, at least; the last step always has one.
        """
        self.total = total
        self.title = title
        self.live = False
        self._stream = stream if stream is not None else sys.stderr
        self._every = every_s
        self._start = (start, time.monotonic())
        self._last = -math.inf
        self._values: dict[str, float] = {}
        self._bar: Any = None
        if self._stream.isatty():
            self._bar = self._make_bar(start)
            self.live = True

    def step(self, step: int) -> None:
        """Moves the bar; costs microseconds."""
        if self._bar is not None:
            self._bar.update(0, completed=step, rate=self._rate(step))

    def write(self, event: str, step: int, values: Mapping[str, Any]) -> None:
        """Shows the numbers of an event."""
        text = "  ".join(f"{name} {number}" for name, number in _shown(values))
        if self._bar is None:
            now = time.monotonic()
            if event != "train" or step >= self.total or now - self._last >= self._every:
                self._last = now
                rate = f"  {self._rate(step)}" if event == "train" else ""
                self.line(f"{self.title}: step {step}/{self.total}  {event}  {text}{rate}")
        elif event == "train":
            self._bar.update(0, completed=step, rate=self._rate(step), text=text)
        else:
            self.line(f"step {step}  {event}  {text}")

    def line(self, text: str) -> None:
        """Writes a line, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            self._stream.write(text.rstrip() + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Leaves the bar as it is."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _rate(self, step: int) -> str:
        start, since = self._start
        elapsed = time.monotonic() - since
        return f"{(step - start) / elapsed:.3g} steps/s" if step > start and elapsed > 0 else ""

    def _make_bar(self, start: int) -> Any:
        from rich.console import Console as Screen
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[text]}", markup=False),
            console=Screen(file=self._stream),
            refresh_per_second=5,
        )
        bar.add_task(self.title, total=self.total or None, completed=start, rate="", text="")
        bar.start()
        return bar


def _shown(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The numbers among values as text, what is looked at most first."""
    numbers = {
        name: value
        for name, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    if not numbers.get("pull_step", 1):
        del numbers["pull_step"]
    order = sorted(numbers, key=lambda name: name not in ("stage", "loss"))
    return [
        (name, f"{numbers[name]:,}" if isinstance(numbers[name], int) else f"{numbers[name]:.4g}")
        for name in order
    ]
