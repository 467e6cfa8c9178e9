"""The training step: pure, jitted, donated; differentiates only what trains."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from tlearn.model import Model, variables
from tlearn.objectives import Sums
from tlearn.params import FlatParams, flatten, merge
from tlearn.train.random import stream
from tlearn.train.schedules import parse
from tlearn.train.state import SourceWeights, State
from tlearn.transfer.function_pull import FunctionPull
from tlearn.transfer.optimizer import Optimizer, choose, take_step
from tlearn.transfer.plan import Plan
from tlearn.transfer.pull import Pull

Objective = Callable[[Array, Mapping[str, Array]], Sums]
Batch = Mapping[str, Array]
Step = Callable[[State, Batch, SourceWeights], tuple[State, dict[str, Array]]]
COUNTED = "/count"
"""Behind a metric's name in a log: what the metric is a mean over, where not over examples."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a step trains: everything static that is neither model, plan nor number.

    Attributes:
        optimizer: The optimizer; its rate is overridden by the state's ``peak``.
        accumulate: Batches per update; their gradient sums and counts are added, so ragged
            batches weigh by their examples.
        ema: Decay of averaged weights per update (Polyak & Juditsky 1992); None for none.
        function_pull: A pull in function space beside the plan's pull on parameters.
        share_pull: Compile the pull in even where the plan's strength is 0, so that runs with and
            without one share a step. A plan of strength 0 otherwise compiles to exactly the step
            without a pull; a shared step with λ = 0 equals it to the compiler's last rounding.
        source_head: The source's head, for a function pull on logits.
    """

    optimizer: Optimizer
    accumulate: int = 1
    ema: float | None = None
    function_pull: FunctionPull | None = None
    source_head: nn.Module | None = None
    share_pull: bool = False

    def __post_init__(self):
        if self.accumulate < 1:
            raise ValueError(f"accumulate is {self.accumulate}; it must be at least 1")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema is {self.ema}; it must be between 0 and 1, or None")


def make_step(model: Model, plan: Plan, objective: Objective, recipe: Recipe) -> Step:
    """Builds the pure training step of a plan; `compile_step` jits it.

    The step takes ``(state, batch, source)`` and returns the next state and sums to log:
    ``loss``, ``count``, the objective's metrics (sums), ``function_pull`` if there is one (its
    share of the loss, which ``loss`` leaves out), and ``gradient_norm``, ``rate``, ``pull_step``
    (η·λ), ``updated`` and ``finite``. From the first loss or gradient that is not
    finite the state stays as it was before that step, so it remains worth saving.
    """
    train = plan.train_layers

    def step(state: State, batch: Batch, source: SourceWeights) -> tuple[State, dict[str, Array]]:
        key = stream(state.key, "train", state.step)

        def total_loss(trainable: FlatParams) -> tuple[Array, tuple[Sums, _Handed, Array]]:
            sums, handed, extra = _forward(
                model, objective, recipe, state, trainable, batch, source, train, key
            )
            return sums.loss + extra, (sums, handed, extra)

        gradients, (sums, handed, extra) = jax.grad(total_loss, has_aux=True)(state.trainable)
        log = {"loss": sums.loss, "count": sums.count, **sums.metrics}
        log |= {name + COUNTED: value for name, value in sums.counts.items()}
        if recipe.function_pull is not None:
            log["function_pull"] = extra
        count = sums.count
        if state.gathered is not None:
            before = state.gathered["gradients"]
            gradients = {path: before[path] + g for path, g in gradients.items()}
            count = state.gathered["count"] + count
        # Known beforehand where every batch is an update's last.
        due = (state.step + 1) % recipe.accumulate == 0 if recipe.accumulate > 1 else None
        pulled = _pulled(plan, source, recipe)
        sound = state.sound & jnp.isfinite(sums.loss)
        new, report = _update(
            state, plan.pull, pulled, recipe, gradients, count, source, due, sound
        )
        if due is not None:
            waiting = dataclasses.replace(state, gathered={"gradients": gradients, "count": count})
            new = _choose(due, new, waiting)
        log |= report | {"updated": jnp.ones((), bool) if due is None else due}
        new = dataclasses.replace(new, step=state.step + 1, **handed._asdict())
        spoiled = dataclasses.replace(state, sound=jnp.zeros((), bool))
        return _choose(report["finite"], new, spoiled), log

    return step


def compile_step(step: Step, *, shardings: Any = None) -> Step:
    """Jits a step with its state donated; ``shardings`` are the state's, on a mesh."""
    if shardings is None:
        return jax.jit(step, donate_argnums=0)
    return jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))


def inputs(model: Model, batch: Mapping[str, Any]) -> list[Any]:
    """The body's inputs out of a batch, in the body's order."""
    return [batch[name] for name in model.body.inputs]


