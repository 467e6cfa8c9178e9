"""Evaluation: every example once, sums and counts, never a mean of batch means."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array

from tlearn.model import Model, variables
from tlearn.train.loop import means_of
from tlearn.train.step import COUNTED, Objective, inputs, reading

EvalStep = Callable[..., Any]
Kept = Callable[[Any, Mapping[str, Any]], Array]


@runtime_checkable
class BatchesLike(Protocol):
    """Batches as a pure function of the step (`tlearn.data.Batches`)."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass."""
        ...

    def at(self, step: int) -> dict[str, np.ndarray]:
        """The batch of a step."""
        ...


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        metrics: Means over examples: ``loss``, ``accuracy``, ...
        count: Number of examples.
        predictions: Outputs of every example in the order of the dataset, ``[n k]``; where those
            would fill the memory, what the objective keeps of them.
        labels: Their labels; zeros where there are none.
    """

    metrics: dict[str, float]
    count: int
    predictions: np.ndarray
    labels: np.ndarray

    def __str__(self) -> str:
        parts = [f"{name} {value:.4f}" for name, value in self.metrics.items()]
        return f"{', '.join(parts)} over {self.count} examples"


def make_eval_step(model: Model, objective: Objective, kept: Kept | None = None) -> EvalStep:
    """Builds the jitted evaluation step: ``(params, statistics, batch, carry) -> ...``.

    It returns the sums, what is kept of the outputs, and what a recurrent body hands on.

    Args:
        model: The model.
        objective: What is measured.
        kept: Takes what is kept of each row out of (outputs, batch); None keeps the outputs.
    """

    @jax.jit
    def step(params: Any, collections: Any, batch: Any, carry: Any = None) -> Any:
        found: Any = model.apply(
            variables(params, collections),
            *inputs(model, batch),
            train=False,
            method="both",
            **reading(model, batch, carry),
        )
        features, outputs = found
        rows = outputs if kept is None else kept(outputs, batch)
        return objective(outputs, batch), rows, None if carry is None else features.carry

    return step


def evaluate(
    step: EvalStep,
    params: Mapping[str, Any],
    collections: Mapping[str, Any],
    batches: BatchesLike,
    *,
    expected: int,
    place: Callable[[dict[str, np.ndarray]], Any] = dict,
    unit: str = "examples",
    carry: Any = None,
) -> Evaluation:
    """Evaluates a model on one pass of padded, masked batches.

    Args:
        step: From `make_eval_step`.
        params: All parameters by path.
        collections: BatchNorm statistics by path.
        batches: One pass, each example once, padding masked; ``index`` [b] tells which.
        expected: Number of examples there are.
        place: Puts a host batch on the device or mesh.
        unit: What the objective counts: ``examples``, or ``targets`` of which a row has any number.
        carry: A recurrent body's state at a beginning, where rows go on from batch to batch.

    Raises:
        RuntimeError: If not every example was counted exactly once.
    """
    totals: dict[str, float] = {}
    outputs, labels, rows = [], [], []
    for i in range(batches.steps_per_epoch):
        batch = batches.at(i)
        sums, found, carry = step(params, collections, place(batch), carry)
        counts = {name + COUNTED: value for name, value in sums.counts.items()}
        read = {"loss": sums.loss, "count": sums.count, **sums.metrics, **counts}
        for name, value in jax.device_get(read).items():
            totals[name] = totals.get(name, 0.0) + float(value)
        real = np.asarray(batch["mask"]) > 0
        outputs.append(np.asarray(found)[real])
        labels.append(
            np.asarray(batch["label"])[real] if "label" in batch else np.zeros(real.sum())
        )
        rows.append(np.asarray(batch["index"])[real])
    order = np.argsort(np.concatenate(rows), kind="stable")
    seen, times = np.unique(np.concatenate(rows), return_counts=True)
    count = totals["count"] if unit == "examples" else len(order)
    if count != expected or not np.array_equal(np.repeat(seen, times), np.arange(expected)):
        dropped = np.setdiff1d(np.arange(expected), seen)
        raise RuntimeError(
            f"the evaluation counted {count:g} examples, the dataset has {expected}: the batches "
            f"drop {dropped[:10].tolist()} and repeat {seen[times > 1][:10].tolist()}"
        )
    return Evaluation(
        metrics=means_of(totals),
        count=expected,
        predictions=np.concatenate(outputs)[order],
        labels=np.concatenate(labels)[order],
    )
