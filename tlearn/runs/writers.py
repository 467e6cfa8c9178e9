"""Where the events of a run go: JSON lines, TensorBoard, and the screen."""

import contextlib
import json
import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tlearn.runs.console import Console
from tlearn.runs.folder import RunFolder, write_whole

_log = logging.getLogger(__name__)
_SPECIAL = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_ABOUT = ("event", "step", "update", "epoch")


class Lines:
    """A file of JSON objects, one a line, each on disk's way before the call returns.

    Numbers that are not finite are written as the strings ``"nan"``, ``"inf"`` and ``"-inf"``,
    since JSON has none; `read_metrics` gives them back.
    """

    def __init__(self, path: Path, resume_step: int | None = None):
        """Opens the file to append.

        Args:
            path: The file.
            resume_step: The step a run goes on from: lines of later steps, and a last line torn by
                a kill, are removed. None for a new run, which begins with an empty file.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = b"" if resume_step is None else _up_to(path, resume_step)
        if not path.is_file() or path.read_bytes() != kept:
            write_whole(path, kept)
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends one object."""
        self._file.write(json.dumps(_plain(record), allow_nan=False) + "\n")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class TensorBoard:
    """Scalars for TensorBoard, under ``event/name`` by step."""

    def __init__(self, folder: Path, resume_step: int | None = None):
        """Opens a new event file in ``folder``; later steps of older files are marked as void."""
        with _without_torch():
            from tensorboardX import SummaryWriter

        purge = None if resume_step is None else resume_step + 1
        # Names of event files count in seconds: a quick resume would write over the first one.
        count = len(list(folder.iterdir())) if folder.is_dir() else 0
        self._writer = SummaryWriter(
            str(folder),
            purge_step=purge,
            max_queue=100,
            flush_secs=30,
            filename_suffix=f".{count:03}",
        )

    def write(self, event: str, step: int, values: Mapping[str, Any]) -> None:
        """Adds the numbers among ``values``."""
        for name, value in values.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                self._writer.add_scalar(f"{event}/{name}", value, step)

    def close(self) -> None:
        """Writes what is still in memory."""
        self._writer.close()


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """Hides torch from tensorboardX, which imports it where it finds it: seconds, for nothing."""
    if "torch" in sys.modules:
        yield
        return
    absent: Any = None
    sys.modules["torch"] = absent  # What Python takes for "not installed".
    try:
        yield
    finally:
        del sys.modules["torch"]


class Journal:
    """All of a run's writers behind one call.

    After an interruption ``metrics.jsonl`` ends up as if there had been none, provided that all
    events up to a step are written before its checkpoint is saved. What depends on the clock goes
    to ``timing.jsonl``, which makes no such promise.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        resume_step: int | None = None,
        tensorboard: bool = True,
        console: Console | None = None,
    ):
        """Opens the files.

        Args:
            folder: The run, held for writing.
            resume_step: Step of the checkpoint the run goes on from; None for a new run.
            tensorboard: Whether to write TensorBoard's files too.
            console: Shows the events, if given.
        """
        self.console = console
        self._metrics = Lines(folder.metrics, resume_step)
        self._timing = Lines(folder.timing, resume_step)
        self._tensorboard = TensorBoard(folder.tensorboard, resume_step) if tensorboard else None
        self._since = time.monotonic()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(
        self,
        event: str,
        *,
        step: int,
        update: int,
        epoch: float,
        values: Mapping[str, Any],
        timing: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes an event everywhere.

        Args:
            event: What happened: ``train``, ``validation``, ``stage``...
            step: Batches seen.
            update: Optimizer updates taken.
            epoch: Passes over the data, a fraction.
            values: What the run's course decides: numbers, strings, bools.
            timing: What the clock decides (rates, seconds).

        Raises:
            ValueError: If a value is named like what every event has.
        """
        clash = sorted(set(_ABOUT) & set(values))
        if clash:
            raise ValueError(f"values of an event cannot be named {clash}; every event has these")
        # Scalars of numpy and JAX are no Python numbers.
        values = {n: v.item() if hasattr(v, "item") else v for n, v in values.items()}
        timing = {n: v.item() if hasattr(v, "item") else v for n, v in (timing or {}).items()}
        self._metrics.write(
            {"event": event, "step": step, "update": update, "epoch": epoch, **values}
        )
        clock = {"time": round(time.time(), 3), "elapsed": round(time.monotonic() - self._since, 3)}
        self._timing.write({"event": event, "step": step, **clock, **timing})
        if self._tensorboard is not None:
            self._tensorboard.write(event, step, values)
            self._tensorboard.write("timing", step, timing)
        if self.console is not None:
            self.console.write(event, step, {**values, **timing})

    def close(self) -> None:
        """Closes the files and the console."""
        self._metrics.close()
        self._timing.close()
        if self._tensorboard is not None:
            self._tensorboard.close()
        if self.console is not None:
            self.console.close()


def read_metrics(path: str | Path, event: str | None = None) -> list[dict[str, Any]]:
    """Reads events back, leaving out a last line that a kill or a running writer has torn.

    Args:
        path: ``metrics.jsonl`` or ``timing.jsonl``.
        event: Only events of this name.

    Raises:
        ValueError: If a line other than the last is no JSON object; with its number.
    """
    records = []
    for _, record in _whole_lines(Path(path), strict=True):
        if event is None or record.get("event") == event:
            records.append({n: _number(v) if n not in _ABOUT else v for n, v in record.items()})
    return records


def _whole_lines(path: Path, *, strict: bool) -> Iterator[tuple[bytes, dict[str, Any]]]:
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or not line.endswith(b"\n"):
                raise ValueError("no whole JSON object")
        except ValueError as error:
            if number == len(lines):
                return
            if strict:
                raise ValueError(f"line {number} of {path} cannot be read: {error}") from error
            _log.warning("line %d of %s cannot be read and is dropped: %s", number, path, error)
            continue
        yield line, record


def _up_to(path: Path, step: int) -> bytes:
    if not path.is_file():
        return b""
    # A damaged record must not stand in the way of going on with the run.
    lines = _whole_lines(path, strict=False)
    return b"".join(line for line, record in lines if record.get("step", 0) <= step)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (str, bool, int, type(None))):
        return value
    if hasattr(value, "item"):  # Scalars of numpy and JAX.
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value


def _number(value: Any) -> Any:
    if isinstance(value, str):
        return _SPECIAL.get(value, value)
    if isinstance(value, dict):
        return {name: _number(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_number(entry) for entry in value]
    return value
