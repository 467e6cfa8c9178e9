"""What a whole run costs, counted from shapes: data, steps, FLOPs, bytes, hours."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tlearn.model import shapes
from tlearn.runs.build import Built
from tlearn.transfer.optimizer import Optimizer
from tlearn.transfer.plan import Plan

USED = 0.4
"""Share of a device's peak that is reached; published trainings of BERT reach 0.26 to 0.45."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Costs:
    """The costs of a run.

    Attributes:
        examples: Examples of an epoch.
        classes: Outputs that they are told apart by; 0 where that is no number of classes.
        inputs: What the body takes of an example, as ``name [shape]``.
        batch_size: Examples of a step.
        batch_bytes: What a batch takes.
        steps_per_epoch: Steps of an epoch.
        steps: Steps of the run.
        updates: Its optimizer updates.
        parameters: Numbers that the model has.
        trained: Of these, what the last stage trains.
        optimizer_bytes: What the optimizer keeps in the last stage.
        step_flops: FLOPs of a step in each stage.
        flops: FLOPs of all steps, and of features once; evaluations are not counted.
        once: FLOPs of features that are computed once, before the first step.
    """

    examples: int
    classes: int
    inputs: tuple[str, ...]
    batch_size: int
    batch_bytes: int
    steps_per_epoch: int
    steps: int
    updates: int
    parameters: int
    trained: int
    optimizer_bytes: int
    step_flops: tuple[float, ...]
    flops: float
    once: float = 0.0

    def hours(self, rate: float | int, used: float | int = USED) -> float:
        """Hours of one device.

        Args:
            rate: The device's peak, FLOPs a second.
            used: Share of the peak that is reached.

        Raises:
            ValueError: If the rate is not above 0, or the share not in (0, 1].
        """
        if not 0 < rate < math.inf or not 0 < used <= 1:
            raise ValueError(
                f"{rate:g} FLOP/s used to {used:.0%}: the rate must be above 0, as in 1e14, and "
                "the share above 0 and at most 1, as in 0.4"
            )
        return self.flops / rate / used / 3600

    def __str__(self) -> str:
        classes = f" of {self.classes:,} classes" if self.classes else ""
        return "\n".join(
            (
                f"the whole run: {self.examples:,} examples{classes} an epoch, "
                f"{self.steps_per_epoch:,} steps an epoch, {self.steps:,} steps, "
                f"{self.updates:,} updates",
                f"a batch: {self.batch_size:,} of {', '.join(self.inputs)}; "
                f"{_bytes(self.batch_bytes)}",
                f"parameters: {self.parameters:,}, {self.trained:,} of them trained; weights "
                f"{_bytes(4 * self.parameters)}, gradients {_bytes(4 * self.trained)}, optimizer "
                f"{_bytes(self.optimizer_bytes)}, activations not counted",
                f"FLOPs: {self.step_flops[-1]:.4g} a step"
                + (" of the last stage" if len(self.step_flops) > 1 else "")
                + f", {self.flops:.4g} in all"
                + (f", {self.once:.4g} of them once, for the features" if self.once else "")
                + " (a multiply-add is two)",
            )
        )


def costs(built: Built, step_flops: Callable[[Plan], float], once: float = 0.0) -> Costs:
    """Adds up what a run costs.

    Args:
        built: The run, before its first step.
        step_flops: Counts the FLOPs of a step under a plan.
        once: FLOPs of features that are computed once.
    """
    line, train = built.program.timeline, built.config.train
    params, _ = shapes(built.model, *built.inputs)
    counts = tuple(step_flops(rows) for rows in built.plans)
    ends = (*line.starts[1:], line.steps)
    batches = built.task.train_batches(train.batch_size, train.seed)
    named = built.task.label_names
    example = built.task.example
    last = built.plans[-1]
    return Costs(
        examples=getattr(batches, "examples_per_epoch", None) or len(batches.dataset),
        classes=len(named),
        inputs=tuple(
            f"{name} {list(example[name].shape[1:])} {example[name].dtype}"
            for name in built.model.body.inputs
        ),
        batch_size=train.batch_size,
        batch_bytes=train.batch_size * sum(map(_size, example.values())),
        steps_per_epoch=line.steps_per_epoch,
        steps=line.steps,
        updates=line.steps // train.accumulate,
        parameters=sum(math.prod(value.shape) for value in params.values()),
        trained=last.totals()["trained"],
        optimizer_bytes=optimizer_bytes(built.program.recipe.optimizer, last),
        step_flops=counts,
        flops=once
        + sum(
            (end - start) * each for start, end, each in zip(line.starts, ends, counts, strict=True)
        ),
        once=once,
    )


def optimizer_bytes(optimizer: Optimizer, rows: Plan) -> int:
    """What an optimizer keeps of the parameters that train, its counters aside."""
    trained = {
        row.path: jax.ShapeDtypeStruct(row.shape, jnp.float32) for row in rows.rows if row.trainable
    }
    slots = jax.eval_shape(optimizer.direction().init, trained)
    return sum(
        _size(leaf) for leaf in jax.tree.leaves(slots) if leaf.ndim or leaf.dtype.kind == "f"
    )


def _size(value: Any) -> int:
    return math.prod(value.shape) * jnp.dtype(value.dtype).itemsize


def _bytes(number: int) -> str:
    step = min(int(math.log(max(number, 1), 1024)), 3)
    return f"{number / 1024**step:,.4g} {('B', 'KiB', 'MiB', 'GiB')[step]}"
