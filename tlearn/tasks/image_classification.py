"""Image classification: which pictures, prepared how, judged by what."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from tlearn.bodies.facts import ImageFacts
from tlearn.data import (
    Batches,
    CutMix,
    DataError,
    Dataset,
    Mixup,
    Pipeline,
    carve_validation,
    draw,
    eval_pipeline,
    open_dataset,
    open_splits,
    overlap,
    select_classes,
)
from tlearn.data.augmentation import Augmentation
from tlearn.objectives import Classification
from tlearn.tasks.carving import LARGEST_OVERLAP, read_share
from tlearn.tasks.framing import Framing
from tlearn.tasks.task import Labelled


@dataclasses.dataclass(frozen=True, eq=False)
class ImageTask(Labelled):
    """Pictures with labels, and what is done to them.

    Attributes:
        train: What is learned from.
        validation: What choices are made on; None if nothing is chosen.
        test: What is reported, read once at the end; None if nothing is.
        facts: How pictures are prepared: the body's own statistics.
        train_pipeline: What is done to a training picture.
        eval_pipeline: What is done to any other.
        objective: The loss and metrics.
        shared: Pictures of the test part that occur in the training part as well.
        mix: Mixing within a training batch.
    """

    train: Dataset
    validation: Dataset | None
    test: Dataset | None
    facts: ImageFacts
    train_pipeline: Pipeline
    eval_pipeline: Pipeline
    objective: Classification
    shared: int = 0
    mix: tuple[Mixup | CutMix, ...] = ()

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the head's outputs."""
        return tuple(self.train.label_names)

    @property
    def digests(self) -> dict[str, str]:
        """Fingerprints of the parts, to notice data that changed."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part.digest for name, part in parts.items() if part is not None}

    @property
    def outputs(self) -> int:
        """How many outputs the head needs: one a class."""
        return len(self.label_names)

    @property
    def files(self) -> Mapping[str, bytes]:
        """Files that travel with the weights: none."""
        return {}

    @property
    def example(self) -> dict[str, jax.ShapeDtypeStruct]:
        """A batch of one, as shapes."""
        side = self.facts.size
        return {
            "image": jax.ShapeDtypeStruct((1, side, side, self.facts.channels), jnp.float32),
            "label": jax.ShapeDtypeStruct((1,), jnp.int32),
            "mask": jax.ShapeDtypeStruct((1,), jnp.float32),
        }

    def metrics(self, outputs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Figures that need all examples at once: none; accuracy is a mean."""
        return {}

    def train_batches(self, batch_size: int, seed: int) -> Batches:
        """Shuffled, augmented batches of the training part."""
        return Batches(
            self.train, self.train_pipeline, batch_size, seed=seed, shuffle=True, mix=self.mix
        )

    def eval_batches(self, dataset: Dataset, batch_size: int) -> Batches:
        """One pass over a part, in order, each picture once."""
        return Batches(dataset, self.eval_pipeline, batch_size, seed=0, shuffle=False)

    def __str__(self) -> str:
        lines = [f"{len(self.label_names)} classes: {', '.join(self.label_names[:20])}"]
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        lines += [f"{name}: {len(part)} pictures" for name, part in parts.items() if part]
        if self.shared:
            lines.append(f"{self.shared} pictures of the test part are in the training part too")
        lines += [f"train pipeline: {self.train_pipeline}", f"eval pipeline: {self.eval_pipeline}"]
        return "\n".join(lines)


def image_classification(
    spec: str,
    *,
    facts: ImageFacts | None = None,
    train_split: str = "",
    validation: str = "10%",
    test_split: str = "",
    classes: tuple[str, ...] = (),
    examples_per_class: int = 0,
    examples: int = 0,
    exclude: tuple[str, ...] = (),
    augment: str | Augmentation = "none",
    framing: Framing | None = None,
    smoothing: float = 0.0,
    seed: int = 0,
) -> ImageTask:
    """Makes a task of a dataset.

    Args:
        spec: The dataset, as for `tlearn.data.open_dataset`.
        facts: How the body's pictures were prepared; by default the pictures' own size and
            channels, scaled to -1..1.
        train_split: Split expression of the training pictures; empty for ``train``, or for all
            where the dataset has one split only.
        validation: Share carved from them (``"10%"``), a split expression, or ``"0%"`` for none.
        test_split: Split expression of what is reported; empty for none.
        classes: Label names to keep; all if empty.
        examples_per_class: Training pictures per class, drawn by the seed; 0 for all. What is
            left over is not used.
        examples: Training pictures in all, drawn likewise, classes in their shares; 0 for all.
        exclude: File patterns to leave out of a folder.
        augment: ``none``, ``flip``, ``crop`` (and flip), ``randaugment`` (and crop, flip); or a
            value with all settings, mixing too.
        framing: What else than the facts is asked of size, crop, channels and scale.
        smoothing: Label smoothing.
        seed: Of subsets.

    Raises:
        DataError: If anything about the data does not fit; train and test sharing pictures too.
    """
    options = {"exclude": exclude} if exclude else {}

    def part(split: str) -> Dataset:
        dataset = open_dataset(spec, split or None, **options)
        return select_classes(dataset, classes) if classes else dataset

    train_split = train_split or _train_split(spec, options)
    train = part(train_split)
    held: Dataset | None = None
    if read_share(validation) is None:
        held = part(validation)
    elif read_share(validation):
        train, held = carve_validation(train, fraction=read_share(validation), seed=seed)
    train = draw(train, examples_per_class=examples_per_class, examples=examples, seed=seed)
    test = part(test_split) if test_split else None
    names = tuple(train.label_names)
    if len(names) < 2:
        raise DataError(
            f"{spec} with one class ({', '.join(names)}) leaves nothing to tell apart; name two"
        )
    held, test = (None if other is None else _aligned(other, names) for other in (held, test))
    shared = 0 if test is None else len(overlap(train, test))
    if test is not None and shared > len(test) * LARGEST_OVERLAP:
        raise DataError(
            f"{shared} of the {len(test)} pictures to be reported ({test_split}) are also trained "
            f"on ({train_split}); use splits that do not overlap"
        )
    facts = (framing or Framing()).facts(facts, np.asarray(train[0]["image"]).shape)
    changes = Augmentation(kind=augment) if isinstance(augment, str) else augment
    learned, evaluated = pipelines(facts, changes)
    return ImageTask(
        train=train,
        validation=held,
        test=test,
        facts=facts,
        train_pipeline=learned,
        eval_pipeline=evaluated,
        objective=Classification(len(names), smoothing),
        shared=shared,
        mix=changes.mixes,
    )


def pipelines(facts: ImageFacts, changes: Augmentation) -> tuple[Pipeline, Pipeline]:
    """What is done to a training picture, and to one that is judged."""
    shape = {
        "mean": facts.mean,
        "std": facts.std,
        "size": facts.size,
        "channels": facts.channels,
        "crop": facts.crop,
        "interpolation": facts.interpolation,
    }
    return changes.pipeline(**shape), eval_pipeline(**shape)


def _train_split(spec: str, options: dict) -> str:
    """The split to learn from where none is named: ``train``, or the only one."""
    splits = list(open_splits(spec, **options))
    return splits[0] if len(splits) == 1 else "train"


def _aligned(dataset: Dataset, names: tuple[str, ...]) -> Dataset:
    from tlearn.data import aligned

    return dataset if tuple(dataset.label_names) == names else aligned(dataset, names)
