"""Runs that share a program, made ready: their data by line, their plans, their weights."""

import dataclasses
import json
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from tlearn import heads
from tlearn.data import reading_once
from tlearn.model import Model
from tlearn.runs.anchor import anchored, source_weights
from tlearn.runs.config import RunConfig, to_json
from tlearn.runs.examples import make_task
from tlearn.runs.initial import load_source, shapes_and_fresh
from tlearn.runs.parts import (
    FUNCTION_FORMS,
    make_function_pull,
    make_model,
    make_optimizer,
    make_strategy,
    training_steps,
)
from tlearn.runs.study.features import entered, feed_of
from tlearn.runs.study.group import Group, Line
from tlearn.runs.study.weights import Beginning, Weights
from tlearn.tasks import TaskBatches
from tlearn.train.loop import Timeline, timeline
from tlearn.train.step import Recipe
from tlearn.transfer.plan import Plan, plans


def gather(configs: Sequence[RunConfig], say: Callable[[str], None] = lambda text: None) -> Group:
    """Makes runs ready that share a program (`tlearn.runs.study.keys.groups`).

    Args:
        configs: Of the runs.
        say: Told what is read.

    Raises:
        ValueError: If anything does not fit, or the runs are not of one length.
    """
    with reading_once():
        return _gather(configs, say)


def _gather(configs: Sequence[RunConfig], say: Callable[[str], None]) -> Group:
    first = configs[0]
    source = load_source(first)
    begins: dict[str, Beginning] = {}
    place: list[int] = []
    model: Model | None = None
    for config in configs:
        key = _line_key(config)
        if key not in begins:
            task = make_task(config, source)
            model = model or make_model(config, task, source)
            begins[key] = Beginning(config, task, *shapes_and_fresh(config, model, task, source))
            if len(begins) == 1:
                say(str(task))
        place.append(list(begins).index(key))
    if model is None:
        raise ValueError("a group without runs")
    found = tuple(begins.values())
    batches = [b.task.train_batches(b.config.train.batch_size, b.config.train.seed) for b in found]
    rows, optimizers = [], []
    for config, at in zip(configs, place, strict=True):
        b, strategy = found[at], make_strategy(config.strategy)
        rows.append(plans(b.shapes, strategy, layers=model.body.layer_names, fresh=b.fresh))
        optimizers.append(make_optimizer(config, batches[at].steps_per_epoch))
    timelines = {_timeline(c, rows[i], batches[place[i]]) for i, c in enumerate(configs)}
    if len(timelines) > 1:
        raise ValueError(
            f"these runs are of {len(timelines)} different lengths: give length in steps, as 60st"
        )
    hardest = int(np.argmax([c.strategy.pull_strength for c in configs]))
    pulled = configs[hardest]
    start = entered(first, model, rows[0], found[0].fresh)
    # All that is frozen at first, in the dtype that is asked for; what runs only once as well.
    halved = frozenset(rows[0][0].frozen)
    dtype = jnp.bfloat16 if first.train.frozen_dtype == "bfloat16" else None
    dtypes = {}
    if dtype is not None:
        dtypes = dict.fromkeys(halved - anchored(pulled, rows[hardest]), dtype)
    moving = {path for stages in rows for plan in stages for path in plan.trainable}
    weights = Weights(model, found, moving, source, dtypes)
    anchor = source_weights(
        pulled,
        source,
        rows[hardest],
        weights.line(place[hardest]),
        found[place[hardest]].fresh,
        take=True,
    )
    if dtype is not None:
        weights.cast(halved, dtype)
    feed = feed_of(model, start, found[0].shapes, weights.still, weights.statistics(0))
    parameters = pulled.strategy.pull not in FUNCTION_FORMS and pulled.strategy.pull_strength > 0
    recipe = Recipe(
        optimizer=dataclasses.replace(optimizers[0], rate=1.0),
        accumulate=first.train.accumulate,
        ema=first.train.ema or None,
        function_pull=make_function_pull(pulled.strategy),
        source_head=heads.build(dict(source.head)) if source and source.head else None,
        share_pull=parameters,
    )
    return Group(
        configs=tuple(configs),
        model=feed.model or model,
        whole=model,
        lines=tuple(Line(b.task, read, feed) for b, read in zip(found, batches, strict=True)),
        line=np.asarray(place, np.int32),
        plans=tuple(rows),
        timeline=timelines.pop(),
        recipe=recipe,
        optimizers=tuple(optimizers),
        source=anchor,
        weights=weights,
        frozen_dtype=dtype,
    )


def _timeline(config: RunConfig, rows: tuple[Plan, ...], batches: TaskBatches) -> Timeline:
    return timeline(
        rows,
        steps_per_epoch=batches.steps_per_epoch if len(rows) > 1 else 1,
        steps=training_steps(config, batches.steps_per_epoch),
        accumulate=config.train.accumulate,
    )


def _line_key(config: RunConfig) -> str:
    """What the data of a run, and what it begins with, depend on."""
    return json.dumps([to_json(config)["data"], config.train.seed, config.strategy.fresh])
