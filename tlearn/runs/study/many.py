"""Runs that share a program: trained together, looked at on the way, judged at the end."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from tlearn.runs.after_step import EVAL_BATCH
from tlearn.runs.config import RunConfig
from tlearn.runs.finish import pull_in_all
from tlearn.runs.study.gathering import gather
from tlearn.runs.study.group import Group, stack_batches
from tlearn.runs.study.looks import distances, similarity, source_body
from tlearn.runs.study.memory import LabelMemory, TextMemory, memory_of
from tlearn.runs.study.metric import refuse_unknown
from tlearn.runs.study.plans import layer_lines
from tlearn.studies.block import (
    Block,
    Compiler,
    How,
    compile_train,
    judge_block,
    memory_limit,
    nbytes,
    needed_bytes,
    train_block,
)
from tlearn.studies.contents import Cost
from tlearn.train.loop import means_of
from tlearn.train.mesh import AXIS

Say = Callable[[str], None]
ROOM = 2**28
"""Bytes of training batches that are laid out at once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Looks:
    """What is looked at beside the training.

    Attributes:
        metric: What the curve is of.
        points: Looks at the validation part along a run.
        measures: ``distance``, ``cka``.
        remember: A dataset or corpus of the source's own task; empty for none.
    """

    metric: str
    points: int = 4
    measures: tuple[str, ...] = ()
    remember: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one run; the fields are those of a `Record`."""

    error: str
    metrics: Mapping[str, float]
    validation: Mapping[str, float]
    at: tuple[int, ...]
    curve: tuple[float, ...]
    distance: Mapping[str, float]
    cka: Mapping[str, float]
    remembered: Mapping[str, float]
    remembered_metric: str = ""
    pull: float | None
    cost: Cost
    plan: str
    layers: tuple[str, ...]
    """What its last stage's plan does, by layer."""
    right: np.ndarray | None
    """1 for every reported example that it got right; None where that means nothing."""


def run_many(
    configs: Sequence[RunConfig],
    looks: Looks,
    *,
    how: str = "auto",
    mesh: Any = None,
    compiler: Compiler | None = None,
    say: Say = lambda text: None,
) -> list[Outcome]:
    """Trains runs that share a program, in blocks that fit into memory.

    Args:
        configs: Of the runs (`tlearn.runs.study.keys.groups` says which go together).
        looks: What is looked at.
        how: ``vmap``, ``map``, or ``auto``.
        mesh: Devices to spread the runs over; None for one.
        compiler: Keeps programs and counts compilations.
        say: Told what is going on.

    Raises:
        ValueError: If anything does not fit; nothing was trained yet.
    """
    return run_group(gather(configs, say), looks, how=how, mesh=mesh, compiler=compiler, say=say)


