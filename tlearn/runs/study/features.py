"""What a study's program takes of a batch: all of it, or what a frozen bottom makes of it."""

import dataclasses
from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np

from tlearn.model import Model
from tlearn.runs.config import RunConfig
from tlearn.runs.initial import Initial
from tlearn.runs.once import check_once, first_running
from tlearn.runs.parts import make_strategy
from tlearn.studies.boundary import activations, tail_leaves, tail_model
from tlearn.transfer.plan import plans

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


def feed_of(config: RunConfig, model: Model, begun: Initial) -> Feed:
    """What the program of such runs takes: with ``features=once``, what its frozen layers made.

    Args:
        config: Of one of the runs.
        model: Their body and head.
        begun: What they begin with: frozen layers are the same in all.

    Raises:
        ValueError: If features cannot be computed once.
    """
    if config.train.features == "each-step":
        return Feed()
    rows = plans(
        begun.params,
        make_strategy(config.strategy),
        layers=model.body.layer_names,
        fresh=begun.fresh,
    )
    check_once(config, rows)
    # Of all stages: a later one may train what the first leaves frozen.
    start = first_running(model, rows)
    tail = tail_model(model, start)
    above = frozenset(tail_leaves(model, start, begun.params))
    drawn = sorted(begun.fresh - above)
    if drawn:
        raise ValueError(
            f"features=once: {len(drawn)} frozen parameters are drawn by the seed ({drawn[:3]}), "
            "so each seed would need features of its own: features=each-step"
        )
    params = {p: jnp.asarray(v) for p, v in begun.params.items() if p.startswith("body/")}
    statistics = {p: jnp.asarray(v) for p, v in begun.collections.items()}

    def run(batch: Batch) -> np.ndarray:
        inputs = [jnp.asarray(batch[name]) for name in model.body.inputs]
        return np.asarray(activations(model, start, params, statistics, inputs))

    return Feed(model=tail, paths=above, below=run)
