"""What a unit of a study asks of a cluster."""

import dataclasses


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
