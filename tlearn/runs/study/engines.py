"""Who runs the units of a study: this process, or an engine that others keep."""

import dataclasses
from typing import Literal

from tlearn.runs.study.resources import Resources
from tlearn.runs.study.running import Engine, local

Name = Literal["local", "ray", "slurm"]
_CLUSTER = ("workers", "cpus", "gpus", "memory")
_SLURM = ("minutes", "partition")


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
            from tlearn.runs.study.on_ray import ray_engine

            return ray_engine(resources)
        from tlearn.runs.study.on_slurm import slurm_engine

        return slurm_engine(resources)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--engine {name} needs {error.name}, which is not installed: pip install "
            f"'tlearn[{name}]'"
        ) from error
