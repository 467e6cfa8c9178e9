"""Features once: what a run's frozen bottom puts out is computed a single time."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlearn.bodies.tail import below as layers_below
from tlearn.bodies.tail import tail_problems
from tlearn.data import Dataset
from tlearn.model import Model
from tlearn.params import digest
from tlearn.runs.config import RunConfig
from tlearn.studies.boundary import HEAD, activations, boundary, tail_model
from tlearn.tasks import TaskBatches
from tlearn.train.loop import Program
from tlearn.transfer.feature_store import FeatureStore
from tlearn.transfer.features import extract
from tlearn.transfer.plan import Plan

FOLDER = "features"
Shape = jax.ShapeDtypeStruct


def check_once(config: RunConfig, plans: tuple[Plan, ...]) -> None:
    """Refuses to compute features once where that would not be the training that was asked for.

    Raises:
        ValueError: Naming every reason.
    """
    problems = []
    for number, plan in enumerate(plans):
        if plan.frozen_depth:
            continue
        first, mode = plan.modes[0]
        stage = f" (in stage {number})" if len(plans) > 1 else ""
        problems.append(
            f"the body trains from {first} on{stage}: freeze the bottom from start to end, with "
            "freeze=bottom:K or body, and no unfreeze that reaches it"
            if mode == "train"
            else f"{first} is frozen and runs in mode {mode}{stage}: leave modes out"
        )
        break
    if config.objective.objective != "labels":
        problems.append(
            f"objective={config.objective.objective} reads a corpus, whose rows have no features "
            "of their own: objective=labels"
        )
    still = not any(path.startswith("body/") for plan in plans for path in plan.trainable)
    if still and config.strategy.pull_strength > 0:
        problems.append("a frozen body cannot be pulled: pull_strength 0")
    if config.data.mix != "none":
        problems.append(f"mix={config.data.mix} mixes pictures anew in every batch: mix=none")
    if config.data.augment != "none" and config.train.views < 1:
        problems.append(
            f"augment={config.data.augment} draws anew in every epoch: store several draws with "
            "views=K, or augment=none"
        )
    if problems:
        raise ValueError("features cannot be computed once:\n  " + "\n  ".join(problems))


def first_running(model: Model, plans: tuple[Plan, ...]) -> str:
    """The first layer that runs in any stage: what enters it is computed once.

    Args:
        model: Body and head.
        plans: The stages; `check_once` has passed them.

    Raises:
        ValueError: If the body cannot start there.
    """
    lowest = min(plans, key=lambda plan: plan.frozen_depth)
    start = boundary(model, lowest)
    if start is None:
        names = model.body.layer_names
        problems = tail_problems(model.body, names[min(lowest.frozen_depth, len(names) - 1)])
        raise ValueError("features cannot be computed once:\n  " + "\n  ".join(problems))
    return start


def once_program(program: Program) -> Program:
    """The same program over features: its steps never see what is frozen at the bottom.

    Raises:
        ValueError: If the body cannot start above its input.
    """
    model = tail_model(program.model, first_running(program.model, program.plans))
    return Program(model, program.plans, program.objective, program.recipe, program.timeline)


def entering(
    model: Model, start: str, inputs: Sequence[Shape], params: Mapping[str, Any], collections: Any
) -> Shape:
    """Shape of what enters a layer, for a batch of inputs; nothing is computed.

    Args:
        model: Body and head.
        start: The layer, as `first_running` names it.
        inputs: The body's inputs.
        params: Parameters by path, or their shapes.
        collections: Statistics by path, or their shapes.
    """
    shape = functools.partial(jax.tree.map, lambda value: Shape(value.shape, value.dtype))
    static: Any = model  # Linen modules are hashable, which their type does not say.
    return jax.eval_shape(
        lambda *given: activations(static, start, *given),
        shape(dict(params)),
        shape(dict(collections)),
        shape(list(inputs)),
    )


def widest(inputs: Sequence[Shape], batches: Any) -> tuple[Shape, ...]:
    """The body's inputs of one example, of texts as wide as their widest batch."""
    width = max(getattr(batches, "widths", None) or (0,))
    return tuple(
        Shape((1, width), one.dtype) if width and len(one.shape) == 2 else one for one in inputs
    )


