"""Runs that share a program: trained and judged in blocks, what is common to them kept once."""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from tlearn.model import Model, variables
from tlearn.params import FlatParams
from tlearn.train.mesh import AXIS
from tlearn.train.state import SourceWeights, State
from tlearn.train.step import COUNTED, Objective, Step, inputs

How = Literal["map", "vmap"]
USED = 0.5
"""Share of a device's memory that a block of runs may take: of all there is, not of what is free
just now, so that a study that goes on is cut into the same blocks."""


@dataclasses.dataclass(frozen=True)
class Block:
    """Runs side by side.

    Attributes:
        states: Their states, stacked along a first axis; ``frozen`` holds only what differs.
        shared: Frozen parameters that are the same in all runs, once.
        line: Which line of the batches a run reads, ``[runs]``: runs of equal seed and data read
            the same.
        lines: What these lines are called by whoever makes the batches.
    """

    states: State
    shared: FlatParams
    line: Int[np.ndarray, " runs"]
    lines: tuple[int, ...] = ()

    @property
    def runs(self) -> int:
        """How many."""
        return len(self.line)

    def params(self) -> tuple[FlatParams, FlatParams]:
        """Parameters that differ, averaged where averages are kept, and those that are shared."""
        return {**self.states.params, **(self.states.ema or {})}, self.shared


@dataclasses.dataclass(eq=False)
class Compiler:
    """Compiles programs ahead and keeps them, so that compilations can be counted.

    Attributes:
        compilations: Programs compiled so far, by what they are for.
        bytes: What the largest of them needs of a device, arguments included.
    """

    compilations: dict[str, int] = dataclasses.field(default_factory=dict)
    bytes: int = 0
    _kept: dict[Any, Any] = dataclasses.field(default_factory=dict, repr=False)

    def __call__(self, name: str, key: Any, function: Callable[..., Any], *args: Any) -> Any:
        """Runs a function on arrays, compiled once for their shapes.

        Args:
            name: What it is for.
            key: What the function depends on beside its arguments.
            function: Pure.
            *args: Its arguments.
        """
        return self.compiled(name, key, function, *args)(*args)

    def compiled(self, name: str, key: Any, function: Callable[..., Any], *args: Any) -> Any:
        """The compiled function, for the shapes of its arguments."""
        leaves, tree = jax.tree.flatten(args)
        shapes = tuple((x.shape, str(x.dtype), _place_of(x)) for x in leaves)
        place = (name, key, tree, shapes)
        if place not in self._kept:
            made = jax.jit(function).lower(*args).compile()
            self._kept[place] = made
            self.compilations[name] = self.compilations.get(name, 0) + 1
            self.bytes = max(self.bytes, needed_bytes(made))
        return self._kept[place]


def _place_of(array: Any) -> Any:
    """Where an array, or a shape, lies on a mesh; None off it."""
    sharding = getattr(array, "sharding", None)
    return sharding if isinstance(sharding, NamedSharding) else None


def nbytes(tree: Any) -> int:
    """Bytes of a tree of arrays or of shapes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def needed_bytes(compiled: Any) -> int:
    """What a compiled program needs of a device: arguments, results and what lies between."""
    found = compiled.memory_analysis()
    if found is None:
        return 0
    parts = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    return sum(int(getattr(found, part, 0)) for part in parts) - int(
        getattr(found, "alias_size_in_bytes", 0)
    )


def memory_limit() -> int:
    """Bytes that a block of runs may take on one device."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(USED * stats["bytes_limit"])
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return int(USED * pages * size / max(jax.local_device_count(), 1))


