"""Checkpoints of a run: written in the background, verified when read, never taken by halves."""

import errno
import json
import logging
import re
import shutil
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import PyTree

from tlearn.params import FlatParams
from tlearn.train import leaves, once
from tlearn.train.leaves import MismatchError as MismatchError
from tlearn.train.store import DamagedError, Store, short

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_log = logging.getLogger(__name__)


class CheckpointError(RuntimeError):
    """A checkpoint could not be written, or none could be read; the message says why."""


class Checkpoints:
    """The checkpoints of one run, the newest ``keep`` of them.

    Written by Orbax in a background thread and renamed into place when complete, so that a kill
    at any moment leaves whole checkpoints only. Every leaf has its SHA-256 beside it; a checkpoint
    whose bytes are not those that were saved is reported, and the one before it used.

    Attributes:
        folder: Where the checkpoints are, absolute.
        problems: What the last `restore` found wrong with checkpoints it passed over.

    Example:
        >>> import tempfile, jax.numpy as jnp
        >>> with Checkpoints(tempfile.mkdtemp()) as checkpoints:
        ...     checkpoints.save(10, {"weight": jnp.ones(2)}, {"epoch": 1.0})
        ...     checkpoints.restore({"weight": jnp.zeros(2)})
        True
        (10, {'weight': Array([1., 1.], dtype=float32)}, {'epoch': 1.0})
    """

    def __init__(
        self,
        folder: str | Path,
        keep: int | None = 3,
        asynchronous: bool = True,
        report: Callable[[str], None] | None = None,
    ):
        """Opens a folder of checkpoints; nothing is written before the first save.

        Args:
            folder: The folder; made absolute.
            keep: How many checkpoints stay, newest first; None keeps all.
            asynchronous: Whether to write in the background.
            report: Told about damage, one sentence a call; by default it is logged as a warning.

        Raises:
            ValueError: If ``keep`` is below 1.
        """
        if keep is not None and keep < 1:
            raise ValueError(
                f"keep={keep} would keep no checkpoint; use 1 or more, or None for all"
            )
        self.folder = Path(folder).absolute()
        self.keep = keep
        self.asynchronous = asynchronous
        self.problems: list[str] = []
        self._report = report or _log.warning
        self._damaged: set[int] = set()
        self._once: dict[str, str] = {}
        self._verified: dict[str, FlatParams] = {}
        self._store = Store(self.folder, keep)
        self._weights = self.folder / "once"
        self._thread: threading.Thread | None = None
        self._error: CheckpointError | None = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close()
        except CheckpointError as second:  # The first error is the one to show.
            self._report(str(second))

    def steps(self) -> list[int]:
        """Steps of the finished checkpoints, oldest first, damaged ones included."""
        return self._store.steps()

    def save(
        self,
        step: int,
        state: PyTree,
        extra: Mapping[str, Any] | None = None,
        *,
        once: Collection[str] | None = None,
    ) -> bool:
        """Saves a state; it may be donated as soon as this returns.

        Returns once the state is copied to the host; a save still being written is waited for.

        Args:
            step: The state's step, above all saved ones.
            state: Pytree of arrays, typed PRNG keys and Python numbers.
            extra: What else to keep, JSON-able.
            once: Names of `save_once` that a restore of this step needs; all, by default.

        Returns:
            False if a checkpoint of this step is already there, which is left as it is.

        Raises:
            CheckpointError: If the save before this one failed, or newer checkpoints exist.
            TypeError: If the state or ``extra`` holds what cannot be stored.
        """
        self.wait()
        self._set_aside_damaged()
        steps = self.steps()
        if step in steps:
            _log.info("the checkpoint of step %d exists already and is left as it is", step)
            return False
        if steps and step < steps[-1]:
            raise CheckpointError(
                f"a checkpoint of step {step} would be older than the newest one in {self.folder}, "
                f"of step {steps[-1]}; restore first, or use another folder"
            )
        names = self._once if once is None else once
        unknown = [name for name in names if name not in self._once]
        if unknown:
            raise CheckpointError(f"never given to save_once: {unknown}; known: {list(self._once)}")
        notes = {
            "step": int(step),
            "extra": _jsonable(extra or {}),
            "once": {name: self._once[name] for name in names},
        }
        arrays, records = leaves.encode(state)
        if self.asynchronous:
            work = (step, arrays, records, notes)
            self._thread = threading.Thread(target=self._write, args=work, name="checkpoint")
            self._thread.start()
        else:
            self._write(step, arrays, records, notes)
            self.wait()
        return True

    def save_once(self, name: str, flat: Mapping[str, Any]) -> str:
        """Keeps named arrays that no step changes (frozen or source weights) a single time.

        Later saves refer to them by digest. The same bytes again cost nothing; other bytes under
        the same name are for later saves, and older checkpoints keep theirs.

        Returns:
            The digest, as `tlearn.params.digest` gives it.

        Raises:
            CheckpointError: If they cannot be written.
        """
        if not re.fullmatch(r"[A-Za-z0-9_.]+", name):
            raise CheckpointError(f"{name!r} is no name for a file; use letters, digits, '_', '.'")
        try:
            fingerprint = once.write(self._weights, name, flat)
        except OSError as error:
            raise self._unwritten(f"the weights {name!r}", flat, error) from error
        self._once[name] = fingerprint
        return fingerprint

    def load_once(self, name: str) -> FlatParams:
        """The arrays kept under a name, as the restored checkpoint (or `save_once`) refers to them.

        What `restore` read is handed over, not kept: asked for once more it is read once more.

        Raises:
            CheckpointError: If there are none of that name, or their bytes are damaged.
        """
        if name not in self._once:
            raise CheckpointError(
                f"no weights {name!r} belong to the checkpoint in {self.folder}; "
                f"it has {sorted(self._once) or 'none'} (restore first)"
            )
        fingerprint = self._once[name]
        try:
            if fingerprint not in self._verified:
                return once.read(self._weights, name, fingerprint)
            return self._verified.pop(fingerprint)
        except ValueError as error:
            raise CheckpointError(f"in {self.folder}: {error}") from error

    def restore(
        self, template: PyTree | Callable[[dict[str, Any]], PyTree], step: int | None = None
    ) -> tuple[int, Any, dict[str, Any]]:
        """Restores the newest checkpoint that is bit-equal to what was saved.

        Args:
            template: Pytree of arrays or `jax.ShapeDtypeStruct`, whose structure, dtypes and
                shardings the state gets; or a function from ``extra`` to one, when the structure
                depends on what was saved (the stage).
            step: A certain step instead of the newest.

        Returns:
            Step, state and ``extra``. What was wrong with newer checkpoints is in `problems`.

        Raises:
            CheckpointError: If no checkpoint is good; it names what is wrong with each.
            MismatchError: If the checkpoint is of another architecture, strategy or optimizer.
        """
        self.wait()
        self.problems = []
        steps = self.steps() if step is None else [step]
        if not steps:
            raise CheckpointError(
                f"there is no finished checkpoint in {self.folder}; start the run anew"
            )
        for candidate in reversed(steps):
            try:
                notes = self._store.manifest(candidate)
                like = template(notes["extra"]) if callable(template) else template
                what = f"the checkpoint of step {candidate} in {self.folder}"
                leaves.check(notes["leaves"], like, what)
                verified = self._read_once(notes["once"])
                arrays = self._read(candidate, notes["leaves"])
            except DamagedError as error:
                self._damaged.add(candidate)
                self.problems.append(f"the checkpoint of step {candidate} is damaged: {error}")
                continue
            for problem in self.problems:
                self._report(f"{problem}; using the one of step {candidate} in {self.folder}")
            self._once = dict(notes["once"])
            self._verified = verified
            return candidate, leaves.decode(arrays, notes["leaves"], like), notes["extra"]
        raise CheckpointError(
            f"no checkpoint in {self.folder} can be used:\n  "
            + "\n  ".join(self.problems)
            + "\nstart the run anew, or bring the folder back from a copy"
        )

    def wait(self) -> None:
        """Waits until the save under way is on disk.

        Raises:
            CheckpointError: If it failed.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def close(self) -> None:
        """Waits for the save under way and lets go of the folder."""
        try:
            self.wait()
        finally:
            self._store.close()

    def _write(
        self,
        step: int,
        arrays: dict[str, np.ndarray],
        records: dict[str, leaves.Record],
        notes: dict[str, Any],
    ) -> None:
        """Writes one checkpoint; runs in the background, so errors are kept for `wait`."""
        try:
            leaves.seal(arrays, records)
            self._store.write(step, arrays, {**notes, "leaves": records})
        except Exception as error:
            self._error = self._unwritten(f"the checkpoint of step {step}", arrays, error)
            self._error.__cause__ = error

    def _set_aside_damaged(self) -> None:
        """Moves damaged checkpoints out of the way of those that will take their steps."""
        for step in sorted(self._damaged):
            target = self._store.set_aside(step)
            if target is not None:
                self._report(f"moved the damaged checkpoint of step {step} to {target}")
        self._damaged.clear()

    def _read(self, step: int, records: Mapping[str, leaves.Record]) -> dict[str, np.ndarray]:
        arrays = self._store.arrays(step, leaves.stored(records))
        found = leaves.damages(arrays, records)
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            raise DamagedError(", ".join(found[:3]) + more)
        return arrays

    def _read_once(self, wanted: Mapping[str, str]) -> dict[str, FlatParams]:
        try:
            return {f: once.read(self._weights, name, f) for name, f in wanted.items()}
        except ValueError as error:
            raise DamagedError(str(error)) from error

    def _unwritten(self, what: str, arrays: Mapping[str, Any], error: Exception) -> CheckpointError:
        codes = {int(code) for code in re.findall(r"os_error_code='(\d+)'", str(error))}
        codes |= {error.errno or 0} if isinstance(error, OSError) else set()
        steps = self.steps()
        last = (
            f"the newest checkpoint is still that of step {steps[-1]}" if steps else "there is none"
        )
        if not codes & _FULL:
            return CheckpointError(
                f"{what} could not be written to {self.folder}: {short(error)}; {last}"
            )
        size = sum(np.asarray(array).nbytes for array in arrays.values()) / 2**20
        at = next(p for p in (self.folder, *self.folder.parents) if p.is_dir())
        free = shutil.disk_usage(at).free / 2**20
        return CheckpointError(
            f"{what} could not be written to {self.folder}: the disk is full or a file-size limit "
            f"was reached ({free:.1f} MiB free, up to {size:.1f} MiB needed); {last}. "
            f"Free some space or keep fewer checkpoints (keep={self.keep}), then resume"
        )


def _jsonable(extra: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return json.loads(json.dumps(dict(extra)))
    except (TypeError, ValueError) as error:
        raise TypeError(f"`extra` of a checkpoint must be JSON-able: {error}") from error
