"""Which figures a study can be about: those that an evaluation of its runs gives."""

import dataclasses
import warnings
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from tlearn.model import variables
from tlearn.params.paths import nearest
from tlearn.runs.study.group import Group
from tlearn.train.loop import means_of
from tlearn.train.step import inputs


def check_metric(group: Group, metric: str) -> None:
    """Refuses a metric that no evaluation of the runs gives; nothing is compiled.

    Raises:
        ValueError: Naming the nearest there is.
    """
    task = group.task
    batch = {name: array[0, 0] for name, array in group.batches(0, 1, 1, (0,)).items()}
    state = group.block([0])
    own = jax.tree.map(lambda leaf: leaf[0], state.states)
    own = dataclasses.replace(own, frozen={**state.shared, **own.frozen})

    def judge(params: Any, statistics: Any, batch: Any) -> Any:
        weights = variables(params, statistics)
        outputs: Any = group.model.apply(weights, *inputs(group.model, batch), train=False)
        sums = task.objective(outputs, batch)
        return {"loss": sums.loss, "count": sums.count, **sums.metrics}, task.kept(outputs, batch)

    sums, rows = jax.eval_shape(judge, own.params, own.collections, batch)
    drawn = np.random.default_rng(0).normal(size=rows.shape).astype(rows.dtype)
    with warnings.catch_warnings():  # Of a few drawn figures: only their names are wanted.
        warnings.simplefilter("ignore")
        whole = task.metrics(drawn, np.asarray(batch["label"]))
    names = [*means_of(dict.fromkeys(sums, 1.0)), *whole]
    refuse_unknown(metric, names)


def refuse_unknown(metric: str, names: Iterable[str]) -> None:
    """Raises ValueError if a metric is none of those there are."""
    names = sorted(set(names))
    if metric not in names:
        close = nearest(metric, names)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"there is no metric {metric!r}: there are {', '.join(names)}{hint}")