def side_by_side(
    states: list[State], shared: FlatParams, mesh: Mesh | None = None
) -> tuple[State, FlatParams]:
    """Stacks states of one structure along a first axis, array by array.

    Args:
        states: One a run; taken out of the list, so that what nobody else holds is gone as soon
            as it is in the stack.
        shared: What all of them share.
        mesh: Where the runs are spread, and what they share is copied; None for one device.

    Returns:
        The stack, and what is shared, where they belong.

    Raises:
        ValueError: If the states differ in structure.
    """
    structure, columns = jax.tree.structure(states[0]), [jax.tree.leaves(s) for s in states]
    if any(jax.tree.structure(state) != structure for state in states):
        raise ValueError("runs side by side must train and share the same parameters")
    states.clear()
    stacked = []
    for place in range(structure.num_leaves):
        # Waited for: arrays that are still to be copied cannot go.
        one = jax.block_until_ready(_stacked([leaves[place] for leaves in columns]))
        for leaves in columns:
            leaves[place] = None
        stacked.append(one if mesh is None else jax.device_put(one, _shardings(mesh)[0]))
    if mesh is not None:
        shared = {path: jax.device_put(v, _shardings(mesh)[1]) for path, v in shared.items()}
    return jax.tree.unflatten(structure, stacked), shared


def _stacked(arrays: list[Array]) -> Array:
    if all(array is arrays[0] for array in arrays):
        return jnp.broadcast_to(arrays[0], (len(arrays), *arrays[0].shape))
    return jnp.stack(arrays)


def train_block(
    compiler: Compiler,
    step: Step,
    block: Block,
    source: SourceWeights,
    batches: Mapping[str, np.ndarray],
    count: int,
    *,
    how: How,
    mesh: Mesh | None = None,
) -> tuple[Block, dict[str, np.ndarray]]:
    """Takes a number of steps with every run.

    Args:
        compiler: Keeps the program.
        step: The pure step all runs share.
        block: The runs.
        source: What pulls hold on to, shared.
        batches: Batches of every line, ``[lines steps b ...]``.
        count: Steps to take, at most as many as there are batches; a number of the program, so
            that a last, shorter part compiles nothing.
        how: ``vmap`` for all runs at once, ``map`` for one after another inside the program.
        mesh: Devices to spread the runs over; their number must divide that of the runs.

    Returns:
        The runs, and by run: ``loss`` and ``count`` summed over the steps, and ``finite``, the
        number of finite steps.
    """
    args = _train_args(block, source, batches, count, mesh)
    states, sums = _compiled_train(compiler, step, args, how, mesh)(*args)
    return dataclasses.replace(block, states=states), jax.device_get(sums)


def compile_train(
    compiler: Compiler,
    step: Step,
    block: Block,
    source: SourceWeights,
    batches: Mapping[str, np.ndarray],
    *,
    how: How,
    mesh: Mesh | None = None,
) -> Any:
    """The compiled program of `train_block` for such runs and batches: what it needs can be asked.

    The arguments are those of `train_block`; of runs, shapes will do.
    """
    args = _train_args(block, source, batches, 0, mesh)
    return _compiled_train(compiler, step, args, how, mesh)


def _compiled_train(
    compiler: Compiler, step: Step, args: tuple[Any, ...], how: How, mesh: Mesh | None
) -> Any:
    def train(
        states: State,
        line: Array,
        shared: FlatParams,
        source: SourceWeights,
        batches: Mapping[str, Array],
        count: Array,
    ) -> Any:
        def one(run: tuple[State, Array]) -> Any:
            own, line = run
            own_frozen = own.frozen

            def advance(turn: Array, carried: Any) -> Any:
                state, sums = carried
                batch = {name: array[line, turn] for name, array in batches.items()}
                whole = dataclasses.replace(state, frozen={**shared, **own_frozen})
                after, log = step(whole, batch, source)
                after = dataclasses.replace(after, frozen={})
                return after, {name: sums[name] + log[name] for name in sums}

            names = ("loss", "count", "finite")
            sums = {name: jnp.zeros((), jnp.float32) for name in names}
            moving = dataclasses.replace(own, frozen={})
            state, sums = jax.lax.fori_loop(0, count, advance, (moving, sums))
            return dataclasses.replace(state, frozen=own_frozen), sums

        return jax.lax.map(one, (states, line)) if how == "map" else jax.vmap(one)((states, line))

    return compiler.compiled("train", (step, how, mesh), _spread(train, mesh, 2, 4), *args)


