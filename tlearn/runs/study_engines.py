"""Who runs the units of a study: this process, or an engine that others keep."""

import dataclasses

from tlearn.runs.study_running import Engine, local


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resources:
    """What a unit asks of a cluster.

    Attributes:
        workers: Units at a time; 0 for as many as the cluster allows.
        cpus: Cores.
        gpus: GPUs.
    """

    workers: int = 0
    cpus: float = 1.0
    gpus: float = 0.0


def engine(name: str, resources: Resources) -> Engine:
    """The engine of a name.

    Raises:
        ValueError: If there is none, or the package it needs is not installed.
    """
    if name == "local":
        return local
    raise ValueError(f"there is no engine {name!r}")
