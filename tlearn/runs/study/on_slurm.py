"""Units of a study as a SLURM array, a unit a job, submitted by submitit."""

import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tlearn.runs.study.folder import StudyFolder
from tlearn.runs.study.remote import BUSY, attempt, settle
from tlearn.runs.study.resources import Resources
from tlearn.runs.study.running import Engine, Say

LARGEST = 1000
"""Jobs of one array: SLURM takes no more unless it is told to (MaxArraySize)."""
ROUNDS = 3
"""How often a unit is submitted whose job died."""


def slurm_engine(
    resources: Resources, *, cluster: Literal["slurm", "local"] = "slurm", pause: float = 5.0
) -> Engine:
    """Submits units as arrays and waits for them; a unit whose job died is submitted again.

    Every node needs tlearn, the data and the study's folder under the same paths, on a file system
    with POSIX locks. Logs of the jobs are in the folder's ``jobs``. The process that waits may be
    killed: jobs go on, and those that a later one submits for the same units end at once. Other
    options of sbatch are taken from its environment variables (``SBATCH_ACCOUNT``, ...).

    Args:
        resources: What a job asks for.
        cluster: ``local`` runs the jobs as processes of this machine, all at once.
        pause: Seconds between looks at the jobs.

    Raises:
        ModuleNotFoundError: If submitit is not installed.
        ValueError: If there is no SLURM here, or it cannot give what is asked.
    """
    _submitit()  # So that its absence is told before anything is run.
    if cluster == "slurm" and (shutil.which("sbatch") is None or shutil.which("srun") is None):
        raise ValueError(
            "there is no SLURM here (sbatch and srun are not on the PATH): --engine local"
        )
    for what, value in (("cores", resources.cpus), ("GPUs", resources.gpus)):
        if value != math.floor(value):
            raise ValueError(f"SLURM gives whole {what}, not {value:g}")

    def run(folder: StudyFolder, units: Sequence[str], say: Say) -> None:
        executor = _executor(folder, resources, cluster)
        left, problems = list(units), dict[str, str]()
        for _ in range(ROUNDS):
            jobs = _submit(executor, folder, left)
            say(f"{len(jobs)} jobs; their logs are in {folder.path / 'jobs'}")
            lost = _wait(folder, jobs, problems, say, pause)
            if not lost:
                break
            say(f"{len(lost)} jobs died")
            left = lost
        else:
            problems |= {
                name: f"its job died {ROUNDS} times; logs are in {folder.path / 'jobs'}"
                for name in left
            }
        settle(folder, units, problems)

    return run


def _submitit() -> Any:
    """The package, imported without what it does to others' logging: it closes their handlers."""
    before = os.environ.get("SUBMITIT_LOG_LEVEL")
    os.environ.setdefault("SUBMITIT_LOG_LEVEL", "NOCONFIG")
    try:
        import submitit
    finally:
        if before is None:
            del os.environ["SUBMITIT_LOG_LEVEL"]
    return submitit


def _executor(folder: StudyFolder, resources: Resources, cluster: str) -> Any:
    made = _submitit().AutoExecutor(folder=folder.path / "jobs", cluster=cluster)
    asked: dict[str, Any] = {
        "name": "tlearn-study",
        "timeout_min": resources.minutes,
        "cpus_per_task": int(resources.cpus),
        "slurm_array_parallelism": resources.workers or LARGEST,
        "gpus_per_node": int(resources.gpus) or None,
        "mem_gb": resources.memory or None,
        "slurm_partition": resources.partition or None,
    }
    made.update_parameters(**{name: value for name, value in asked.items() if value is not None})
    return made


def _submit(executor: Any, folder: StudyFolder, units: Sequence[str]) -> dict[str, Any]:
    """A job for every unit, as arrays."""
    jobs: dict[str, Any] = {}
    for first in range(0, len(units), LARGEST):
        with executor.batch():
            for name in units[first : first + LARGEST]:
                jobs[name] = executor.submit(attempt, str(folder.path), name, os.getcwd())
    return jobs


def _wait(
    folder: StudyFolder, jobs: Mapping[str, Any], problems: dict[str, str], say: Say, pause: float
) -> list[str]:
    """Waits until every unit is done, cannot be run, or has lost its job; the last are returned."""
    left, lost = dict(jobs), []
    while left:
        for name, job in list(left.items()):
            if not job.done():
                continue
            told = _told(job)
            if told == BUSY and not folder.done(name):
                # Somebody beside the array has it: watched until it is done, or was lost.
                with folder.claim(name) as free:
                    if not free:
                        continue
                told = None if not folder.done(name) else ""
            if told is None:
                lost.append(name)
            elif told not in ("", BUSY):
                problems[name] = told
            else:
                say(f"   a unit is done, {len(left) - 1} are left")
            del left[name]
        if left:
            time.sleep(pause)
    return lost


def _told(job: Any) -> str | None:
    """What became of a job that ended; None if it died without a word."""
    from submitit.core.utils import FailedJobError

    error = job.exception()
    if error is None:
        return str(job.result())
    last = str(error).strip().splitlines()
    if isinstance(error, FailedJobError):
        return f"its job failed, see {job.paths.stderr}: {last[-1] if last else ''}"
    if job.state.upper().startswith("TIMEOUT"):
        return "its job took longer than it was allowed to (--minutes)"
    return None
