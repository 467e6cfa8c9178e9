"""A frozen bottom run once: where a plan's frozen layers end, and what they put out.

Runs that share a frozen bottom share its activations as well: they are data. What trains then is a
model of the upper layers alone, whose parameters have the names they always had.

Shapes: n examples; what a layer puts out has any shape that begins with n.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from tlearn.bodies.cached import Cached
from tlearn.bodies.tail import Tail, below, tail_part, tail_problems
from tlearn.model import Model, variables
from tlearn.transfer.plan import Plan

HEAD = "head"
"""The boundary where the whole body is frozen: its pooled features are stored."""


def boundary(model: Model, plan: Plan) -> str | None:
    """Names the first layer that runs where all below is frozen and in evaluation mode.

    Args:
        model: Body and head.
        plan: What every parameter does.

    Returns:
        A layer above the first, `HEAD` if the whole body stands still, or None: nothing at the
        bottom is frozen, or this body cannot start above its input.
    """
    names = model.body.layer_names
    depth = plan.frozen_depth
    if not depth:
        return None
    if depth >= len(names):
        return HEAD
    return None if tail_problems(model.body, names[depth]) else names[depth]


def tail_model(model: Model, start: str) -> Model:
    """The model of the layers from `start` on: its body's first input is their input, ``features``.

    Args:
        model: Body and head.
        start: What `boundary` named.

    Raises:
        ValueError: If the body cannot start there.
    """
    if start == HEAD:
        return Model(Cached(model.body.feature_width), model.head)
    return Model(Tail(model.body, start), model.head)


def tail_leaves(model: Model, start: str, flat: Mapping[str, Any]) -> dict[str, Any]:
    """Of parameters or statistics by path, those that `tail_model` reads.

    Args:
        model: The whole model.
        start: What `boundary` named.
        flat: All of them.
    """
    if start == HEAD:
        return {path: value for path, value in flat.items() if not path.startswith("body/")}
    return tail_part(model.body, start, flat)


def tail_inputs(
    model: Model, start: str, inputs: Mapping[str, Any], features: Any
) -> dict[str, Any]:
    """What the body of `tail_model` is called with, by name.

    Args:
        model: The whole model.
        start: What `boundary` named.
        inputs: The whole body's inputs, arrays.
        features: Their `boundary_features`.
    """
    names = tail_model(model, start).body.inputs
    return {name: features if name == "features" else inputs[name] for name in names}


def boundary_features(
    model: Model,
    params: Mapping[str, Any],
    collections: Mapping[str, Any],
    inputs: Mapping[str, np.ndarray],
    start: str,
    batch: int = 256,
) -> np.ndarray:
    """Runs the frozen bottom over examples, in batches of one size.

    Args:
        model: The whole model.
        params: Its parameters by path; the head is not needed.
        collections: Its statistics by path.
        inputs: The body's inputs by name, examples first.
        start: What `boundary` named.
        batch: Examples at once.

    Returns:
        What enters `start`, ``[n ...]`` in the dtype the body computes in.

    Raises:
        ValueError: If there are no examples, or an input is missing.
    """
    absent = [name for name in model.body.inputs if name not in inputs]
    if absent:
        raise ValueError(f"the body takes {model.body.inputs}; not given: {', '.join(absent)}")
    arrays = [np.asarray(inputs[name]) for name in model.body.inputs]
    count = len(arrays[0])
    if not count:
        raise ValueError("there is no example to compute features of")
    kept = {p: jnp.asarray(v) for p, v in params.items() if p.startswith("body/")}
    statistics = {p: jnp.asarray(v) for p, v in collections.items() if p.startswith("body/")}
    size = min(batch, count)
    rows = np.arange(-(-count // size) * size) % count
    found: Any = None
    for first in range(0, count, size):
        taken = rows[first : first + size]
        part = np.asarray(
            activations(model, start, kept, statistics, [jnp.asarray(x[taken]) for x in arrays])
        )
        if found is None:
            # Once, whole: joining parts would hold everything twice.
            found = np.empty((count, *part.shape[1:]), part.dtype)
        found[first : first + size] = part[: count - first]
    return found


@functools.partial(jax.jit, static_argnames=("model", "start"))
def activations(
    model: Model, start: str, params: PyTree, collections: PyTree, inputs: list[Array]
) -> Array:
    """What enters a layer, for one batch; what lies above it is not computed.

    Args:
        model: The whole model.
        start: What `boundary` named.
        params: Parameters by path; the head's may be missing.
        collections: Statistics by path.
        inputs: The body's inputs, in its order.
    """
    tree = variables(params, collections)
    features: Any = model.apply(tree, *inputs, train=False, method="features")
    return features.pooled if start == HEAD else features.layers[below(model.body, start)[-1]]
