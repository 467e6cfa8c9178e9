"""What a run would do and cost, from shapes alone."""

import dataclasses

import jax
import jax.numpy as jnp

from tlearn.data.planned import is_planned
from tlearn.model import shapes
from tlearn.runs.build import Built, build
from tlearn.runs.config import RunConfig, replace
from tlearn.runs.costs import USED, costs, optimizer_bytes
from tlearn.runs.flops import count_flops
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
    found = costs(built, lambda rows: step_flops(built, rows, recipe, built.source))
    whole = found.step_flops[-1]
    if built.plans[-1].trainable != everything.trainable or built.source.params:
        plain = dataclasses.replace(recipe, function_pull=None)
        whole = step_flops(built, everything, plain, SourceWeights())
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


def step_flops(built: Built, rows: Plan, recipe: Recipe, source: SourceWeights) -> float:
    """FLOPs of one step under a plan; see `count_flops`."""
    params, collections = shapes(built.model, *built.inputs)
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
    step = make_step(built.model, rows, built.task.objective, recipe)
    return count_flops(step, jax.eval_shape(begin), batch, source)
