"""Tasks whose data is not here: shapes and counts alone, for what a training would cost."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlearn.bodies.facts import ImageFacts
from tlearn.data import Dataset
from tlearn.data.augmentation import Augmentation
from tlearn.data.planned import PlannedExamples, read_planned, refuse_planned
from tlearn.objectives import Classification, Sums
from tlearn.tasks.carving import read_share
from tlearn.tasks.framing import Framing
from tlearn.tasks.image_classification import ImageTask, pipelines
from tlearn.tasks.task import Labelled


@dataclasses.dataclass(frozen=True, eq=False)
class PlannedBatches:
    """Batches that are counted and never made.

    Attributes:
        dataset: What an epoch visits.
        batch_size: Rows of a batch.
        examples_per_epoch: Rows of an epoch.
        seed: Of an order nobody will see.
        preparation: What would be done to an example.
    """

    dataset: Any
    batch_size: int
    examples_per_epoch: int
    seed: int = 0
    preparation: str = "planned"
    random: bool = False

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass."""
        return math.ceil(self.examples_per_epoch / self.batch_size)

    def at(self, step: int) -> dict[str, np.ndarray]:
        """Refuses: there is nothing to make a batch of."""
        refuse_planned(self.dataset)

    def rows(self, step: int) -> np.ndarray:
        """Refuses: there is nothing to make a batch of."""
        refuse_planned(self.dataset)


def planned_images(
    spec: str,
    *,
    facts: ImageFacts | None = None,
    validation: str = "0%",
    classes: tuple[str, ...] = (),
    examples_per_class: int = 0,
    examples: int = 0,
    augment: Augmentation | None = None,
    framing: Framing | None = None,
    smoothing: float = 0.0,
) -> ImageTask:
    """Makes a task of pictures that are not here; see `image_classification`.

    Args:
        spec: ``planned:EXAMPLESxCLASSES``.
        facts: How the body's pictures were prepared; None for a new body, which sees colours.
        validation: Share that would be carved from the examples.
        classes: Names of the classes.
        examples_per_class: Training pictures per class; 0 for all.
        examples: Training pictures in all; 0 for all.
        augment: Random changes.
        framing: What else is asked of size, crop and scale.
        smoothing: Label smoothing.

    Raises:
        ValueError: If the name cannot be read, or nothing says how large pictures are.
    """
    train = _planned(spec, validation, classes, examples_per_class, examples)
    framing = framing or Framing()
    side = framing.size or (facts.size if facts else 0)
    if not side:
        raise ValueError(f"{spec}: nothing says how large pictures are; name it by --size")
    channels = facts.channels if facts else 3
    facts = framing.facts(facts, (side, side, channels))
    changes = augment or Augmentation()
    learned, evaluated = pipelines(facts, changes)
    return ImageTask(
        train=train,
        validation=None,
        test=None,
        facts=facts,
        train_pipeline=learned,
        eval_pipeline=evaluated,
        objective=Classification(len(train.label_names), smoothing),
        mix=changes.mixes,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class PlannedTexts(Labelled):
    """Texts with labels that are not here; every batch is as wide as the longest text may be.

    Attributes:
        train: The planned examples.
        facts: How texts would be made numbers.
        goal: The loss.
        width: Tokens of a text.
    """

    train: Dataset
    facts: Any
    goal: Classification
    width: int

    validation: Dataset | None = None
    test: Dataset | None = None

    @property
    def files(self) -> Mapping[str, bytes]:
        """Files that travel with the weights: none are here."""
        return {}

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.train.label_names)

    @property
    def outputs(self) -> int:
        """How many outputs the head needs."""
        return len(self.label_names)

    @property
    def digests(self) -> dict[str, str]:
        """Fingerprint of the numbers."""
        return {"train": self.train.digest}

    @property
    def example(self) -> dict[str, jax.ShapeDtypeStruct]:
        """A batch of one, as shapes."""
        tokens = jax.ShapeDtypeStruct((1, self.width), jnp.int32)
        return {
            "tokens": tokens,
            "segments": tokens,
            "types": tokens,
            "label": jax.ShapeDtypeStruct((1,), jnp.int32),
            "mask": jax.ShapeDtypeStruct((1,), jnp.float32),
        }

    def objective(self, outputs: Any, batch: Mapping[str, Any], /) -> Sums:
        """Sums of loss and metrics over a batch."""
        return self.goal(outputs, batch)

    def metrics(self, outputs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Figures of all examples at once: none."""
        return {}

    def train_batches(self, batch_size: int, seed: int) -> PlannedBatches:
        """Batches to count."""
        return PlannedBatches(self.train, batch_size, len(self.train), seed)

    def eval_batches(self, dataset: Dataset, batch_size: int) -> PlannedBatches:
        """Batches to count."""
        return PlannedBatches(dataset, batch_size, len(dataset))

    def __str__(self) -> str:
        return (
            f"{self.outputs} classes; train: {len(self.train)} texts of at most {self.width} "
            "tokens; batches of texts of their real lengths cost less"
        )


def planned_texts(
    spec: str,
    *,
    facts: Any,
    width: int,
    validation: str = "0%",
    classes: tuple[str, ...] = (),
    examples_per_class: int = 0,
    examples: int = 0,
    smoothing: float = 0.0,
) -> PlannedTexts:
    """Makes a task of texts that are not here; see `text_classification`.

    Args:
        spec: ``planned:EXAMPLESxCLASSES``.
        facts: How texts would be made numbers.
        width: Tokens of a text.
        validation: Share that would be carved from the examples.
        classes: Names of the classes.
        examples_per_class: Training texts per class; 0 for all.
        examples: Training texts in all; 0 for all.
        smoothing: Label smoothing.

    Raises:
        ValueError: If the name cannot be read.
    """
    train = _planned(spec, validation, classes, examples_per_class, examples)
    return PlannedTexts(train, facts, Classification(len(train.label_names), smoothing), width)


def _planned(
    spec: str, validation: str, classes: tuple[str, ...], examples_per_class: int, examples: int
) -> PlannedExamples:
    """What would be left to learn from."""
    planned = read_planned(spec)
    if not planned.classes:
        raise ValueError(
            f"{spec!r} is a corpus; examples with labels are planned:{planned.count}xCLASSES"
        )
    names = classes or tuple(f"class_{number}" for number in range(planned.classes))
    count = planned.count * len(names) // planned.classes
    count -= round(count * (read_share(validation) or 0))
    if examples_per_class:
        count = min(count, examples_per_class * len(names))
    if examples:
        count = min(count, examples)
    return PlannedExamples(count, names)
