"""The files of checkpoints: Orbax writes and reads them, and is spoken to nowhere else."""

import contextlib
import gc
import hashlib
import json
import logging
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = 1


class DamagedError(Exception):
    """A checkpoint is not what was saved."""


class Store:
    """Numbered checkpoints in a folder: named arrays and a manifest each, renamed into place whole.

    Attributes:
        folder: The folder, absolute (Orbax loses saves to a relative one without a word).
        keep: How many checkpoints stay; None keeps all.
    """

    def __init__(self, folder: Path, keep: int | None):
        self.folder = folder
        self.keep = keep
        self._manager: Any = None

    def steps(self) -> list[int]:
        """Steps of the finished checkpoints, oldest first, damaged ones included."""
        if not self.folder.is_dir():
            return []
        return sorted(int(p.name) for p in self.folder.iterdir() if p.name.isdigit() and p.is_dir())

    def write(
        self, step: int, arrays: Mapping[str, np.ndarray], manifest: Mapping[str, Any]
    ) -> None:
        """Writes a checkpoint and removes those beyond ``keep``; leaves nothing half-written.

        Raises:
            Exception: Whatever Orbax raises.
        """
        import orbax.checkpoint as ocp

        sealed = {"format": FORMAT, **manifest}
        items: dict[str, Any] = {
            "manifest": ocp.args.JsonSave({"sha256": _fingerprint(sealed), **sealed})
        }
        if arrays:
            items["state"] = ocp.args.PyTreeSave(dict(arrays))
        try:
            with _quiet():
                if not self._open().save(step, args=ocp.args.Composite(**items), force=True):
                    raise RuntimeError(f"Orbax declined to save step {step}")
        except Exception:
            for unfinished in self.folder.glob(f"{step}.orbax-checkpoint-tmp*"):
                shutil.rmtree(unfinished, ignore_errors=True)
            raise

    def manifest(self, step: int) -> dict[str, Any]:
        """Reads the manifest of a checkpoint, verified; imports nothing of Orbax.

        Raises:
            DamagedError: If it is absent, unreadable or changed, or of an unknown format.
        """
        file = self.folder / str(step) / "manifest" / "metadata"
        try:
            manifest = json.loads(file.read_text())
            known = manifest.pop("sha256") == _fingerprint(manifest)
        except (OSError, ValueError, AttributeError, KeyError) as error:
            raise DamagedError(f"its manifest cannot be read ({short(error)})") from error
        if not known:
            raise DamagedError("its manifest has other bytes than were saved")
        if manifest["format"] != FORMAT:
            raise DamagedError(f"it has format {manifest['format']}, this tlearn reads {FORMAT}")
        return manifest

    def arrays(self, step: int, names: list[str]) -> dict[str, np.ndarray]:
        """Reads arrays of a checkpoint by name.

        Raises:
            DamagedError: If they cannot be read.
        """
        if not names:
            return {}
        import orbax.checkpoint as ocp

        request = ocp.args.PyTreeRestore(
            item={name: 0 for name in names},
            restore_args={name: ocp.RestoreArgs(restore_type=np.ndarray) for name in names},
        )
        try:
            with _quiet(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
                return reader.restore(self.folder / str(step) / "state", args=request)
        except MemoryError:
            raise
        except Exception as error:
            raise DamagedError(f"its arrays cannot be read ({short(error)})") from error

    def set_aside(self, step: int) -> Path | None:
        """Moves a checkpoint to ``damaged/``; returns where, or None if it is gone already."""
        there = self.folder / "damaged"
        there.mkdir(exist_ok=True)
        target, count = there / str(step), 1
        while target.exists():
            count += 1
            target = there / f"{step}-{count}"
        try:
            (self.folder / str(step)).rename(target)
        except FileNotFoundError:
            return None
        if self._manager is not None:
            self._manager.reload()
        return target

    def close(self) -> None:
        """Lets go of the folder."""
        if self._manager is not None:
            self._manager.close()
            self._manager = None

    def _open(self) -> Any:
        """The Orbax manager, made at the first save: a reader must not tidy up behind a writer."""
        if self._manager is None:
            import orbax.checkpoint as ocp

            self.folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(
                self.folder,
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=self.keep,
                    enable_async_checkpointing=False,
                    cleanup_tmp_directories=True,
                ),
                item_handlers={
                    "state": ocp.PyTreeCheckpointHandler(),
                    "manifest": ocp.JsonCheckpointHandler(),
                },
            )
        return self._manager


def short(error: BaseException) -> str:
    """The part of a message that is for readers: tensorstore adds pages of specification."""
    text = str(error).partition(" [tensorstore_spec=")[0].partition("\n")[0]
    return f"{type(error).__name__}: {text[:300]}"


def _fingerprint(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps a failing operation from filling the screen: its error is raised, once, by us.

    Tensorstore's other futures fail in their own threads a moment later, and both asyncio and Orbax
    log what they also raise.
    """
    before = sys.unraisablehook
    loggers = [logging.getLogger("asyncio"), logging.getLogger("absl")]

    def drop(record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR

    def hook(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            before(unraisable)

    sys.unraisablehook = hook
    for logger in loggers:
        logger.addFilter(drop)
    try:
        yield
    except Exception:
        time.sleep(0.2)
        gc.collect()
        raise
    finally:
        sys.unraisablehook = before
        for logger in loggers:
            logger.removeFilter(drop)
