"""What a run would do and cost, from shapes alone."""

import jax
import jax.numpy as jnp

from tlearn import hub
from tlearn.model import shapes
from tlearn.runs.build import SourceWeights, abstract, make_optimizer, make_task, training_steps
from tlearn.runs.config import RunConfig
from tlearn.runs.config import replace as change
from tlearn.train.state import State, init
from tlearn.train.step import Recipe, make_step
from tlearn.transfer.plan import Plan


def explain(config: RunConfig) -> str:
    """Describes a run: data, plan of every stage, FLOPs and bytes against full fine-tuning.

    FLOPs are XLA's own count of the traced step; nothing is compiled, and the source's weights
    are not put on a device.

    Raises:
        ValueError: As starting the run would, for anything that does not fit.
    """
    source = hub.load(config.source) if config.source else None
    task = make_task(config, None if source is None else source.facts)
    model, plans = abstract(config, task)
    everything = change(config, freeze="none", unfreeze="none", pull_strength=0.0)
    _, full = abstract(everything, task)
    batches = task.train_batches(config.train.batch_size, config.train.seed)
    steps = training_steps(config, batches.steps_per_epoch)
    whole = step_flops(config, task, model, full[0])
    parts = [str(task)]
    for number, plan in enumerate(plans):
        flops = step_flops(config, task, model, plan)
        totals = plan.totals(make_optimizer(config).slots)
        title = f"stage {number}" if len(plans) > 1 else "plan"
        parts.append(
            f"{title}: {plan.summary()}\n{plan}\n"
            f"a step of {config.train.batch_size}: {flops / 1e9:.4g} GFLOP, "
            f"{flops / whole:.0%} of full fine-tuning; "
            f"optimizer {totals['optimizer_bytes'] / 2**20:.3g} MiB"
        )
    parts.append(
        f"{steps} steps of {config.train.batch_size}, "
        f"{steps / batches.steps_per_epoch:.3g} epochs, "
        f"{steps // config.train.accumulate} updates"
    )
    return "\n\n".join(parts)


def step_flops(config: RunConfig, task, model, plan: Plan) -> float:
    """FLOPs of one step under a plan, as XLA counts them before compiling."""
    facts, rows = task.facts, config.train.batch_size
    picture = jax.ShapeDtypeStruct((1, facts.size, facts.size, facts.channels), jnp.float32)
    params, collections = shapes(model, picture)
    recipe = Recipe(optimizer=make_optimizer(config), accumulate=config.train.accumulate)

    def begin() -> State:
        zeros = {p: jnp.zeros(v.shape, v.dtype) for p, v in params.items()}
        still = {p: jnp.zeros(v.shape, v.dtype) for p, v in collections.items()}
        return init(
            plan,
            zeros,
            still,
            recipe.optimizer,
            total=1,
            key=jax.random.key(0),
            accumulate=recipe.accumulate,
        )

    batch = {
        "image": jax.ShapeDtypeStruct((rows, *picture.shape[1:]), jnp.float32),
        "label": jax.ShapeDtypeStruct((rows,), jnp.int32),
        "mask": jax.ShapeDtypeStruct((rows,), jnp.float32),
    }
    pulled = {p: jax.ShapeDtypeStruct(params[p].shape, jnp.float32) for p in plan.pulled}
    fisher = dict(pulled) if plan.pull.form == "fisher" else None
    step = make_step(model, plan, task.objective, recipe)
    lowered = jax.jit(step).lower(
        jax.eval_shape(begin), batch, SourceWeights(params=pulled, fisher=fisher)
    )
    analysis = lowered.cost_analysis()
    return float((analysis or {}).get("flops", float("nan")))
