"""Batches as a pure function of (seed, step): no iterator, no state but the step number.

Shapes: ``b`` rows of a batch, ``h w`` pixels, ``c`` channels, ``k`` classes.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64

from tlearn.data.blocks import block, check_blocks, epoch_order
from tlearn.data.dataset import Dataset, id_of
from tlearn.data.errors import DataError
from tlearn.data.mixing import Blend, Mix, blend, partners
from tlearn.data.pipeline import Pipeline
from tlearn.data.streams import stream

Batch = dict[str, np.ndarray]


@runtime_checkable
class MakesBatches(Protocol):
    """Anything that makes the batch of a step, the same one every time."""

    def at(self, step: int) -> Batch:
        """Makes the batch of a step."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Batches:
    """Cuts a dataset into batches.

    Every epoch visits every example exactly once, in an order of its own when ``shuffle``. The last
    batch of an epoch is filled up with copies of its own first rows, whose ``mask`` is 0 and whose
    ``index`` is -1; nothing is dropped. (Copies rather than zeros, so that statistics over a batch
    stay sane.)

    A batch is a dictionary of new arrays: ``image`` [b h w c] as the pipeline makes it, ``label``
    int32 [b], ``mask`` float32 [b], ``index`` int64 [b] (the example's place in the dataset), and
    with ``mix`` also ``label_weights`` float32 [b k].

    Args:
        dataset: Where examples come from.
        pipeline: What is done to each. Random transforms draw from a stream of (seed, epoch,
            index): neither the batch size nor the number of workers or hosts changes an example.
        batch_size: Rows of a global batch.
        seed: Of the order, of random transforms and of mixing.
        shuffle: A fresh order every epoch; without it, the order of the dataset.
        mix: Mixup or CutMix, or several of which each batch takes one at random.
        host_index: Which block of every batch is read here, for several hosts.
        host_count: Into how many blocks a batch is cut.

    Raises:
        DataError: If the dataset is empty or a number makes no sense.
    """

    dataset: Dataset
    pipeline: Pipeline
    batch_size: int
    _: dataclasses.KW_ONLY
    seed: int
    shuffle: bool
    mix: tuple[Mix, ...] = ()
    host_index: int = 0
    host_count: int = 1

    def __post_init__(self) -> None:
        if not len(self.dataset):
            raise DataError("the dataset has no examples")
        check_blocks(self.batch_size, self.seed, self.host_index, self.host_count)

    @property
    def steps_per_epoch(self) -> int:
        """Counts the batches of an epoch, the filled-up one included."""
        return math.ceil(len(self.dataset) / self.batch_size)

    @property
    def random(self) -> bool:
        """Whether an example differs from epoch to epoch."""
        return self.pipeline.random or bool(self.mix)

    def examples(self, step: int) -> int:
        """Counts the real examples of the global batch at a step."""
        done = (step % self.steps_per_epoch) * self.batch_size
        return min(self.batch_size, len(self.dataset) - done)

    def order(self, epoch: int) -> Int64[np.ndarray, " n"]:
        """Lists the examples in the order in which an epoch visits them."""
        count = len(self.dataset)
        return epoch_order(self.seed, epoch, count) if self.shuffle else np.arange(count)

    @property
    def preparation(self) -> str:
        """What is done to an example, as text."""
        return repr(self.pipeline)

    def rows(self, step: int) -> Int64[np.ndarray, " b"]:
        """Places of a batch's examples in the dataset, -1 where a row only fills it."""
        chosen, rows = self._chosen(step)
        return np.where(rows < len(chosen), chosen[rows % len(chosen)], -1).astype(np.int64)

    def _chosen(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The global batch's examples, and which of its rows are this host's block."""
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.batch_size
        rows = block(self.batch_size, self.host_index, self.host_count)
        return self.order(epoch)[start : start + self.batch_size], rows

    def at(self, step: int) -> Batch:
        """Makes the batch of a step (this host's block of it); the same one every time.

        Raises:
            DataError: Naming the example, its index, epoch and step, if it cannot be read or
                transformed, or if pictures come out in different sizes.
        """
        if step < 0:
            raise DataError(f"step {step} is negative")
        epoch, position = divmod(step, self.steps_per_epoch)
        chosen, rows = self._chosen(step)
        real = len(chosen)
        where = f"epoch {epoch}, step {step}"
        if not self.mix:
            images, labels = self._read(chosen[rows % real], epoch, where)
            return _batch(images, labels, rows, chosen, real)
        rng = stream(self.seed, "mix", epoch, position)
        kind = self.mix[int(rng.integers(len(self.mix)))]
        return self._mixed(kind.draw(rng, real), rows, chosen, epoch, where)

    def _mixed(
        self, drawn: Blend, rows: np.ndarray, chosen: np.ndarray, epoch: int, where: str
    ) -> Batch:
        """Reads a block and the block of its partners, and blends them."""
        real = len(chosen)
        own = rows % real
        other = partners(real, own, drawn.shift)
        images, labels = self._read(chosen[np.concatenate([own, other])], epoch, where)
        if images.dtype != np.float32:
            raise DataError(f"mixing needs float32 pixels, got {images.dtype}: add ToFloat()")
        size = len(rows)
        mixed, weights = blend(
            images[:size],
            labels[:size],
            images[size:],
            labels[size:],
            drawn,
            len(self.dataset.label_names),
        )
        batch = _batch(mixed, labels[:size].copy(), rows, chosen, real)
        return {**batch, "label_weights": weights}

    def epoch(self, number: int = 0) -> Iterator[Batch]:
        """Makes the batches of one epoch, one after the other."""
        start = number * self.steps_per_epoch
        for step in range(start, start + self.steps_per_epoch):
            yield self.at(step)

    def _read(self, indices: np.ndarray, epoch: int, where: str) -> tuple[np.ndarray, np.ndarray]:
        """Reads and transforms examples; each distinct one once."""
        distinct, back = np.unique(indices, return_inverse=True)
        if len(distinct) == len(indices):
            distinct, back = indices, np.arange(len(indices))
        whole = self._read_whole(distinct, epoch)
        images, labels = self._read_each(distinct, epoch, where) if whole is None else whole
        if len(distinct) == len(indices):
            return images, labels
        return images[back], labels[back]

    def _rngs(self, indices: np.ndarray, epoch: int) -> list[np.random.Generator] | None:
        if not self.pipeline.random:
            return None
        return [stream(self.seed, "augment", epoch, int(index)) for index in indices]

    def _read_whole(self, indices: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Reads a batch by indexing arrays, where dataset and pipeline can."""
        take: Any = getattr(self.dataset, "take", None)
        if take is None or not getattr(self.dataset, "in_memory", True):
            return None
        if not all(hasattr(transform, "many") for transform in self.pipeline.transforms):
            return None
        found = take(indices)
        images = self.pipeline.many(found["image"], self._rngs(indices, epoch))
        if images is None:
            return None
        return np.ascontiguousarray(images), found["label"].astype(np.int32)

    def _read_each(
        self, indices: np.ndarray, epoch: int, where: str
    ) -> tuple[np.ndarray, np.ndarray]:
        rngs = self._rngs(indices, epoch)
        images, labels = [], []
        for row, index in enumerate(indices):
            try:
                example = self.dataset[int(index)]
                example = self.pipeline(example, None if rngs is None else rngs[row])
            except Exception as error:
                raise DataError(
                    f"example {index} ({_named(self.dataset, int(index))}) at {where}: {error}"
                ) from error
            images.append(np.asarray(example["image"]))
            labels.append(example["label"])
        shapes = {image.shape for image in images} | {image.dtype.name for image in images}
        if len(shapes) > 2:
            first = next(
                row
                for row, image in enumerate(images)
                if (image.shape, image.dtype) != (images[0].shape, images[0].dtype)
            )
            raise DataError(
                f"the pictures of a batch come out as {images[0].dtype} {images[0].shape} "
                f"({_named(self.dataset, int(indices[0]))}) and {images[first].dtype} "
                f"{images[first].shape} ({_named(self.dataset, int(indices[first]))}) at {where}: "
                "end the pipeline with one size and number of channels: Resize, a crop, ToChannels"
            )
        return np.stack(images), np.array(labels, dtype=np.int32)

    def __str__(self) -> str:
        order = f"shuffled by seed {self.seed}" if self.shuffle else "in order"
        mixed = "".join(f" > {mix!r}" for mix in self.mix)
        return (
            f"{len(self.dataset)} examples, {order}, {self.steps_per_epoch} batches of "
            f"{self.batch_size} an epoch: {self.pipeline}{mixed}"
        )


def _batch(
    images: np.ndarray, labels: np.ndarray, rows: np.ndarray, chosen: np.ndarray, real: int
) -> Batch:
    present = rows < real
    return {
        "image": images,
        "label": labels,
        "mask": present.astype(np.float32),
        "index": np.where(present, chosen[rows % real], -1).astype(np.int64),
    }


def _named(dataset: Dataset, index: int) -> str:
    try:
        return id_of(dataset, index)
    except Exception:
        return "no id"
