"""Features once: a run whose body is frozen computes its features a single time."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlearn.bodies.cached import Cached
from tlearn.data import Dataset
from tlearn.model import Model, variables
from tlearn.params import digest
from tlearn.runs.config import RunConfig
from tlearn.tasks import TaskBatches
from tlearn.train.loop import Program
from tlearn.train.step import inputs
from tlearn.transfer.feature_store import FeatureStore
from tlearn.transfer.features import extract
from tlearn.transfer.plan import Plan

FOLDER = "features"


def check_once(config: RunConfig, plans: tuple[Plan, ...]) -> None:
    """Refuses to compute features once where that would not be the training that was asked for.

    Raises:
        ValueError: Naming every reason.
    """
    problems = []
    if any(path.startswith("body/") for plan in plans for path in plan.trainable):
        problems.append("the body trains: say freeze=body (and no unfreeze)")
    if any(mode != "eval" for plan in plans for layer, mode in plan.modes if layer != "head"):
        problems.append("a layer of the body runs in training mode: leave modes out")
    if config.strategy.pull_strength > 0:
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


def once_program(program: Program) -> Program:
    """The same program over features: its steps never see the body."""
    model = Model(Cached(program.model.body.feature_width), program.model.head)
    return Program(model, program.plans, program.objective, program.recipe, program.timeline)


def store_features(
    model: Model, params: Any, collections: Any, batches: TaskBatches, folder: Path, views: int
) -> FeatureStore:
    """Runs the body once over the training examples, or reopens what an earlier process stored.

    Args:
        model: Body and head.
        params: All parameters by path.
        collections: Statistics by path.
        batches: The training batches; view v is what epoch v draws.
        folder: The run's folder.
        views: Draws to store where the examples are augmented; 0 for none.
    """
    body = {path: value for path, value in params.items() if path.startswith("body/")}
    tree = variables(params, collections)

    @jax.jit
    def pooled(*inputs: Any) -> Any:
        features: Any = model.apply(tree, *inputs, train=False, method="features")
        return features.pooled

    return extract(
        lambda batch: pooled(*map(jnp.array, inputs(model, batch))),
        batches,
        folder / FOLDER,
        examples=len(batches.dataset),
        weights=digest({**body, **collections}),
        preprocessing=batches.preparation,
        data=batches.dataset.digest,
        views=views or None,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureBatches:
    """The batches of a task, features in place of examples; same order, mask and padding.

    Attributes:
        batches: The task's own.
        store: Features of all its examples.
    """

    batches: TaskBatches
    store: FeatureStore
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
        return {
            "features": self.store.rows(taken, view),
            "label": found.astype(np.int32 if whole else np.float32),
            "mask": (index >= 0).astype(np.float32),
            "index": index,
        }