def _train_args(
    block: Block,
    source: SourceWeights,
    batches: Mapping[str, np.ndarray],
    count: int,
    mesh: Mesh | None,
) -> tuple[Any, ...]:
    rest = (block.shared, source, _arrays(batches), jnp.asarray(count, jnp.int32))
    *moving, rest = _placed((block.states, jnp.asarray(block.line)), rest, mesh)
    return *moving, *rest


def judge_block(
    compiler: Compiler,
    model: Model,
    objective: Objective,
    kept: Callable[..., Array],
    block: Block,
    batch: Mapping[str, np.ndarray],
    *,
    how: How,
    mesh: Mesh | None = None,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Judges every run on one batch of its line.

    Args:
        compiler: Keeps the program.
        model: The model.
        objective: What is measured.
        kept: What is kept of the outputs, as tasks say.
        block: The runs.
        batch: ``[lines b ...]``; one line serves all runs.
        how: As in `train_block`.
        mesh: As in `train_block`.

    Returns:
        Sums by name, ``[runs]``, and what is kept, ``[runs b ...]``.
    """

    def judge(
        own: FlatParams,
        collections: FlatParams,
        line: Array,
        shared: FlatParams,
        batch: Mapping[str, Array],
    ) -> Any:
        def one(run: Any) -> Any:
            params, statistics, line = run
            given = {name: array[line] for name, array in batch.items()}
            weights = variables({**shared, **params}, statistics)
            outputs: Any = model.apply(weights, *inputs(model, given), train=False)
            sums = objective(outputs, given)
            counts = {name + COUNTED: value for name, value in sums.counts.items()}
            told = {"loss": sums.loss, "count": sums.count, **sums.metrics, **counts}
            return told, kept(outputs, given)

        runs = (own, collections, line)
        return jax.lax.map(one, runs) if how == "map" else jax.vmap(one)(runs)

    own, shared = block.params()
    lines = len(next(iter(batch.values())))
    line = jnp.asarray(block.line if lines > 1 else np.zeros_like(block.line))
    function = _spread(judge, mesh, 3, 2)
    moving, rest = (own, block.states.collections, line), (shared, _arrays(batch))
    *moving, rest = _placed(moving, rest, mesh)
    key = (objective, kept, model, how, mesh)
    sums, rows = compiler("judge", key, function, *moving, *rest)
    return jax.device_get(sums), np.asarray(rows)


def _arrays(batch: Mapping[str, Any]) -> dict[str, Array]:
    return {name: jnp.asarray(array) for name, array in batch.items()}


def _spread(function: Callable[..., Any], mesh: Mesh | None, runs: int, rest: int) -> Any:
    """Spreads the first arguments over a mesh, a share of the runs a device."""
    if mesh is None:
        return function
    spread, whole = PartitionSpec(AXIS), PartitionSpec()
    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=(*(spread,) * runs, *(whole,) * rest),
        out_specs=(spread, spread),
        check_vma=False,
    )


def _placed(moving: tuple[Any, ...], rest: tuple[Any, ...], mesh: Mesh | None) -> tuple[Any, ...]:
    if mesh is None:
        return *moving, rest
    spread, whole = _shardings(mesh)
    return *(_put(value, spread) for value in moving), _put(rest, whole)


def _shardings(mesh: Mesh) -> tuple[NamedSharding, NamedSharding]:
    """Of what differs from run to run, and of what all share."""
    return NamedSharding(mesh, PartitionSpec(AXIS)), NamedSharding(mesh, PartitionSpec())


def _put(tree: Any, sharding: NamedSharding) -> Any:
    def put(leaf: Any) -> Any:
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
        return jax.device_put(leaf, sharding)

    return jax.tree.map(put, tree)
