"""Who runs the units of a study: this process, or an engine that others keep."""

import dataclasses
from typing import Literal

from tlearn.runs.study_running import Engine, local

Name = Literal["local", "ray", "slurm"]
_CLUSTER = ("workers", "cpus", "gpus", "memory")
_SLURM = ("minutes", "partition")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resources:
    """What a unit asks of a cluster.

    Attributes:
        workers: Units at a time; 0 for as many as the cluster allows.
        cpus: Cores.
        gpus: GPUs.
        memory: GiB; 0 for what the cluster gives.
        minutes: After which SLURM ends a unit's job.
        partition: Of SLURM; its own choice if empty.

    Raises:
        ValueError: Naming all that cannot be asked.
    """

    workers: int = 0
    cpus: float = 1.0
    gpus: float = 0.0
    memory: float = 0.0
    minutes: int = 240
    partition: str = ""

    def __post_init__(self):
        problems = [
            f"{name} is {getattr(self, name):g}; it must be at least {least}"
            for name, least in (("workers", 0), ("gpus", 0), ("memory", 0), ("minutes", 1))
            if getattr(self, name) < least
        ]
        if self.cpus <= 0:
            problems.append(f"cpus is {self.cpus:g}; it must be above 0")
        if problems:
            raise ValueError("; ".join(problems))


def engine(name: Name, resources: Resources) -> Engine:
    """The engine of a name.

    Raises:
        ValueError: If the package it needs is not installed, or it cannot give what is asked.
    """
    usual, own = Resources(), {"local": (), "ray": _CLUSTER, "slurm": (*_CLUSTER, *_SLURM)}[name]
    idle = [
        field.name
        for field in dataclasses.fields(resources)
        if field.name not in own and getattr(resources, field.name) != getattr(usual, field.name)
    ]
    if idle:
        raise ValueError(f"--engine {name} does not read {', '.join(idle)}")
    if name == "local":
        return local
    try:
        if name == "ray":
            from tlearn.runs.study_ray import ray_engine

            return ray_engine(resources)
        from tlearn.runs.study_slurm import slurm_engine

        return slurm_engine(resources)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--engine {name} needs {error.name}, which is not installed: pip install "
            f"'tlearn[{name}]'"
        ) from error
