"""What engines on other machines have in common: a unit in a worker, and what went wrong there."""

import contextlib
import os
import time
from collections.abc import Mapping, Sequence

from tlearn.runs.study.folder import StudyFolder
from tlearn.runs.study.running import StudyError, run_unit

BUSY = "busy"
"""Somebody else runs the unit."""


def attempt(out: str, name: str, place: str) -> str:
    """Runs one unit in a worker.

    Args:
        out: The study's folder, where all machines see it.
        name: Of the unit.
        place: Where the study was begun: paths of its config may be relative to it.

    Returns:
        Empty if the unit is done, `BUSY`, or what went wrong, for the user.
    """
    # A machine without that folder can still run what names whole paths; other paths are told.
    with contextlib.suppress(OSError):
        os.chdir(place)
    try:
        run_unit(out, name)
        return "" if StudyFolder.open(out).done(name) else BUSY
    except (ValueError, OSError, RuntimeError) as error:
        if type(error).__module__.startswith(("tlearn", "builtins")):
            return str(error) or type(error).__name__
        raise


def settle(
    folder: StudyFolder, units: Sequence[str], problems: Mapping[str, str], patience: float = 60.0
) -> None:
    """Ends an engine's work: waits until what was done is seen here, and tells what was not.

    Args:
        folder: The study's.
        units: What was to be done.
        problems: What went wrong, by unit.
        patience: Seconds after which a network file system has to show what others wrote.

    Raises:
        StudyError: If units could not be run, or are not seen; the others are kept.
    """
    until = time.monotonic() + patience
    told = dict(problems)
    for name in units:
        while name not in told and not folder.done(name):
            if time.monotonic() > until:
                told[name] = f"done elsewhere, but not seen in {folder.path}: one file system?"
            time.sleep(0.2)
    if told:
        lines = [f"{name}: {text}" for name, text in told.items()]
        raise StudyError(
            f"{len(told)} of {len(units)} units could not be run; the others are kept, and the "
            "same command tries again what is missing:\n  " + "\n  ".join(lines)
        )
