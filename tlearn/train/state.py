"""The state of a training: everything that a resumed run needs, and nothing else."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from tlearn.params import FlatParams, merge, split
from tlearn.transfer.function_pull import FunctionPull
from tlearn.transfer.optimizer import Optimizer
from tlearn.transfer.plan import Plan

Leaf = Any
"""An array; a map over a state may put its shape, its sharding or a saved copy in its place."""


@flax.struct.dataclass
class State:
    """A training at one step; with a leading axis everywhere, several runs side by side.

    Attributes:
        step: Batches seen; also the data cursor, since order is a function of (seed, step).
        update: Optimizer updates taken; schedules count these.
        stage: Index of the current stage's plan.
        trainable: Parameters that are differentiated, float32 masters.
        frozen: Parameters that are not; may be bfloat16 on request.
        collections: BatchNorm statistics by path.
        slots: Optimizer state, over `trainable` only.
        numbers: ``peak``, ``total``, per-parameter ``rate``, ``decay``, ``pull``, and
            ``function_pull`` where there is one: arrays, so that changing them compiles nothing.
        gathered: Gradient sum and count since the last update, when accumulating.
        ema: Averaged trainable weights, when asked for.
        key: Root of the random streams.
        carry: What a recurrent body hands from a batch to the next; None for other bodies.
        sound: False from the first non-finite loss on; such a state no longer changes.
    """

    step: Leaf
    update: Leaf
    stage: Leaf
    trainable: FlatParams
    frozen: FlatParams
    collections: FlatParams
    slots: PyTree
    numbers: FlatParams
    gathered: PyTree
    ema: PyTree
    key: Leaf
    sound: Leaf
    carry: PyTree = None

    @property
    def params(self) -> FlatParams:
        """All parameters by path."""
        return merge(self.trainable, self.frozen)


@flax.struct.dataclass
class SourceWeights:
    """What a pull holds on to: read-only, an argument of the step, never part of the state.

    Attributes:
        params: Source weights by path; all trainable body parameters for pulls in function space.
        fisher: Diagonal Fisher information by path, for the ``fisher`` form.
        collections: The source's BatchNorm statistics, for pulls in function space.
        head: The source's head, for the logit distance.
    """

    params: FlatParams = flax.struct.field(default_factory=dict)
    fisher: FlatParams | None = None
    collections: FlatParams = flax.struct.field(default_factory=dict)
    head: FlatParams | None = None


def init(
    plan: Plan,
    params: Mapping[str, Any],
    collections: Mapping[str, Any],
    optimizer: Optimizer,
    *,
    total: int,
    key: Array,
    accumulate: int = 1,
    ema: bool = False,
    frozen_dtype: Any = None,
    function_pull: FunctionPull | None = None,
    carry: PyTree = None,
    take: bool = False,
) -> State:
    """Builds the state at step 0 from a plan and initial parameters.

    Args:
        plan: The (first stage's) plan.
        params: All parameters by path.
        collections: BatchNorm statistics by path.
        optimizer: The optimizer.
        total: Optimizer updates the whole training will take.
        key: Root of the random streams, a typed PRNG key.
        accumulate: Batches per update.
        ema: Whether to keep averaged weights.
        frozen_dtype: Dtype of frozen parameters; None keeps float32.
        function_pull: The recipe's pull in function space, if it has one.
        carry: A recurrent body's state at a beginning, one row a row of a batch.
        take: Whether JAX arrays among ``params`` and ``collections`` are the state's from now on: a
            step gives them away, and nobody else may read them any more. By default it copies.

    Raises:
        ValueError: If ``total`` is below 1.
    """
    if total < 1:
        raise ValueError(f"a training of {total} updates trains nothing; give it at least 1")
    trainable, frozen = split(params, plan.trainable)
    trainable = {path: _own(value, jnp.float32, take) for path, value in trainable.items()}
    frozen = {path: _own(value, frozen_dtype, take) for path, value in frozen.items()}
    return State(
        step=jnp.zeros((), jnp.int32),
        update=jnp.zeros((), jnp.int32),
        stage=jnp.zeros((), jnp.int32),
        trainable=trainable,
        frozen=frozen,
        collections={path: _own(value, None, take) for path, value in collections.items()},
        slots=optimizer.direction().init(trainable),
        numbers=numbers(plan, optimizer, total, function_pull),
        gathered=_gathered(trainable) if accumulate > 1 else None,
        ema={p: jnp.array(v, copy=True) for p, v in trainable.items()} if ema else None,
        key=key,
        sound=jnp.ones((), bool),
        carry=jax.tree.map(lambda value: jnp.array(value, copy=True), carry),
    )


def numbers(
    plan: Plan, optimizer: Optimizer, total: int, function_pull: FunctionPull | None = None
) -> dict[str, Array]:
    """The numbers of a training as arrays; see `State`."""
    beside = {} if function_pull is None else {"function_pull": function_pull.strength}
    return {
        **{name: jnp.asarray(value, jnp.float32) for name, value in beside.items()},
        "peak": jnp.asarray(optimizer.rate, jnp.float32),
        "total": jnp.asarray(total, jnp.int32),
        **{name: jnp.asarray(values) for name, values in plan.numbers().items()},
    }


def restage(state: State, plan: Plan, optimizer: Optimizer, stage: int) -> State:
    """Moves a state to another stage's plan.

    Parameters keep their values wherever they land. Optimizer slots of parameters that go on
    training are carried over; those of newly trained ones start afresh.

    Args:
        state: The state at the end of a stage.
        plan: The next stage's plan.
        optimizer: The optimizer.
        stage: Index of the next stage.
    """
    trainable, frozen = split(state.params, plan.trainable)
    trainable = {path: value.astype(jnp.float32) for path, value in trainable.items()}
    fresh = optimizer.direction().init(trainable)
    ema = None
    if state.ema is not None:
        ema = {p: jnp.array(state.ema.get(p, v), copy=True) for p, v in trainable.items()}
    return dataclasses.replace(
        state,
        stage=jnp.asarray(stage, jnp.int32),
        trainable=trainable,
        frozen=frozen,
        slots=_carry(state.slots, fresh),
        numbers=state.numbers | {n: jnp.asarray(v) for n, v in plan.numbers().items()},
        gathered=None if state.gathered is None else _gathered(trainable),
        ema=ema,
    )


def _own(value: Any, dtype: Any, take: bool) -> Array:
    """An array that is the state's alone; None keeps its dtype."""
    if take and isinstance(value, jax.Array) and dtype in (None, value.dtype):
        return value
    # A copy: the state is donated step by step, and must not take the caller's array with it.
    own = jnp.array(value, copy=True)
    # Only where it differs: else every shape would have a program of its own that converts nothing.
    return own if dtype in (None, own.dtype) else own.astype(dtype)


def _gathered(trainable: FlatParams) -> dict[str, Any]:
    zeros = {path: jnp.zeros_like(value) for path, value in trainable.items()}
    return {"gradients": zeros, "count": jnp.zeros((), jnp.float32)}


def _carry(old: optax.OptState, new: optax.OptState) -> optax.OptState:
    """Copies slots of parameters both states have from ``old`` into ``new``."""

    def take(before: Any, after: Any) -> Any:
        if isinstance(after, dict):
            return {path: before.get(path, value) for path, value in after.items()}
        return before

    return jax.tree.map(take, old, new, is_leaf=lambda node: isinstance(node, dict))
