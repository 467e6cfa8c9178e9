"""The folder of a study: what is asked, units of runs, what became of them; many may write."""

import contextlib
import dataclasses
import hashlib
import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlearn import __version__
from tlearn.runs.folder import RunFolderError, write_whole
from tlearn.runs.lock import Lock, LockedError
from tlearn.runs.study import FORMAT, Cell, Study, from_values, to_values
from tlearn.runs.study.keys import groups, run_key
from tlearn.studies.records import Record, from_json, to_json

_MARK = "study.json"


@dataclasses.dataclass(frozen=True)
class Unit:
    """Runs that share a program and are kept together.

    Attributes:
        name: Digest of the runs.
        runs: Each as ``{"key", "arm", "levels", "trial", "seed", "labels", "role", "config"}``.
        study: The study as it was when the unit was made, as values.
    """

    name: str
    runs: tuple[Mapping[str, Any], ...]
    study: Mapping[str, Any]

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the runs."""
        return tuple(run["key"] for run in self.runs)


@dataclasses.dataclass(frozen=True)
class StudyFolder:
    """The folder of one study.

    ::

        study.json              what is asked, and by which version
        units/NAME.unit.json    runs that go together, written once
        units/NAME.json         what became of them: there once the unit is done, whole
        units/NAME.npz          which reported examples each got right
        claims/NAME/lock        the process that runs a unit, while there is one
        report/                 the report

    Several processes may work in it: a unit is run by whoever holds its lock, and a lock dies with
    its process. What is done is never written again.

    Attributes:
        path: The folder, absolute.
    """

    path: Path

    @classmethod
    def prepare(cls, path: str | Path, study: Study) -> "StudyFolder":
        """Makes the folder of a study, or goes on with it; arms and seeds may have been added.

        Raises:
            RunFolderError: If it holds something else, another study, or one of another version.
        """
        folder = cls(Path(path).expanduser().absolute())
        mark = folder.path / _MARK
        if mark.is_file():
            folder.read()
        try:
            # A process that was killed, or that begins beside this one, may have left these alone.
            there = {p.name for p in folder.path.iterdir()} if folder.path.exists() else set()
            others = [n for n in there - {"units", "claims"} if not n.startswith(_MARK)]
            if others and not mark.is_file():
                raise RunFolderError(
                    f"{folder.path} is not empty and holds no study; name another folder with --out"
                )
            for part in ("units", "claims"):
                (folder.path / part).mkdir(parents=True, exist_ok=True)
            wanted = {"format": FORMAT, "version": __version__, "study": to_values(study)}
            with folder.alone("planning"):
                before = folder.read() if mark.is_file() else None
                if before is not None and before["study"]["name"] != study.name:
                    raise RunFolderError(
                        f"{folder.path} holds the study {before['study']['name']!r}, not "
                        f"{study.name!r}; name another folder with --out"
                    )
                if before != json.loads(json.dumps(wanted)):
                    write_whole(mark, json.dumps(wanted, indent=1).encode())
        except OSError as error:
            raise RunFolderError(f"{folder.path} cannot be written: {error}") from error
        return folder

    @classmethod
    def open(cls, path: str | Path) -> "StudyFolder":
        """Opens the folder of a study.

        Raises:
            RunFolderError: If there is none, or it is of another version.
        """
        folder = cls(Path(path).expanduser().absolute())
        folder.read()
        return folder

    def read(self) -> dict[str, Any]:
        """What ``study.json`` says.

        Raises:
            RunFolderError: If there is no such file, or it is of another version.
        """
        try:
            found = json.loads((self.path / _MARK).read_text())
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{self.path} holds no study: {error}") from error
        if found.get("format") != FORMAT or found.get("version") != __version__:
            raise RunFolderError(
                f"{self.path} is a study of tlearn {found.get('version')} (format "
                f"{found.get('format')}), and this is {__version__} (format {FORMAT}): figures of "
                "two versions are not mixed. Take another folder, or that version"
            )
        return found

    @property
    def study(self) -> Study:
        """What is asked."""
        return from_values(self.read()["study"])

    def plan(self, study: Study, cells: Sequence[Cell]) -> list[Unit]:
        """The units that hold some runs; runs that are in none yet get new ones.

        Units are written once, so that a run is trained beside the same others whenever a study is
        interrupted, and by whomever it goes on.

        Args:
            study: The study.
            cells: The runs.

        Raises:
            RunFolderError: If units cannot be written.
        """
        keyed: dict[str, Cell] = {}
        for cell in cells:
            keyed.setdefault(run_key(study, cell), cell)
        try:
            with self.alone("planning"):
                units = self.units()
                have = {key for unit in units for key in unit.keys}
                new = [(key, cell) for key, cell in keyed.items() if key not in have]
                for keys in groups(new, study.how):
                    for first in range(0, len(keys), study.unit_runs):
                        part = keys[first : first + study.unit_runs]
                        units.append(self._write_unit(study, [(k, keyed[k]) for k in part]))
        except OSError as error:
            raise RunFolderError(
                f"{self.path} cannot be written: {error}. What was done is there; make room and "
                "run the study again"
            ) from error
        return [unit for unit in units if set(unit.keys) & keyed.keys()]

    def units(self) -> list[Unit]:
        """All units there are, by name."""
        files = sorted((self.path / "units").glob("*.unit.json"))
        return [self.unit(file.name.removesuffix(".unit.json")) for file in files]

    def unit(self, name: str) -> Unit:
        """One unit.

        Raises:
            RunFolderError: If there is none of that name.
        """
        try:
            values = json.loads((self.path / "units" / f"{name}.unit.json").read_text())
        except FileNotFoundError as error:
            raise RunFolderError(f"{self.path} has no unit {name!r}") from error
        return Unit(name, tuple(values["runs"]), values["study"])

    def done(self, name: str) -> bool:
        """Whether a unit's runs are there."""
        return (self.path / "units" / f"{name}.json").is_file()

    @contextlib.contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Tries to be the one that runs a unit; False if somebody else does."""
        place = self.path / "claims" / name
        place.mkdir(parents=True, exist_ok=True)
        try:
            lock = Lock(place, lambda text: None)
        except LockedError:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def commit(
        self,
        unit: Unit,
        records: Sequence[Record],
        right: Mapping[str, np.ndarray],
        plans: Mapping[str, Sequence[str]],
        facts: Mapping[str, Any],
    ) -> None:
        """Keeps a unit's runs, all at once: a reader sees all of them or none.

        Args:
            unit: The unit.
            records: Its runs.
            right: Which reported examples were right, by key.
            plans: Each arm's plan, by layer.
            facts: What else is told of the unit: compilations, device, versions.

        Raises:
            OSError: If the disk cannot hold them; nothing that was there is lost.
        """
        kept = io.BytesIO()
        arrays: dict[str, Any] = {key: row.astype(np.uint8) for key, row in right.items()}
        np.savez_compressed(kept, **arrays)
        write_whole(self.path / "units" / f"{unit.name}.npz", kept.getvalue())
        values = {
            "records": [to_json(record) for record in records],
            "plans": {arm: list(lines) for arm, lines in plans.items()},
            "facts": dict(facts),
        }
        text = json.dumps(values, indent=1, allow_nan=False)
        write_whole(self.path / "units" / f"{unit.name}.json", text.encode())

    def records(self) -> dict[str, Record]:
        """Every run that is there, by key."""
        found: dict[str, Record] = {}
        for unit in self.units():
            if self.done(unit.name):
                for values in self.result(unit.name)["records"]:
                    record = from_json(values)
                    found[record.key] = record
        return found

    def result(self, name: str) -> dict[str, Any]:
        """What became of a unit."""
        return json.loads((self.path / "units" / f"{name}.json").read_text())

    def right(self, keys: Sequence[str]) -> dict[str, np.ndarray]:
        """Which reported examples some runs got right, by key, ``[n]``."""
        wanted, found = set(keys), {}
        for unit in self.units():
            file = self.path / "units" / f"{unit.name}.npz"
            if self.done(unit.name) and file.is_file() and wanted & set(unit.keys):
                with np.load(file, allow_pickle=False) as kept:
                    found |= {
                        key: kept[key].astype(np.float64) for key in kept.files if key in wanted
                    }
        return found

    @contextlib.contextmanager
    def alone(self, what: str, patience: float = 60.0) -> Iterator[None]:
        """Waits for its turn at something that is done in a moment.

        Raises:
            RunFolderError: If its turn does not come.
        """
        until = time.monotonic() + patience
        while True:
            with self.claim(what) as mine:
                if mine:
                    yield
                    return
            if time.monotonic() > until:
                raise RunFolderError(f"another process has been {what} in {self.path} for long")
            time.sleep(0.05)

    def _write_unit(self, study: Study, runs: Sequence[tuple[str, Cell]]) -> Unit:
        from tlearn.runs.config import to_json as config_json

        told = [
            {
                "key": key,
                "arm": cell.arm.name,
                "levels": dict(cell.arm.levels),
                "trial": dict(cell.trial),
                "seed": cell.seed,
                "labels": cell.labels,
                "role": cell.role,
                "config": config_json(cell.config),
            }
            for key, cell in runs
        ]
        name = hashlib.sha256(" ".join(key for key, _ in runs).encode()).hexdigest()[:16]
        values = {"runs": told, "study": to_values(study)}
        file = self.path / "units" / f"{name}.unit.json"
        write_whole(file, json.dumps(values, indent=1).encode())
        return Unit(name, tuple(told), values["study"])
