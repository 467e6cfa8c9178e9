"""Evaluation: every example once, sums and counts, never a mean of batch means."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array

from tlearn.model import Model, variables
from tlearn.train.step import Objective, inputs

EvalStep = Callable[[Mapping[str, Array], Mapping[str, Array], Mapping[str, Any]], Any]


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
        predictions: Outputs of every example in the order of the dataset, ``[n k]``.
        labels: Their labels.
    """

    metrics: dict[str, float]
    count: int
    predictions: np.ndarray
    labels: np.ndarray

    def __str__(self) -> str:
        parts = [f"{name} {value:.4f}" for name, value in self.metrics.items()]
        return f"{', '.join(parts)} over {self.count} examples"


def make_eval_step(model: Model, objective: Objective) -> EvalStep:
    """Builds the jitted evaluation step: ``(params, statistics, batch) -> (sums, outputs)``."""

    @jax.jit
    def step(params: Any, collections: Any, batch: Any) -> Any:
        logits: Any = model.apply(
            variables(params, collections), *inputs(model, batch), train=False
        )
        return objective(logits, batch), logits

    return step


def evaluate(
    step: EvalStep,
    params: Mapping[str, Any],
    collections: Mapping[str, Any],
    batches: BatchesLike,
    *,
    expected: int,
    place: Callable[[dict[str, np.ndarray]], Any] = dict,
) -> Evaluation:
    """Evaluates a model on one pass of padded, masked batches.

    Args:
        step: From `make_eval_step`.
        params: All parameters by path.
        collections: BatchNorm statistics by path.
        batches: One pass, each example once, padding masked; ``index`` [b] tells which.
        expected: Number of examples there are.
        place: Puts a host batch on the device or mesh.

    Raises:
        RuntimeError: If not every example was counted exactly once.
    """
    totals: dict[str, float] = {}
    count = 0.0
    outputs, labels, rows = [], [], []
    for i in range(batches.steps_per_epoch):
        batch = batches.at(i)
        sums, logits = step(params, collections, place(batch))
        counted, read = jax.device_get((sums.count, {"loss": sums.loss, **sums.metrics}))
        count += float(counted)
        for name, value in read.items():
            totals[name] = totals.get(name, 0.0) + float(value)
        real = np.asarray(batch["mask"]) > 0
        outputs.append(np.asarray(logits)[real])
        labels.append(np.asarray(batch["label"])[real])
        rows.append(np.asarray(batch["index"])[real])
    order = np.argsort(np.concatenate(rows), kind="stable")
    seen, times = np.unique(np.concatenate(rows), return_counts=True)
    if count != expected or not np.array_equal(np.repeat(seen, times), np.arange(expected)):
        dropped = np.setdiff1d(np.arange(expected), seen)
        raise RuntimeError(
            f"the evaluation counted {count:g} examples, the dataset has {expected}: the batches "
            f"drop {dropped[:10].tolist()} and repeat {seen[times > 1][:10].tolist()}"
        )
    return Evaluation(
        metrics={name: value / count for name, value in totals.items()},
        count=expected,
        predictions=np.concatenate(outputs)[order],
        labels=np.concatenate(labels)[order],
    )
