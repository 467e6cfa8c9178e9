"""What the pulls of a run hold on to: source weights, and how much each of them matters."""

import dataclasses
import functools
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlearn import bodies, heads, hub
from tlearn.data import select_classes
from tlearn.model import Model, variables
from tlearn.params import FlatParams
from tlearn.runs.config import DataConfig, RunConfig
from tlearn.runs.examples import make_task
from tlearn.runs.parts import FUNCTION_FORMS
from tlearn.train.state import SourceWeights
from tlearn.train.step import inputs
from tlearn.transfer.plan import Plan


def anchored(config: RunConfig, rows: tuple[Plan, ...]) -> frozenset[str]:
    """Paths of the parameters whose loaded values, in float32, the pulls of a run hold on to.

    Args:
        config: What is asked.
        rows: The stages' plans.
    """
    if not config.source or config.strategy.pull_strength == 0:
        return frozenset()
    if config.strategy.pull in FUNCTION_FORMS:
        return frozenset(row.path for row in rows[0].rows if row.path.startswith("body/"))
    return frozenset(path for plan in rows for path in plan.pulled)


def source_weights(
    config: RunConfig,
    source: hub.Source | None,
    rows: tuple[Plan, ...],
    loaded: Mapping[str, Any],
    fresh: Collection[str],
    *,
    weigh: bool = True,
    take: bool = False,
) -> SourceWeights:
    """Gathers what a run's pulls hold on to, and nothing more.

    Args:
        config: What is asked.
        source: The source; without one, or without a pull, there is nothing to gather.
        rows: The stages' plans.
        loaded: The model's parameters before training, the source's among them.
        fresh: Those that are not the source's.
        weigh: Whether the numbers are wanted; False leaves zeros, for shapes: nothing is read.
        take: Whether JAX arrays among ``loaded`` may be kept as they are: no step gives them away.

    Raises:
        ValueError: If the pull needs a head, or data, that the source does not go with, or would
            pull nothing.
    """
    form = config.strategy.pull
    if source is None or config.strategy.pull_strength == 0:
        return SourceWeights()
    moving = {row.path for plan in rows for row in plan.rows if row.trainable}
    if not any(path.startswith("body/") for path in moving - set(fresh)):
        raise ValueError(
            f"pull={form} of strength {config.strategy.pull_strength:g} pulls nothing: no loaded "
            "layer of the body trains; free one (freeze), or drop pull_strength"
        )
    keep = functools.partial(_kept, take=take) if weigh else _zeros
    # The loaded weights, so that a resized kernel is pulled to its resized source.
    own = {path: value for path, value in loaded.items() if path not in fresh}
    if form in FUNCTION_FORMS:
        if form == "logits" and source.head is None:
            raise ValueError(
                f"the logit pull needs the source's head, and {config.source} carries none; "
                "use pull=features"
            )
        body = {p: own.get(p, v) for p, v in source.params.items() if p.startswith("body/")}
        head = {p: v for p, v in source.params.items() if p.startswith("head/")}
        return SourceWeights(
            params=keep(body),
            collections=keep(source.collections),
            head=keep(head) or None,
        )
    weights = keep({path: own[path] for path in sorted(anchored(config, rows))})
    if form != "fisher":
        return SourceWeights(params=weights)
    if not weigh:
        return SourceWeights(params=weights, fisher=_zeros(weights))
    return SourceWeights(params=weights, fisher=_fisher(config, source, weights))


def _kept(flat: Mapping[str, Any], take: bool) -> FlatParams:
    # The training of a run gives its buffers away; what is pulled to must not be among them.
    return {
        path: value if take and isinstance(value, jax.Array) else jnp.array(value, copy=True)
        for path, value in flat.items()
    }


def _zeros(flat: Mapping[str, Any]) -> FlatParams:
    return {path: np.zeros(value.shape, value.dtype) for path, value in flat.items()}


def _fisher(config: RunConfig, source: hub.Source, pulled: Mapping[str, Any]) -> FlatParams:
    """The source's Fisher information on its own data, scaled to mean 1 over what is pulled."""
    from tlearn.transfer.fisher import diagonal_fisher

    if source.head is None:
        raise ValueError(
            f"the fisher pull needs the source's head, and {config.source} carries none; "
            "use pull=l2sp"
        )
    resized = [p for p, v in pulled.items() if v.shape != source.params[p].shape]
    if resized:
        raise ValueError(
            f"the fisher pull weighs parameters as the source has them, but {resized} were "
            "resized; use channels=convert, or pull=l2sp"
        )
    model = Model(bodies.build(dict(source.body)), heads.build(dict(source.head)))
    data = DataConfig(data=config.strategy.fisher_data, validation="0%")
    task = make_task(dataclasses.replace(config, data=data), source)
    names = task.label_names
    known = tuple(name for name in source.label_names or () if name in names)
    seen = select_classes(task.train, known) if known else task.train
    fixed = {p: jnp.asarray(v) for p, v in source.params.items() if p not in pulled}
    statistics = {p: jnp.asarray(v) for p, v in source.collections.items()}

    def logits(params: FlatParams, fixed: Any, batch: Any) -> Any:
        tree = variables({**params, **fixed}, statistics)
        return model.apply(tree, *inputs(model, batch), train=False)

    batches = task.eval_batches(seen, 64)
    epoch = (batches.at(step) for step in range(batches.steps_per_epoch))
    fisher = diagonal_fisher(
        logits,
        {path: jnp.asarray(source.params[path]) for path in pulled},
        ({k: b[k] for k in (*model.body.inputs, "mask")} for b in epoch),
        fixed=fixed,
    )
    total = sum(float(jnp.sum(f)) for f in fisher.values())
    mean = total / max(sum(f.size for f in fisher.values()), 1)
    if not mean > 0:
        raise ValueError(
            f"the Fisher information of {config.source} on {config.strategy.fisher_data} is zero "
            "everywhere: the source is certain of all its answers there; use pull=l2sp"
        )
    return {path: f / mean for path, f in fisher.items()}
