"""What a run would do and cost, from shapes alone."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tlearn.data.planned import is_planned
from tlearn.model import Model, shapes
from tlearn.runs.build import Built, build
from tlearn.runs.config import RunConfig, replace
from tlearn.runs.costs import USED, costs, optimizer_bytes
from tlearn.runs.flops import count_flops
from tlearn.runs.once import entering, first_running
from tlearn.studies.boundary import activations
from tlearn.train.state import SourceWeights, State, init
from tlearn.train.step import Recipe, make_step
from tlearn.transfer.plan import Plan, plan
from tlearn.transfer.strategy import Strategy


def explain(config: RunConfig, *, rate: float | int = 0.0, used: float | int = USED) -> str:
    """Describes a run: data, plan of every stage, FLOPs and bytes against full fine-tuning.

    FLOPs are XLA's own count of the traced step; nothing is drawn, compiled or trained.

    Args:
        config: The run; its data may be planned (`tlearn.data.planned`).
        rate: Peak of a device in FLOPs a second, to tell its hours; 0 tells none.
        used: Share of the peak that is reached.

    Raises:
        ValueError: As starting the run would, for anything that does not fit.
    """
    if is_planned(config.data.data) and not config.source:
        # A source that is not named: what would be drawn afresh costs what is loaded costs.
        config = replace(config, fresh="")
    said: list[str] = []
    built = build(config, said.append, draw=False)
    params, _ = shapes(built.model, *built.inputs)
    layers = built.model.body.layer_names
    everything = plan(params, Strategy(), layers=layers, fresh=built.fresh)
    recipe = built.program.recipe
    found = costs(
        built,
        lambda rows: step_flops(built, rows, recipe, built.source),
        once=once_flops(built),
    )
    whole = found.step_flops[-1]
    once = config.train.features == "once"
    if once or built.plans[-1].trainable != everything.trainable or built.source.params:
        plain = dataclasses.replace(recipe, function_pull=None)
        model = built.model if once else None
        whole = step_flops(built, everything, plain, SourceWeights(), model)
    staged = len(built.plans) > 1
    line = built.program.timeline
    parts = list(said)
    for number, (rows, flops) in enumerate(zip(built.plans, found.step_flops, strict=True)):
        title = f"stage {number}, from step {line.starts[number]}" if staged else "plan"
        kept = optimizer_bytes(recipe.optimizer, rows) / 2**20
        parts.append(
            f"{title}: {rows.summary()}\na step of {config.train.batch_size}: "
            f"{flops / 1e9:.4g} GFLOP, {flops / whole:.0%} of full fine-tuning; optimizer "
            f"{kept:.3g} MiB"
        )
    last = f"the last stage ({len(built.plans) - 1}), parameter by parameter\n" if staged else ""
    parts.append(f"{last}{built.plans[-1]}")
    parts.append(
        f"{line.steps} steps of {config.train.batch_size}, "
        f"{line.steps / line.steps_per_epoch:.3g} epochs, "
        f"{line.steps // config.train.accumulate} updates"
    )
    hours = ""
    if rate:
        hours = (
            f"\nhours of a device: {found.hours(rate, used):,.4g} at {rate:g} FLOP/s, of which "
            f"{used:.0%} is used"
        )
    parts.append(f"{found}{hours}")
    return "\n\n".join(parts)


def step_flops(
    built: Built, rows: Plan, recipe: Recipe, source: SourceWeights, model: Model | None = None
) -> float:
    """FLOPs of one step under a plan; see `count_flops`.

    Args:
        built: The run.
        rows: The plan.
        recipe: What else is static.
        source: What is pulled to.
        model: What runs in the step; by default what the run's own steps run.
    """
    params, collections = shapes(built.model, *built.inputs)
    model = model or built.program.model
    size = built.config.train.batch_size

    def begin() -> State:
        return init(
            rows,
            {p: jnp.zeros(v.shape, v.dtype) for p, v in params.items()},
            {p: jnp.zeros(v.shape, v.dtype) for p, v in collections.items()},
            recipe.optimizer,
            total=1,
            key=jax.random.key(0),
            accumulate=recipe.accumulate,
            ema=recipe.ema is not None,
            function_pull=recipe.function_pull,
        )

    batch = {
        name: jax.ShapeDtypeStruct((size, *one.shape[1:]), one.dtype)
        for name, one in built.task.example.items()
    }
    if built.config.train.features == "once" and model is not built.model:
        start = first_running(built.model, built.plans)
        batch["features"] = entering(built.model, start, _inputs(built), params, collections)
    step = make_step(model, rows, built.program.objective, recipe)
    return count_flops(step, jax.eval_shape(begin), batch, source)


def once_flops(built: Built) -> float:
    """FLOPs of what is computed once, before the first step; 0 where that is nothing."""
    train = built.config.train
    if train.features == "each-step":
        return 0.0
    params, collections = shapes(built.model, *built.inputs)
    start = first_running(built.model, built.plans)
    model: Any = built.model
    batch = count_flops(
        lambda *given: activations(model, start, *given), params, collections, _inputs(built)
    )
    batches = built.task.train_batches(train.batch_size, train.seed)
    return batch / train.batch_size * len(batches.dataset) * max(train.views, 1)


def _inputs(built: Built) -> list[jax.ShapeDtypeStruct]:
    """Shapes of a batch as the whole body takes it."""
    size = built.config.train.batch_size
    return [jax.ShapeDtypeStruct((size, *one.shape[1:]), one.dtype) for one in built.inputs]