def run_group(
    group: Group,
    looks: Looks,
    runs: Sequence[int] | None = None,
    *,
    how: str = "auto",
    mesh: Any = None,
    compiler: Compiler | None = None,
    say: Say = lambda text: None,
) -> list[Outcome]:
    """The same for runs that were made ready before, or for some of them.

    Args:
        group: The runs.
        looks: What is looked at.
        runs: Which of them; all if None.
        how: As in `run_many`.
        mesh: As in `run_many`.
        compiler: As in `run_many`.
        say: As in `run_many`.
    """
    chosen = list(range(len(group.configs)) if runs is None else runs)
    memory = memory_of(group, looks.remember, looks.metric)
    compiler = compiler or Compiler()
    means = chosen_how(how, group)
    devices = 1 if mesh is None else mesh.shape[AXIS]
    room = _room(group, looks.points)
    size = _block_size(group, chosen, compiler, room, means, mesh)
    outcomes: list[Outcome] = []
    for first in range(0, len(chosen), size):
        some = chosen[first : first + size]
        # Whole devices, and blocks of one size: the last run is repeated, and dropped again.
        whole = size if len(chosen) > size else -(-len(some) // devices) * devices
        if len(chosen) > size:
            say(f"runs {first + 1} to {first + len(some)} of {len(chosen)}")
        outcomes += _run_block(group, some, whole, looks, memory, room, means, mesh, compiler)
    return outcomes


def chosen_how(how: str, group: Group) -> How:
    """How a device goes through runs best: all at once, or one after another.

    A CPU runs convolutions of many runs at once far slower than one after another; matrix products
    of small layers it does not.
    """
    if how in ("map", "vmap"):
        return "map" if how == "map" else "vmap"
    kernels = (row.shape for row in group.plans[0][0].rows if row.path in _moving(group))
    convolves = any(len(shape) == 4 for shape in kernels)
    return "map" if jax.default_backend() == "cpu" and convolves else "vmap"


def _moving(group: Group) -> frozenset[str]:
    paths = group.lines[0].feed.paths
    return frozenset(group.weights.shapes) if paths is None else paths


def _block_size(
    group: Group, runs: Sequence[int], compiler: Compiler, room: int, how: How, mesh: Any
) -> int:
    """How many runs fit into memory at once, by what the compiled program needs."""
    devices = 1 if mesh is None else mesh.shape[AXIS]
    state, limit = group.shapes([0]).states, memory_limit()
    # What a run holds whatever the program does: its state comes in, and goes out.
    own = 2 * nbytes(state)
    size = max(devices, min(len(runs), limit // max(own, 1) * devices))
    while size > devices and (how == "vmap" or mesh is not None):
        whole = -(-size // devices) * devices
        block = group.shapes(runs[:size], repeat=whole - size)
        batches = group.batches(0, 1, room, block.lines)
        made = compile_train(
            compiler, group.steps[0], block, group.source, batches, how=how, mesh=mesh
        )
        need = needed_bytes(made)
        if need <= limit:
            break
        size = max(devices, min(size - 1, int(size * limit / need)) // devices * devices)
    return size


def _room(group: Group, points: int) -> int:
    """Steps whose batches are laid out at once: as far as the next look, if there is room."""
    marks = _marks(group, points)
    longest = max(b - a for a, b in zip([0, *marks], marks, strict=False))
    return max(1, min(longest, ROOM // max(group.batch_bytes, 1)))


def _marks(group: Group, points: int) -> list[int]:
    """Steps after which a look is due: equally far apart, the last at the end."""
    steps = group.timeline.steps
    return sorted({math.ceil(steps * (i + 1) / points) for i in range(min(points, steps))})


def _run_block(
    group: Group,
    runs: list[int],
    size: int,
    looks: Looks,
    memory: LabelMemory | TextMemory | None,
    room: int,
    how: How,
    mesh: Any,
    compiler: Compiler,
) -> list[Outcome]:
    began = time.perf_counter()
    block = group.block(runs, repeat=size - len(runs), mesh=mesh)
    starts, steps = group.timeline.starts, group.timeline.steps
    marks = _marks(group, looks.points)
    finite = np.zeros(size)
    curve: list[np.ndarray] = []
    step = 0
    bounds = sorted({*marks, *starts[1:], steps})
    validation = _part(group, "validation")
    last: list[dict[str, float]] = [{} for _ in range(size)]
    while step < steps:
        stage = group.timeline.stage(step)
        if step in starts[1:]:
            block = group.restage(block, runs, stage)
        count = min(room, next(b for b in bounds if b > step) - step)
        block, sums = train_block(
            compiler,
            group.steps[stage],
            block,
            group.source,
            group.batches(step, count, room, block.lines),
            count,
            how=how,
            mesh=mesh,
        )
        finite += sums["finite"]
        step += count
        if step in marks and validation is not None:
            last, _ = _judge(group, compiler, block, validation, how, mesh)
            refuse_unknown(looks.metric, last[0])
            curve.append(np.asarray([found[looks.metric] for found in last]))
    test = _part(group, "test")
    reported: list[dict[str, float]] = [{} for _ in range(size)]
    right = None
    if test is not None:
        reported, right = _judge(group, compiler, block, test, how, mesh)
    wall = (time.perf_counter() - began) / len(runs)
    wide = "cka" in looks.measures or (memory is not None and memory.reads_source)
    before = source_body(group, block, whole=wide) if wide or "distance" in looks.measures else {}
    distance = distances(group, block, before) if "distance" in looks.measures else {}
    cka = similarity(group, block, before) if "cka" in looks.measures else [{}] * size
    kept = [{}] * size if memory is None else memory(block, before, len(runs))
    del before
    every = group.configs[0].train.accumulate
    made = []
    for place, run in enumerate(runs):
        lost = steps - round(float(finite[place]))
        error = ""
        if lost:
            error = f"the loss or its gradient was not finite at step {steps - lost} of {steps}"
        elif not all(math.isfinite(v) for v in reported[place].values()):
            error = "its figures on the reported part are not finite"
        made.append(
            Outcome(
                error=error,
                metrics={} if error else reported[place],
                validation={} if error else last[place],
                at=tuple(-(-mark // every) for mark in marks) if curve else (),
                curve=tuple(float(look[place]) for look in curve),
                distance={layer: float(far[place]) for layer, far in distance.items()},
                cka=cka[place],
                remembered=kept[place],
                remembered_metric="" if memory is None else memory.metric,
                pull=pull_in_all(
                    group.configs[run], group.plans[run], group.timeline, group.optimizers[run]
                ),
                cost=_cost(group, run, wall),
                plan="; then ".join(rows.summary() for rows in group.plans[run]),
                layers=layer_lines(group.plans[run][-1]),
                right=None if right is None or error else right[place],
            )
        )
    return made


def _part(group: Group, name: str) -> list[Any] | None:
    """A part of every line's data; of one line where it is the same in all."""
    parts = [getattr(line.task, name) for line in group.lines]
    if any(part is None for part in parts):
        return None
    return parts[:1] if len({part.digest for part in parts}) == 1 else parts


def _judge(
    group: Group, compiler: Compiler, block: Block, parts: Sequence[Any], how: How, mesh: Any
) -> tuple[list[dict[str, float]], np.ndarray | None]:
    """Figures of every run on its line's part, each example once, and which it got right."""
    size = max(group.configs[0].train.batch_size, EVAL_BATCH)
    alike = len(parts) == 1
    own = parts if alike else [parts[line] for line in block.lines]
    if len({len(part) for part in own}) > 1:
        raise ValueError("the seeds' validation parts are not of one size; give a split for them")
    readers = group.lines[:1] if alike else [group.lines[line] for line in block.lines]
    lines = [line.judged(part, size) for line, part in zip(readers, own, strict=True)]
    totals: list[dict[str, float]] = [{} for _ in range(block.runs)]
    kept, labels, index = [], [], []
    for batches in zip(*lines, strict=True):
        names = [name for name in batches[0] if name != "index"]
        given = stack_batches(batches, names)
        sums, rows = judge_block(
            compiler,
            group.model,
            group.task.objective,
            group.task.kept,
            block,
            given,
            how=how,
            mesh=mesh,
        )
        for run in range(block.runs):
            for name, value in sums.items():
                totals[run][name] = totals[run].get(name, 0.0) + float(value[run])
        kept.append(rows)
        labels.append(np.stack([batch["label"] for batch in batches]))
        index.append(np.stack([batch["index"] for batch in batches]))
    outputs, answers = np.concatenate(kept, axis=1), np.concatenate(labels, axis=1)
    places = np.concatenate(index, axis=1)
    line = np.zeros_like(block.line) if alike else block.line
    found, right = [], []
    for run in range(block.runs):
        at = places[line[run]]
        order = np.argsort(at, kind="stable")[np.count_nonzero(at < 0) :]
        expected = len(own[line[run]])
        if totals[run]["count"] != expected or not np.array_equal(at[order], np.arange(expected)):
            raise RuntimeError(
                f"an evaluation counted {totals[run]['count']:g} of {expected} examples"
            )
        mine, truth = outputs[run][order], answers[line[run]][order]
        found.append(means_of(totals[run]) | group.task.metrics(mine, truth))
        if mine.ndim == 2 and np.issubdtype(truth.dtype, np.integer):
            right.append((mine.argmax(-1) == truth).astype(np.float32))
    return found, np.stack(right) if right else None


def _cost(group: Group, run: int, wall: float) -> Cost:
    totals = group.plans[run][-1].totals(group.recipe.optimizer.slots)
    return Cost(
        trained=totals["trained"],
        step_flops=group.step_flops,
        wall_s=round(wall, 3),
        optimizer_bytes=totals["optimizer_bytes"],
    )