def reading(model: Model, batch: Mapping[str, Any], carry: Any) -> dict[str, Any]:
    """What a model is told beside its inputs: where targets are, and what rows go on from.

    Args:
        model: The model; of the batch it is told what its ``reading`` names.
        batch: ``places`` [b m], if few tokens are predicted; ``continues`` [b], 0 for rows that
            begin anew, with a carry.
        carry: What the body handed on from the batch before; None for bodies without.
    """
    told = {name: batch[name] for name in model.reading if name in batch}
    if carry is None:
        return told
    going = batch["continues"]

    def begun(value: Array) -> Array:
        rows = going.reshape(-1, *(1,) * (value.ndim - 1))
        return jnp.where(rows > 0, value, jnp.zeros((), value.dtype))

    return told | {"carry": jax.lax.stop_gradient(jax.tree.map(begun, carry))}


class _Handed(NamedTuple):
    """What a step hands to the next beside the weights."""

    collections: FlatParams
    carry: Any


def _forward(
    model: Model,
    objective: Objective,
    recipe: Recipe,
    state: State,
    trainable: FlatParams,
    batch: Batch,
    source: SourceWeights,
    train: frozenset[str],
    key: Array,
) -> tuple[Sums, _Handed, Array]:
    """Loss sums, new statistics and carry, and the pull in function space as a further loss sum.

    Raises:
        ValueError: If a pull in function space lacks source weights: the moving ones would stand
            in for them.
    """
    params = merge(trainable, state.frozen)
    rngs = {name: stream(key, name) for name in ("dropout", "sample")}
    (features, logits), updated = model.apply(
        variables(params, state.collections),
        *inputs(model, batch),
        train=train,
        rngs=rngs,
        mutable=["batch_stats"],
        method="both",
        **reading(model, batch, state.carry),
    )
    carry = None if state.carry is None else jax.lax.stop_gradient(features.carry)
    handed = _Handed(flatten(updated["batch_stats"]) if state.collections else {}, carry)
    sums = objective(logits, batch)
    if recipe.function_pull is None:
        return sums, handed, jnp.zeros(())
    if "function_pull" not in state.numbers:
        raise ValueError(
            "the state has no strength for the recipe's pull in function space: make it with "
            "init(..., function_pull=recipe.function_pull)"
        )
    absent = [p for p in trainable if p.startswith("body/") and p not in source.params]
    if absent:
        raise ValueError(
            f"a pull in function space needs the source's weights of all that trains in the body; "
            f"{absent[:10]} have none: pass them in SourceWeights(params=...)"
        )
    # The source body in evaluation mode on the same inputs: frozen layers are its own.
    body = {p: v for p, v in params.items() if p.startswith("body/")} | dict(source.params)
    head = {p: v for p, v in params.items() if p.startswith("head/")}
    anchor = jax.lax.stop_gradient(merge(body, head))
    source_features: Any = model.apply(
        variables(anchor, source.collections),
        *inputs(model, batch),
        train=False,
        method="features",
    )
    extra = recipe.function_pull.loss_sum(
        features,
        source_features,
        batch["mask"],
        recipe.source_head,
        source.head,
        state.numbers["function_pull"],
    )
    return sums, handed, extra


def _pulled(plan: Plan, source: SourceWeights, recipe: Recipe) -> tuple[str, ...]:
    """What is pulled: what the plan says, if it pulls at all or the recipe shares the step.

    Raises:
        ValueError: If the source lacks weights to pull to.
    """
    if plan.pull.strength == 0 and not recipe.share_pull:
        return ()
    absent = [path for path in plan.pulled if path not in source.params]
    if absent:
        raise ValueError(
            f"the plan pulls {len(plan.pulled)} parameters toward the source, whose weights were "
            f"not given for {absent[:10]}; pass SourceWeights(params=...)"
        )
    return plan.pulled


def _update(
    state: State,
    pull: Pull,
    pulled: tuple[str, ...],
    recipe: Recipe,
    gradients: FlatParams,
    count: Array,
    source: SourceWeights,
    due: Array | None,
    sound: Array,
) -> tuple[State, dict[str, Array]]:
    """One optimizer update from gradient sums over ``count`` examples."""
    total = state.numbers["total"]
    trainable, slots, report = take_step(
        recipe.optimizer,
        pull,
        pulled,
        gradients=gradients,
        share=1.0 / jnp.maximum(count, 1.0),
        slots=state.slots,
        trainable=state.trainable,
        source=source.params,
        fisher=source.fisher,
        numbers=state.numbers,
        factor=jnp.asarray(recipe.optimizer.schedule.multiplier(state.update, total)),
        strength_factor=jnp.asarray(parse(pull.schedule).multiplier(state.update, total)),
        due=due,
        sound=sound,
    )
    new = dataclasses.replace(state, update=state.update + 1, trainable=trainable, slots=slots)
    if recipe.ema is not None and state.ema is not None:
        new = dataclasses.replace(
            new, ema=optax.incremental_update(trainable, state.ema, 1 - recipe.ema)
        )
    if state.gathered is not None:
        new = dataclasses.replace(new, gathered=jax.tree.map(jnp.zeros_like, state.gathered))
    return new, report


def _choose(condition: Array, yes: State, no: State) -> State:
    """Takes one of two states; the optimizer's slots chose already, before they were used."""
    chosen = choose(condition, yes, dataclasses.replace(no, slots=yes.slots))
    return dataclasses.replace(chosen, slots=yes.slots)
