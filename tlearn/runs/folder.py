"""The folder of one run: a strict layout, one writer at a time, every file whole or not there."""

import dataclasses
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tlearn.runs.lock import NAME as LOCK
from tlearn.runs.lock import Lock, LockedError

FORMAT = 1
_MARK = "run.json"
_UNFINISHED = ".unfinished"
_log = logging.getLogger(__name__)


class RunFolderError(RuntimeError):
    """A folder cannot be used for a run; the message says why and what to do."""


@dataclasses.dataclass
class RunFolder:
    """The folder of one run.

    ::

        run.json          marks the folder as a run: {"format": 1}
        config.json       what was asked for; written last, so that a run with it is complete
        plan.txt, plan.json
        seeds.json, versions.json
        metrics.jsonl     one event a line, the same bytes after any interruption
        timing.jsonl      wall-clock facts about the same events
        tensorboard/, checkpoints/, model/
        report.html, report/
        lock              the process that writes, while there is one

    Attributes:
        path: The folder, absolute.
        writable: Whether this process holds the lock.
    """

    path: Path
    writable: bool = False
    _lock: Lock | None = dataclasses.field(default=None, repr=False)

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        config: Mapping[str, Any] | Any,
        plan: Any = None,
        plan_text: str = "",
        seeds: Mapping[str, int] | None = None,
        versions: Mapping[str, Any] | None = None,
        report: Callable[[str], None] | None = None,
    ) -> "RunFolder":
        """Makes the folder of a new run and holds it until `close`.

        Args:
            path: A folder that does not exist or is empty. One whose creation was cut short is
                taken over.
            config: What was asked for: a mapping or a dataclass.
            plan: The plan as JSON-able data.
            plan_text: The plan as it prints.
            seeds: Seeds by purpose.
            versions: What `tlearn.runs.versions.versions` gives.
            report: Told about a stale lock; by default it is logged as a warning.

        Raises:
            RunFolderError: If the folder holds a run or anything else, or another process has it.
            TypeError: If ``config`` or another part is not JSON-able.
        """
        folder = cls(Path(path).absolute())
        parts = {
            "plan.json": _json(plan),
            "plan.txt": plan_text.rstrip("\n") + "\n" if plan_text else "",
            "seeds.json": _json(dict(seeds or {})),
            "versions.json": _json(dict(versions or {})),
            "config.json": _json(plain(config)),  # Last: it makes the run complete.
        }
        folder.refuse_taken()
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(f"{folder.path} cannot be made a folder: {error}") from error
        folder._take(report or _log.warning)
        try:
            folder.refuse_taken()  # Now that nobody else can be at it.
            folder.write_text(_MARK, _json({"format": FORMAT}))
            for name, text in parts.items():
                folder.write_text(name, text)
        except BaseException:
            folder.close()
            raise
        return folder

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        write: bool = False,
        report: Callable[[str], None] | None = None,
    ) -> "RunFolder":
        """Opens the folder of a run, to read it or, with ``write``, to go on with it.

        Raises:
            RunFolderError: If there is no complete run, or, to write, if another process has it.
        """
        folder = cls(Path(path).absolute())
        folder._check_run()
        if write:
            folder._take(report or _log.warning)
        return folder

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def config(self) -> dict[str, Any]:
        """What was asked for."""
        return self.read_json("config.json")

    @property
    def plan(self) -> Any:
        """The plan as data."""
        return self.read_json("plan.json")

    @property
    def seeds(self) -> dict[str, int]:
        """Seeds by purpose."""
        return self.read_json("seeds.json")

    @property
    def versions(self) -> dict[str, Any]:
        """What the run was made with."""
        return self.read_json("versions.json")

    @property
    def metrics(self) -> Path:
        """The events, one JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def timing(self) -> Path:
        """Wall-clock facts about the events."""
        return self.path / "timing.jsonl"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        """The checkpoints."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The trained model, ready to be a source."""
        return self.path / "model"

    @property
    def report(self) -> Path:
        """Pictures and tables of the report; the page itself is ``report.html`` beside it."""
        return self.path / "report"

    @property
    def report_page(self) -> Path:
        """The report."""
        return self.path / "report.html"

    def read_json(self, name: str) -> Any:
        """Reads one of the folder's JSON files.

        Raises:
            RunFolderError: If it is absent or no JSON.
        """
        try:
            return json.loads((self.path / name).read_text())
        except (OSError, ValueError) as error:
            raise RunFolderError(
                f"{name} of the run {self.path} cannot be read: {error}"
            ) from error

    def write_json(self, name: str, value: Any) -> Path:
        """Writes JSON-able data to a file of the folder, whole or not at all."""
        return self.write_text(name, _json(value))

    def write_text(self, name: str, text: str) -> Path:
        """Writes a text file of the folder, whole or not at all.

        Raises:
            RunFolderError: If the folder was opened to read.
        """
        if not self.writable:
            raise RunFolderError(f"{self.path} was opened to read; open it with write=True")
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, text.encode())
        return file

    def refuse_taken(self) -> None:
        """Makes sure that a run may begin here.

        Raises:
            RunFolderError: If the folder holds a run or anything else.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(f"{self.path} is a file; a run needs a folder of its own")
        there = {p.name for p in self.path.iterdir()} if self.path.is_dir() else set()
        there = {name for name in there - {LOCK} if not name.endswith(_UNFINISHED)}
        if not there:
            return
        if _MARK not in there:
            raise RunFolderError(
                f"{self.path} is not empty and holds no run ({', '.join(sorted(there)[:5])}); "
                "nothing was written. Choose a new folder"
            )
        if "config.json" in there:
            raise RunFolderError(
                f"{self.path} already holds a run; resume it (--resume), or choose a new folder"
            )

    def close(self) -> None:
        """Lets go of the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self.writable = False

    def _check_run(self) -> None:
        if not self.path.is_dir():
            what = "is a file" if self.path.exists() else "does not exist"
            raise RunFolderError(f"{self.path} {what}; expected the folder of a run")
        if not (self.path / _MARK).is_file():
            runs = sorted(p.parent.name for p in self.path.glob(f"*/{_MARK}"))
            hint = f"; there are runs inside it: {', '.join(runs[:5])}" if runs else ""
            raise RunFolderError(f"{self.path} holds no run ({_MARK} is missing){hint}")
        if not (self.path / "config.json").is_file():
            raise RunFolderError(
                f"the run in {self.path} was cut short while it was being created and holds "
                "nothing yet; start it anew in the same folder"
            )
        found = self.read_json(_MARK).get("format")
        if found != FORMAT:
            raise RunFolderError(
                f"{self.path} is a run of format {found}; this version of tlearn reads {FORMAT}"
            )

    def _take(self, report: Callable[[str], None]) -> None:
        try:
            self._lock = Lock(self.path, report)
        except LockedError as error:
            raise RunFolderError(
                f"{error}; wait for it or stop it, or choose a new folder"
            ) from error
        self.writable = True


