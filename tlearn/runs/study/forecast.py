"""What a study will take, before it is run: runs, programs, FLOPs, bytes, time on this device."""

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp

from tlearn.model import shapes
from tlearn.runs.build import build
from tlearn.runs.costs import USED
from tlearn.runs.explain import step_flops
from tlearn.runs.study import Cell, Study
from tlearn.runs.study.folder import StudyFolder
from tlearn.runs.study.gathering import gather
from tlearn.runs.study.keys import groups, run_key, shares
from tlearn.runs.study.many import chosen_how
from tlearn.runs.study.memory import memory_of, remembering
from tlearn.runs.study.metric import check_metric
from tlearn.studies.block import memory_limit, nbytes

ONE_BY_ONE = "one by one"
COMPILE_S = 8.0
"""Seconds that a program takes to be read, traced and compiled on a small machine."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """Runs that will share a program.

    Attributes:
        arms: The arms they are of.
        runs: How many.
        how: How the device will go through them; ``one by one`` where they share none.
        steps: Of a run.
        step_flops: Of one run's step; None where that cannot be counted.
        bytes: What their states take side by side; 0 where they run one by one.
        shared_bytes: Of frozen weights that are kept once.
    """

    arms: tuple[str, ...]
    runs: int
    how: str
    steps: int
    step_flops: float | None
    bytes: int
    shared_bytes: int

    @property
    def flops(self) -> float:
        """FLOPs of all its runs' steps."""
        return (self.step_flops or 0.0) * self.steps * self.runs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a study will take.

    Attributes:
        arms: How many arms.
        pilots: Pilot runs.
        reported: Reported runs.
        done: Runs that are there already.
        programs: What is compiled, pilots apart.
        speed: FLOPs a second that a matrix product reaches here.
    """

    arms: int
    pilots: int
    reported: int
    done: int
    programs: tuple[Program, ...]
    speed: float

    @property
    def seconds(self) -> float:
        """A rough guess of the wall time: FLOPs at the usual share of the speed, and compiling."""
        flops = sum(program.flops for program in self.programs)
        return flops / (self.speed * USED) + COMPILE_S * self._compiled

    @property
    def _compiled(self) -> int:
        return sum(p.runs if p.how == ONE_BY_ONE else 1 for p in self.programs)

    def __str__(self) -> str:
        lines = [
            f"{self.arms} arms; {self.pilots} pilot runs and {self.reported} reported runs, "
            f"{self.done} of them there already",
            f"{self._compiled} programs to train, and as many to judge:",
        ]
        for program in self.programs:
            arms = ", ".join(program.arms[:4]) + (", ..." if len(program.arms) > 4 else "")
            flops = f"{program.flops:.2e} FLOPs" if program.step_flops else "FLOPs unknown"
            size = f"{program.bytes / 2**20:.0f} MiB of states"
            if program.shared_bytes:
                size += f", {program.shared_bytes / 2**20:.0f} MiB frozen and shared"
            lines.append(
                f"  {program.runs} runs × {program.steps} steps, {program.how}: {flops}, {size} "
                f"({arms})"
            )
        room = memory_limit() / 2**20
        lines.append(
            f"about {_duration(self.seconds)} on this device ({jax.default_backend()}, "
            f"{self.speed / 1e9:.0f} GFLOP/s in a matrix product), evaluations not counted; "
            f"{room:.0f} MiB for a block of runs"
        )
        if len(self.programs) > 1:
            lines.append(
                "runs share a program that differ in numbers, seeds, data order, subset and what "
                "is drawn afresh; frozen depth makes programs of its own, because what is frozen "
                "is then not computed"
            )
        return "\n".join(lines)


def forecast(study: Study, out: str | Path | None = None) -> Forecast:
    """Looks ahead; reads the data, compiles and trains nothing.

    Args:
        study: What is asked.
        out: Its folder, if some of it may be there already.

    Raises:
        ValueError: If anything of an arm does not fit: data, source, strategy.
    """
    there = set()
    if out is not None and (Path(out).expanduser() / "study.json").is_file():
        there = set(StudyFolder.open(out).records())
    pilots = list(study.pilots())
    reported = list(study.reported({arm.name: study.trials(arm.name)[0] for arm in study.arms}))
    programs: list[Program] = []
    for cells in (pilots, reported):
        keyed: dict[str, Cell] = {}
        singles: list[Cell] = []
        for cell in cells:
            keyed.setdefault(run_key(study, cell), cell)
        for keys in groups(list(keyed.items()), study.how):
            some = [keyed[key] for key in keys]
            if study.how == "single" or not shares(some[0].config):
                singles.append(some[0])
            else:
                programs.append(_program(study, some))
        programs += _one_by_one(study, singles)
    keys = {run_key(study, cell) for cell in (*pilots, *reported)}
    return Forecast(
        arms=len(study.arms),
        pilots=len(pilots),
        reported=len(reported),
        done=len(keys & there),
        programs=tuple(programs),
        speed=_speed(),
    )


def check_budget(study: Study, found: Forecast) -> None:
    """Refuses a study that would take longer than it may.

    Raises:
        ValueError: Saying how long, and what would make it shorter.
    """
    share = 1 - found.done / max(found.pilots + found.reported, 1)
    minutes = share * found.seconds / 60
    if study.budget_minutes and minutes > study.budget_minutes:
        raise ValueError(
            f"the study {study.name!r} is forecast to take {minutes:.0f} more minutes on this "
            f"device, and its budget is {study.budget_minutes:g}: give it fewer seeds, levels or "
            "steps, another engine, or a larger budget_minutes"
        )


def _program(study: Study, cells: list[Cell]) -> Program:
    # One run of each arm, of the most data: the others differ in seeds, numbers and subsets.
    by_arm: dict[str, Cell] = {}
    for cell in cells:
        most = by_arm.setdefault(cell.arm.name, cell)
        if cell.labels > most.labels:
            by_arm[cell.arm.name] = cell
    try:
        group = gather([cell.config for cell in by_arm.values()])
        memory_of(group, study.remember, study.metric)
        check_metric(group, study.metric)
    except ValueError as error:
        raise ValueError(f"the runs of {', '.join(by_arm)} cannot be begun: {error}") from error
    block = group.shapes([0])
    own = nbytes(block.states)
    return Program(
        arms=tuple(by_arm),
        runs=len(cells),
        how=chosen_how(study.how, group),
        steps=group.timeline.steps,
        step_flops=group.step_flops,
        bytes=own * min(len(cells), study.unit_runs),
        shared_bytes=nbytes(block.shared),
    )


def _one_by_one(study: Study, cells: Sequence[Cell]) -> list[Program]:
    """Runs that share no program, arm by arm: each compiles its own."""
    by_arm: dict[str, list[Cell]] = {}
    for cell in cells:
        by_arm.setdefault(cell.arm.name, []).append(cell)
    found = []
    for arm, some in by_arm.items():
        try:
            built = build(remembering(some[0].config, study.remember), draw=False)
        except ValueError as error:
            raise ValueError(f"the runs of {arm} cannot be begun: {error}") from error
        recipe = built.program.recipe
        flops = step_flops(built, built.plans[-1], recipe, built.source)
        params, _ = shapes(built.model, *built.inputs)
        kept = built.plans[-1].totals(recipe.optimizer.slots)["optimizer_bytes"]
        found.append(
            Program(
                arms=(arm,),
                runs=len(some),
                how=ONE_BY_ONE,
                steps=built.program.timeline.steps,
                step_flops=flops if math.isfinite(flops) else None,
                bytes=kept + sum(value.size * value.dtype.itemsize for value in params.values()),
                shared_bytes=0,
            )
        )
    return found


def _speed(size: int = 1024, times: int = 4) -> float:
    """FLOPs a second of a matrix product in float32 on this device, measured."""
    a = jnp.ones((size, size), jnp.float32)
    product = jax.jit(lambda x: x @ a)
    x = product(a).block_until_ready()
    began = time.perf_counter()
    for _ in range(times):
        x = product(x * 0 + 1)
    x.block_until_ready()
    return 2 * size**3 * times / (time.perf_counter() - began)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
