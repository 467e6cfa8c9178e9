"""What is measured of a study's trained runs beside their figures: drift and likeness."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlearn.model import Model, variables
from tlearn.params import FlatParams, layer_of
from tlearn.runs.study.group import Group
from tlearn.studies.block import Block
from tlearn.studies.cka import linear_cka

PROBES = 256
"""Validation examples that representations are compared on."""


def source_body(group: Group, block: Block, *, whole: bool) -> FlatParams:
    """The source's body by path, also where arms draw layers afresh; what trained is read again.

    Args:
        group: The runs.
        block: Some of them.
        whole: False leaves out what the runs share.

    Raises:
        ValueError: If the source changed since the group was made.
    """
    own, _ = block.params()
    paths = group.weights.shapes if whole else own.keys() & group.weights.loaded
    return group.weights.source([path for path in paths if path.startswith("body/")])


def distances(group: Group, block: Block, before: FlatParams) -> dict[str, np.ndarray]:
    """‖w − w_source‖ of every layer of the body, for every run; empty without a source.

    Args:
        group: The runs.
        block: Some of them, trained.
        before: What `source_body` gives.
    """
    anchor = _loaded_body(group)
    if not anchor:
        return {}
    own, _ = block.params()
    squares: dict[str, np.ndarray] = {}
    for path, value in own.items():
        if path in anchor:
            far = np.asarray(value) - np.asarray(before[path])[None]
            with np.errstate(over="ignore", invalid="ignore"):  # A run that diverged is told.
                square = (far.reshape(len(far), -1) ** 2).sum(axis=1)
            layer = layer_of(path)
            squares[layer] = squares.get(layer, 0.0) + square
    still = np.zeros(block.runs)
    held = {layer_of(path) for path in anchor}
    names = [name for name in group.whole.body.layer_names if name in held]
    return {name: np.sqrt(squares.get(name, still)) for name in names}


def similarity(group: Group, block: Block, before: FlatParams) -> list[dict[str, float]]:
    """Linear CKA of every layer's output with the source's, on validation examples, by run.

    Outputs are averaged over places and tokens. Empty without a source; frozen layers that run
    only once are the source's.

    Args:
        group: The runs.
        block: Some of them, trained.
        before: The `source_body`, whole.
    """
    part = group.task.validation
    if not _loaded_body(group) or part is None:
        return [{} for _ in range(block.runs)]
    inputs = _first(group, part)
    names = group.whole.body.layer_names
    source = _outputs(group.whole, before, source_statistics(group), inputs)
    made = []
    for run in range(block.runs):
        params, statistics = whole_weights(group, block, run)
        after = _outputs(group.whole, params, statistics, inputs)
        found = {}
        for name in names:
            sound = np.isfinite(after[name]).all()
            found[name] = linear_cka(source[name], after[name]) if sound else float("nan")
        made.append({name: value for name, value in found.items() if np.isfinite(value)})
    return made


def whole_weights(group: Group, block: Block, run: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """All parameters and statistics of one run, those of layers that ran only once included."""
    own, shared = block.params()
    begun = group.weights.statistics(block.lines[block.line[run]])
    moved = {path: value[run] for path, value in own.items()}
    statistics = {path: value[run] for path, value in block.states.collections.items()}
    return {**group.weights.still, **shared, **moved}, {**begun, **statistics}


def _loaded_body(group: Group) -> frozenset[str]:
    return frozenset(path for path in group.weights.loaded if path.startswith("body/"))


def source_statistics(group: Group) -> FlatParams:
    """The source's statistics by path; of what no run loads what one drew."""
    return group.weights.statistics(group.weights.least)


def _first(group: Group, part: Any) -> list[Any]:
    """Inputs of the first validation examples, one batch."""
    batch = group.task.eval_batches(part, min(PROBES, len(part))).at(0)
    real = np.asarray(batch["mask"]) > 0
    return [jnp.asarray(batch[name][real]) for name in group.whole.body.inputs]


def _outputs(
    model: Model, params: Mapping[str, Any], statistics: Mapping[str, Any], inputs: list[Any]
) -> dict[str, np.ndarray]:
    """Every layer's output, averaged to a row an example."""
    body = {path: value for path, value in params.items() if path.startswith("body/")}
    found = _run_layers(model, body, dict(statistics), inputs)
    return {name: np.asarray(value) for name, value in found.items()}


@functools.partial(jax.jit, static_argnames="model")
def _run_layers(model: Model, body: Any, statistics: Any, inputs: list[Any]) -> dict[str, Any]:
    features: Any = model.apply(
        variables(body, statistics), *inputs, train=False, method="features"
    )
    return {
        name: value.reshape(value.shape[0], -1, value.shape[-1]).mean(axis=1)
        for name, value in features.layers.items()
    }
