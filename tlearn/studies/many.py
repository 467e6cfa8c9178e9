"""Many runs in one compiled program: runs that differ in numbers, seeds, order or subset only."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PyTree

from tlearn.model import Model, variables
from tlearn.train.mesh import AXIS
from tlearn.train.state import SourceWeights, State
from tlearn.train.step import Step

How = Literal["map", "vmap"]


@dataclasses.dataclass(frozen=True)
class Runs:
    """Trained runs, stacked along a first axis.

    Attributes:
        states: Final states; every array has a leading run axis.
        logs: Sums logged by every step, ``[runs steps]`` by name.
    """

    states: State
    logs: dict[str, np.ndarray]


def stack(states: Sequence[State]) -> State:
    """Stacks states of equal structure along a new run axis.

    Raises:
        ValueError: If their parameters or frozen sets differ; such runs share no program.
    """
    if len({jax.tree.structure(state) for state in states}) > 1:
        raise ValueError(
            "runs that share a program must train the same parameters with the same optimizer; "
            "group them by plan first"
        )
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def unstack(states: State, run: int) -> State:
    """Takes one run out of stacked states."""
    return jax.tree.map(lambda leaf: leaf[run], states)


@functools.partial(jax.jit, static_argnames=("step", "how", "mesh"))
def _train(
    step: Step,
    how: How,
    mesh: Mesh | None,
    states: State,
    source: SourceWeights,
    data: Mapping[str, Array],
    orders: Array,
) -> tuple[State, dict[str, Array]]:
    def one(run: tuple[State, Array], source: SourceWeights, data: Mapping[str, Array]) -> Any:
        def advance(state: State, index: Array) -> Any:
            batch = {name: array[index] for name, array in data.items()}
            batch |= {"mask": jnp.ones(index.shape, jnp.float32), "index": index}
            return step(state, batch, source)

        return jax.lax.scan(advance, run[0], run[1])

    def block(states: State, orders: Array, source: SourceWeights, data: Any) -> Any:
        if how == "map":
            return jax.lax.map(lambda run: one(run, source, data), (states, orders))
        return jax.vmap(lambda s, o: one((s, o), source, data))(states, orders)

    if mesh is None:
        return block(states, orders, source, data)
    spread, whole = PartitionSpec(AXIS), PartitionSpec()
    return jax.shard_map(
        block,
        mesh=mesh,
        in_specs=(spread, spread, whole, whole),
        out_specs=(spread, spread),
        check_vma=False,
    )(states, orders, source, data)


def train_many(
    step: Step,
    states: State,
    source: SourceWeights,
    data: Mapping[str, np.ndarray],
    orders: Int[np.ndarray, "runs steps b"],
    *,
    how: How = "map",
    mesh: Mesh | None = None,
) -> Runs:
    """Trains many runs in one program.

    Args:
        step: The pure step (`tlearn.train.make_step`) all runs share. Keep the same object from
            call to call: the program is compiled once for it.
        states: Stacked initial states, one a run.
        source: Source weights, shared by all runs.
        data: The data set in memory, the body's inputs and ``label``, examples first, prepared;
            shared by all runs.
        orders: Indices of the examples of every batch; subsets are orders that leave the rest out.
        how: ``map`` runs one after another inside the program, ``vmap`` all at once. The first
            suits CPUs, where batched convolutions are slow, the second accelerators.
        mesh: Devices to spread the runs over; any number of runs will do.

    Raises:
        ValueError: If orders and states disagree on the number of runs.
    """
    runs = len(orders)
    have = states.step.shape[0]
    if runs != have:
        raise ValueError(f"{runs} orders for {have} states; every run needs one of each")
    if mesh is not None and runs % mesh.shape[AXIS]:
        pad = -runs % mesh.shape[AXIS]
        # Whole devices or nothing: the last run is repeated to fill up, and dropped again.
        states = jax.tree.map(lambda x: jnp.concatenate([x] + [x[-1:]] * pad), states)
        orders = np.concatenate([orders] + [orders[-1:]] * pad)
    placed = {name: jnp.asarray(array) for name, array in data.items()}
    if mesh is not None:
        spread = NamedSharding(mesh, PartitionSpec(AXIS))
        states, orders = jax.device_put((states, np.array(orders)), spread)
    final, logs = _train(step, how, mesh, states, source, placed, jnp.asarray(orders))
    final = jax.tree.map(lambda x: x[:runs], final)
    return Runs(final, {name: np.asarray(log)[:runs] for name, log in logs.items()})


@functools.partial(jax.jit, static_argnames=("model", "how", "mesh"))
def _predict(
    model: Model, how: How, mesh: Mesh | None, params: PyTree, collections: PyTree, given: PyTree
) -> Array:
    def one(run: tuple[Any, Any], given: PyTree) -> Array:
        logits: Any = model.apply(variables(run[0], run[1]), *given, train=False)
        return logits

    def block(params: PyTree, collections: PyTree, given: PyTree) -> Array:
        if how == "map":
            return jax.lax.map(lambda run: one(run, given), (params, collections))
        return jax.vmap(lambda p, c: one((p, c), given))(params, collections)

    if mesh is None:
        return block(params, collections, given)
    spread, whole = PartitionSpec(AXIS), PartitionSpec()
    return jax.shard_map(
        block, mesh=mesh, in_specs=(spread, spread, whole), out_specs=spread, check_vma=False
    )(params, collections, given)


def predict_many(
    model: Model,
    states: State,
    given: np.ndarray | Mapping[str, np.ndarray],
    *,
    how: How = "map",
    mesh: Mesh | None = None,
) -> np.ndarray:
    """Computes every run's outputs on the same examples, ``[runs n k]``.

    Args:
        model: The model.
        states: The runs, stacked.
        given: Its body's only input, or all of them by name, examples first.
        how: As in `train_many`.
        mesh: As in `train_many`.
    """
    params, collections = states.params, states.collections
    runs = states.step.shape[0]
    if mesh is not None:
        pad = -runs % mesh.shape[AXIS]
        repeat = functools.partial(jax.tree.map, lambda x: jnp.concatenate([x] + [x[-1:]] * pad))
        spread = NamedSharding(mesh, PartitionSpec(AXIS))
        params, collections = jax.device_put((repeat(params), repeat(collections)), spread)
    names = model.body.inputs
    arrays = [given[name] for name in names] if isinstance(given, Mapping) else [given]
    inputs = [jnp.asarray(array) for array in arrays]
    logits = _predict(model, how, mesh, params, collections, inputs)
    return np.asarray(logits)[:runs]


def orders(
    subsets: Sequence[np.ndarray], *, steps: int, batch_size: int, seeds: Sequence[int]
) -> Int[np.ndarray, "runs steps b"]:
    """Draws the order of examples of every run: fresh permutations of its subset, end to end.

    A batch larger than the subset holds each example more than once; over the training each is
    seen equally often, up to one.

    Args:
        subsets: Indices each run may use.
        steps: Batches a run.
        batch_size: Examples a batch.
        seeds: One a run; equal seeds and subsets give equal orders.
    """
    drawn = []
    for subset, seed in zip(subsets, seeds, strict=True):
        rng = np.random.default_rng([seed, 0x0DE2])
        passes = -(-steps * batch_size // len(subset))
        line = np.concatenate([rng.permutation(subset) for _ in range(passes)])
        drawn.append(line[: steps * batch_size].reshape(steps, batch_size))
    return np.stack(drawn).astype(np.int32)
