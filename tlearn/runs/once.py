"""Features once: a run whose body is frozen computes its features a single time."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlearn.bodies.cached import Cached
from tlearn.data import Batches
from tlearn.data.batches import Batch
from tlearn.model import Model, variables
from tlearn.params import digest
from tlearn.runs.config import RunConfig
from tlearn.train.loop import Program
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
    model: Model, params: Any, collections: Any, batches: Batches, folder: Path, views: int
) -> FeatureStore:
    """Runs the body once over the training pictures, or reopens what an earlier process stored.

    Args:
        model: Body and head.
        params: All parameters by path.
        collections: Statistics by path.
        batches: The training batches; view v is what epoch v draws.
        folder: The run's folder.
        views: Draws to store where the pictures are augmented; 0 for none.
    """
    body = {path: value for path, value in params.items() if path.startswith("body/")}
    tree = variables(params, collections)

    @jax.jit
    def pooled(image: Any) -> Any:
        features: Any = model.apply(tree, image, train=False, method="features")
        return features.pooled

    return extract(
        lambda batch: pooled(jnp.array(batch["image"])),
        batches,
        folder / FOLDER,
        examples=len(batches.dataset),
        weights=digest({**body, **collections}),
        preprocessing=repr(batches.pipeline),
        data=batches.dataset.digest,
        views=views or None,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureBatches(Batches):
    """The batches of pictures, features in place of pictures; same order, mask and padding."""

    store: FeatureStore

    def at(self, step: int) -> Batch:
        """Makes the batch of a step; the same one every time."""
        epoch, position = divmod(step, math.ceil(len(self.dataset) / self.batch_size))
        begin = position * self.batch_size
        chosen = self.order(epoch)[begin : begin + self.batch_size]
        rows = np.arange(self.batch_size)
        taken = chosen[rows % len(chosen)]
        labels = self.store.labels
        if labels is None:
            raise ValueError(f"the features in {self.store.folder} have no labels")
        real = rows < len(chosen)
        return {
            "features": self.store.rows(taken, epoch % self.store.features.shape[0]),
            "label": np.asarray(labels)[taken].astype(np.int32),
            "mask": real.astype(np.float32),
            "index": np.where(real, taken, -1).astype(np.int64),
        }


def feature_batches(batches: Batches, store: FeatureStore) -> FeatureBatches:
    """The feature batches that stand for batches of pictures."""
    return FeatureBatches(
        batches.dataset,
        batches.pipeline,
        batches.batch_size,
        seed=batches.seed,
        shuffle=batches.shuffle,
        store=store,
    )
