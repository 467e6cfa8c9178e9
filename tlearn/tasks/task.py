"""What every task offers to a run, whatever its examples are."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from tlearn.objectives import Sums


@runtime_checkable
class TaskBatches(Protocol):
    """Batches as a pure function of the step; every epoch holds every example once."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass."""
        ...

    @property
    def random(self) -> bool:
        """Whether an example differs from epoch to epoch."""
        ...

    @property
    def preparation(self) -> str:
        """What is done to an example, as text: two that read alike do the same."""
        ...

    @property
    def dataset(self) -> Any:
        """Where the examples come from."""
        ...

    @property
    def seed(self) -> int:
        """Seed of the order and of random changes."""
        ...

    def at(self, step: int) -> dict[str, np.ndarray]:
        """The batch of a step."""
        ...

    def rows(self, step: int) -> np.ndarray:
        """Places of a batch's examples in the dataset, -1 where a row only fills it."""
        ...


@runtime_checkable
class Task(Protocol):
    """Data, objective and metrics under one name."""

    @property
    def train(self) -> Any:
        """What is learned from."""
        ...

    @property
    def validation(self) -> Any:
        """What choices are made on."""
        ...

    @property
    def test(self) -> Any:
        """What is reported, read once."""
        ...

    @property
    def remember(self) -> Any:
        """What is measured before and after, to see what is forgotten; None for nothing."""
        ...

    @property
    def facts(self) -> Any:
        """How examples are prepared: what travels with weights trained on them."""
        ...

    @property
    def files(self) -> Mapping[str, bytes]:
        """Files that travel with the weights, a tokenizer's for example."""
        ...

    @property
    def label_names(self) -> tuple[str, ...]:
        """What the head's outputs mean; empty where they are numbers."""
        ...

    @property
    def head(self) -> Mapping[str, Any] | None:
        """Config of the head it brings; None where the user chooses one for labels."""
        ...

    @property
    def unit(self) -> str:
        """What the objective counts: ``examples``, or ``targets``."""
        ...

    @property
    def streams(self) -> bool:
        """Whether rows of a batch go on from those of the batch before."""
        ...

    @property
    def outputs(self) -> int:
        """How many outputs the head needs."""
        ...

    @property
    def digests(self) -> dict[str, str]:
        """Fingerprints of the parts."""
        ...

    @property
    def example(self) -> dict[str, jax.ShapeDtypeStruct]:
        """A batch of one, as shapes: the body's inputs, ``label`` and ``mask``."""
        ...

    def objective(self, outputs: Any, batch: Mapping[str, Any], /) -> Sums:
        """Sums of loss and metrics over a batch."""
        ...

    def kept(self, outputs: Any, batch: Mapping[str, Any], /) -> Any:
        """What an evaluation keeps of the outputs, a row an example."""
        ...

    def metrics(self, outputs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Figures that need all examples of a part at once, such as an F1; may be none."""
        ...

    def train_batches(self, batch_size: int, seed: int) -> TaskBatches:
        """Shuffled batches of the training part."""
        ...

    def eval_batches(self, dataset: Any, batch_size: int) -> TaskBatches:
        """One pass over a part, each example once."""
        ...


class Labelled:
    """What tasks with labels have in common: a head of the user's choice, an output an example."""

    head = None
    unit = "examples"
    streams = False
    remember = None

    def kept(self, outputs: Any, batch: Mapping[str, Any], /) -> Any:
        """Keeps the outputs themselves."""
        return outputs