def write_whole(file: Path, content: bytes) -> None:
    """Replaces a file's content at once: a reader or a kill sees the old or the new, never a part.

    Raises:
        OSError: If it cannot be written; the old content stays.
    """
    unfinished = file.with_name(file.name + _UNFINISHED)
    try:
        with unfinished.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(file)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # The renaming itself, against loss of power.
    finally:
        os.close(folder)


def plain(config: Any) -> dict[str, Any]:
    """A config as JSON gives it back: dataclasses as mappings, tuples as lists."""
    fields = config if isinstance(config, Mapping) else dataclasses.asdict(config)
    return json.loads(_json(dict(fields)))


def changed(old: Mapping[str, Any] | Any, new: Mapping[str, Any] | Any) -> list[str]:
    """Lists what differs between two configs, as ``field: old -> new``, in order of field.

    Example:
        >>> changed({"train": {"rate": 0.1, "steps": 5}}, {"train": {"rate": 0.2, "steps": 5}})
        ['train.rate: 0.1 -> 0.2']
    """
    before, after = _flat(plain(old)), _flat(plain(new))
    lines = []
    for field in sorted(before.keys() | after.keys()):
        a = json.dumps(before[field]) if field in before else "(absent)"
        b = json.dumps(after[field]) if field in after else "(absent)"
        if a != b:
            lines.append(f"{field}: {a} -> {b}")
    return lines


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
