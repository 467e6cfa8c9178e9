"""Units of a study as tasks of a Ray cluster, which places them and repeats lost ones."""

import logging
import os
import time
from collections.abc import Sequence
from typing import Any

from tlearn.runs.study.folder import StudyFolder
from tlearn.runs.study.remote import BUSY, attempt, settle
from tlearn.runs.study.resources import Resources
from tlearn.runs.study.running import Engine, Say, StudyError

RETRIES = 3
"""How often Ray repeats a unit whose worker died."""
_STORE = 10**8
"""Bytes of a cluster's own store of objects; units keep theirs in the study's folder."""


def ray_engine(resources: Resources) -> Engine:
    """Runs units on the Ray cluster of ``RAY_ADDRESS``, on one that runs here, or on a new one.

    Every worker needs tlearn, the data and the study's folder under the same paths, on a file
    system with POSIX locks. A new cluster is this machine, and ends with this process.

    Raises:
        ModuleNotFoundError: If Ray is not installed.
    """
    import ray  # Here, so that its absence is told before anything is run.

    def run(folder: StudyFolder, units: Sequence[str], say: Say) -> None:
        grows = ray.is_initialized() or _connect()
        _look(resources, grows, say)
        _run(folder, units, resources, say)

    return run


def _run(folder: StudyFolder, units: Sequence[str], resources: Resources, say: Say) -> None:
    import ray
    from ray.exceptions import RayError, RayTaskError

    asked: dict[str, Any] = {"num_cpus": resources.cpus, "num_gpus": resources.gpus}
    if resources.memory:
        asked["memory"] = int(resources.memory * 2**30)
    task = ray.remote(max_retries=RETRIES, **asked)(attempt)
    left, done = list(units), 0
    flying: dict[Any, str] = {}
    problems: dict[str, str] = {}
    while left or flying:
        while left and (not resources.workers or len(flying) < resources.workers):
            name = left.pop(0)
            flying[task.remote(str(folder.path), name, os.getcwd())] = name
        finished, _ = ray.wait(list(flying), num_returns=1)
        name = flying.pop(finished[0])
        try:
            told = ray.get(finished[0])
        except RayTaskError:  # Nothing that was foreseen: with its traceback.
            raise
        except RayError as error:
            told = f"Ray lost it, after {RETRIES} repetitions: {' '.join(str(error).split())[:300]}"
        if told == BUSY:  # Somebody beside the cluster has it, and may yet lose it.
            time.sleep(0.5)
            left.append(name)
        elif told:
            problems[name] = told
        else:
            done += 1
            say(f"   {done} of {len(units)} units")
    settle(folder, units, problems)


def _connect() -> bool:
    """Finds or makes a cluster; False for one that is this machine alone and stays so."""
    import ray

    # Ray reports its use to its makers unless told not to; nobody was asked here.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A unit that asks for no GPU sees none: several would fill its memory between them.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    address = os.environ.get("RAY_ADDRESS")
    try:
        ray.init(address=address or "auto", log_to_driver=False, logging_level=logging.ERROR)
        return True
    except ConnectionError as error:
        if address:
            raise StudyError(f"no Ray cluster answers at RAY_ADDRESS={address}: {error}") from error
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=_STORE,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        return False


def _look(resources: Resources, grows: bool, say: Say) -> None:
    """Tells what the cluster has, and what Ray would otherwise wait for without a word."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = sum(node.get("CPU", 0) for node in nodes)
    say(f"   machines of the Ray cluster: {len(nodes)}, with {cores:g} cores")
    wanted = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": resources.memory * 2**30}
    if not any(all(node.get(k, 0) >= v for k, v in wanted.items()) for node in nodes):
        lacking = (
            f"no machine has {resources.cpus:g} cores, {resources.gpus:g} GPUs and "
            f"{resources.memory:g} GiB for a unit"
        )
        if not grows:
            raise StudyError(f"{lacking}, and no Ray cluster runs beside this machine")
        say(f"   {lacking}: waiting until one joins the cluster")
