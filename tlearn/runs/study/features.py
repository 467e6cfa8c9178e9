"""What a study's program takes of a batch: all of it, or what a frozen bottom makes of it."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from tlearn.model import Model
from tlearn.runs.config import RunConfig
from tlearn.runs.once import check_once, first_running
from tlearn.studies.boundary import activations, tail_leaves, tail_model
from tlearn.transfer.plan import Plan

Batch = Mapping[str, np.ndarray]
_KEPT = ("segments", "label", "label_weights", "mask", "index")
"""What of a batch is read above the bottom."""


@dataclasses.dataclass(frozen=True, eq=False)
class Feed:
    """What a program takes of a batch.

    Attributes:
        model: What it runs; None for the whole model.
        paths: Parameters that this has; None for all.
        below: Computes what the frozen layers make of the inputs; None where all run each step.
    """

    model: Model | None = None
    paths: frozenset[str] | None = None
    below: Callable[[Batch], np.ndarray] | None = None
    _known: dict[tuple[str, int], np.ndarray] = dataclasses.field(default_factory=dict, repr=False)

    def __call__(self, batch: Batch, digest: str) -> dict[str, np.ndarray]:
        """The arrays that the program takes, and what the objective reads.

        What the frozen layers make of an example is computed once, whoever reads it again.

        Args:
            batch: As the task makes it.
            digest: Of the dataset that its ``index`` counts in.
        """
        if self.below is None:
            return dict(batch)
        index = np.asarray(batch["index"])
        new = [i for i in np.flatnonzero(index >= 0) if (digest, int(index[i])) not in self._known]
        if new:
            found = self.below(batch)
            for i in new:
                self._known[digest, int(index[i])] = found[i]
        # A row that fills the batch repeats its first ones, as batches of features do in a run.
        real = index[index >= 0]
        taken = np.where(index >= 0, index, real[np.arange(len(index)) % len(real)])
        rows = [self._known[digest, int(i)] for i in taken]
        return {"features": np.stack(rows), **{n: batch[n] for n in _KEPT if n in batch}}


def entered(
    config: RunConfig, model: Model, rows: tuple[Plan, ...], fresh: Collection[str]
) -> str | None:
    """The layer that the program of such runs begins at; None where all run each step.

    Args:
        config: Of one of the runs.
        model: Their body and head.
        rows: The stages' plans.
        fresh: Paths of the parameters that are drawn.

    Raises:
        ValueError: If features cannot be computed once.
    """
    if config.train.features == "each-step":
        return None
    check_once(config, rows)
    # Of all stages: a later one may train what the first leaves frozen.
    start = first_running(model, rows)
    above = program_paths(model, start, {row.path: row for row in rows[0].rows})
    drawn = sorted(frozenset(fresh) - above)
    if drawn:
        raise ValueError(
            f"features=once: {len(drawn)} frozen parameters are drawn by the seed ({drawn[:3]}), "
            "so each seed would need features of its own: features=each-step"
        )
    return start


def program_paths(model: Model, start: str | None, shapes: Mapping[str, Any]) -> frozenset[str]:
    """Paths of the parameters that a program has which begins at `start`."""
    return frozenset(shapes if start is None else tail_leaves(model, start, shapes))


def feed_of(
    model: Model,
    start: str | None,
    shapes: Mapping[str, Any],
    still: Mapping[str, Any],
    statistics: Mapping[str, Any],
) -> Feed:
    """What the program of some runs takes: with ``features=once``, what its frozen layers made.

    Args:
        model: Their body and head.
        start: What `entered` named.
        shapes: Shapes of all parameters by path.
        still: Those that nobody trains: all below `start` are among them. Arrays are not copied.
        statistics: Statistics by path.
    """
    if start is None:
        return Feed()
    # Linen wants a value for every parameter; what lies above is traced and never computed.
    params = {
        path: still.get(path, np.broadcast_to(np.zeros((), shape.dtype), shape.shape))
        for path, shape in shapes.items()
        if path.startswith("body/")
    }

    def run(batch: Batch) -> np.ndarray:
        inputs = [jnp.asarray(batch[name]) for name in model.body.inputs]
        return np.asarray(activations(model, start, params, dict(statistics), inputs))

    paths = program_paths(model, start, shapes)
    return Feed(model=tail_model(model, start), paths=paths, below=run)