def stored_size(one: Shape, start: str, examples: int, views: int) -> str:
    """Says what features take on disk, before any is computed."""
    what = "the pooled features" if start == HEAD else f"what enters {start}"
    copies = f" in {views} draws" if views > 1 else ""
    shape = "×".join(map(str, one.shape[1:]))
    size = max(views, 1) * examples * math.prod(one.shape) * one.dtype.itemsize
    return (
        f"features once: {what} is stored in the run's folder, {examples:,} examples{copies} × "
        f"{shape} numbers of {one.dtype}: {size / 2**20:,.4g} MiB"
    )


def store_features(
    model: Model,
    start: str,
    params: Mapping[str, Any],
    collections: Mapping[str, Any],
    batches: TaskBatches,
    inputs: Sequence[Shape],
    folder: Path,
    views: int,
) -> FeatureStore:
    """Runs what is frozen once over the training examples, or reopens what was stored before.

    Args:
        model: Body and head.
        start: The first layer that runs in a step, as `first_running` names it.
        params: All parameters by path.
        collections: Statistics by path.
        batches: The training batches; view v is what epoch v draws.
        inputs: Shapes of the body's inputs for one example.
        folder: The run's folder.
        views: Draws to store where the examples are augmented; 0 for none.

    Raises:
        StoreError: If the features cannot be stored.
        OSError: If they do not fit onto the disk; nothing was computed but the first batch.
    """
    below = model.body.layer_names if start == HEAD else layers_below(model.body, start)
    under = tuple(f"body/{name}/" for name in below)
    still, statistics = (
        {path: value for path, value in flat.items() if path.startswith(under)}
        for flat in (params, collections)
    )
    body, around = (
        {path: value for path, value in flat.items() if path.startswith("body/")}
        for flat in (params, collections)
    )
    one = entering(model, start, widest(inputs, batches), params, collections)
    static: Any = model
    return extract(
        lambda batch: activations(
            static, start, body, around, [jnp.array(batch[name]) for name in model.body.inputs]
        ),
        batches,
        folder / FOLDER,
        examples=len(batches.dataset),
        weights=digest({**still, **statistics}),
        preprocessing=batches.preparation,
        data=batches.dataset.digest,
        views=views or None,
        dtype="bfloat16" if one.dtype == jnp.bfloat16 else "float32",
        output="pooled" if start == HEAD else below[-1],
        shape=one.shape[1:],
    )


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureBatches:
    """The batches of a task, features in place of examples; same order, mask and padding.

    Attributes:
        batches: The task's own.
        store: Features of all its examples.
        beside: What else of a batch the upper layers read, by name: which tokens are real.
    """

    batches: TaskBatches
    store: FeatureStore
    beside: tuple[str, ...] = ()
    random = False

    @property
    def dataset(self) -> Dataset:
        """Where the examples come from."""
        return self.batches.dataset

    @property
    def seed(self) -> int:
        """Seed of the order."""
        return self.batches.seed

    @property
    def preparation(self) -> str:
        """What was done to an example."""
        return self.batches.preparation

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass."""
        return self.batches.steps_per_epoch

    def rows(self, step: int) -> np.ndarray:
        """Places of a batch's examples in the dataset, -1 where a row only fills it."""
        return self.batches.rows(step)

    def at(self, step: int) -> dict[str, np.ndarray]:
        """Makes the batch of a step; the same one every time."""
        index = self.rows(step)
        labels = self.store.labels
        if labels is None:
            raise ValueError(f"the features in {self.store.folder} have no labels")
        # A row that fills the batch repeats its first ones, as the task's own batches do.
        real = index[index >= 0]
        taken = np.where(index >= 0, index, real[np.arange(len(index)) % len(real)])
        view = (step // self.steps_per_epoch) % self.store.features.shape[0]
        found = np.asarray(labels)[taken]
        whole = np.issubdtype(found.dtype, np.integer)
        features = np.asarray(self.store.features[view, taken])
        read: dict[str, np.ndarray] = {}
        if self.beside:
            batch = self.batches.at(step)
            read = {name: batch[name] for name in self.beside}
            features = features[:, : read[self.beside[0]].shape[1]]
        return {
            "features": features,
            **read,
            "label": found.astype(np.int32 if whole else np.float32),
            "mask": (index >= 0).astype(np.float32),
            "index": index,
        }
