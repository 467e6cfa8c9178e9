"""Runs that share a program, side by side: what they read, and the states they begin with."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from tlearn.model import Model
from tlearn.params import FlatParams, layer_of
from tlearn.runs.config import RunConfig
from tlearn.runs.flops import count_flops
from tlearn.runs.parts import make_function_pull
from tlearn.runs.study.features import Feed
from tlearn.runs.study.weights import Weights
from tlearn.runs.taught import taught
from tlearn.studies.block import Block, side_by_side
from tlearn.tasks import Task, TaskBatches
from tlearn.train.loop import Timeline
from tlearn.train.random import stream
from tlearn.train.state import SourceWeights, State, init, numbers, restage
from tlearn.train.step import Recipe, Step, make_step
from tlearn.transfer.optimizer import Optimizer
from tlearn.transfer.plan import Plan

KEPT = 2**27
"""Bytes of a part that is judged which are kept from look to look."""


@dataclasses.dataclass(frozen=True, eq=False)
class Line:
    """What runs of equal seed and data read.

    Attributes:
        task: The data.
        batches: The training batches.
        feed: Turns a batch into what the program takes of it.
    """

    task: Task
    batches: TaskBatches
    feed: Feed
    _kept: dict[Any, list[dict[str, np.ndarray]]] = dataclasses.field(
        default_factory=dict, repr=False
    )

    def at(self, step: int) -> dict[str, np.ndarray]:
        """The training batch of a step, as the program takes it."""
        return self.feed(self.batches.at(step), self.batches.dataset.digest)

    def judged(self, part: Any, batch_size: int) -> Iterable[dict[str, np.ndarray]]:
        """One pass over a part, as the program takes it; kept for the next look if it is small."""
        key = (part.digest, batch_size)
        if key in self._kept:
            return self._kept[key]
        batches = self.task.eval_batches(part, batch_size)
        count = batches.steps_per_epoch
        first = self.feed(batches.at(0), part.digest)
        made = (self.feed(batches.at(i), part.digest) for i in range(count))
        if count * sum(array.nbytes for array in first.values()) > KEPT:
            return made
        self._kept[key] = list(made)
        return self._kept[key]


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Runs that share a program.

    Attributes:
        configs: Of the runs.
        model: What the program runs; less than `whole` where features are computed once.
        whole: Body and head of the runs.
        lines: What they read.
        line: Which line each run reads.
        plans: The stages' plans of every run, over all parameters.
        timeline: Length and stage boundaries, the same for all.
        recipe: The same for all but for numbers.
        optimizers: Of every run.
        source: What pulls hold on to.
        weights: What the runs of each line begin with.
        frozen_dtype: Dtype of frozen parameters; None for their own.
    """

    configs: tuple[RunConfig, ...]
    model: Model
    whole: Model
    lines: tuple[Line, ...]
    line: np.ndarray
    plans: tuple[tuple[Plan, ...], ...]
    timeline: Timeline
    recipe: Recipe
    optimizers: tuple[Optimizer, ...]
    source: SourceWeights
    weights: Weights
    frozen_dtype: Any = None

    @property
    def task(self) -> Task:
        """The first line's task: what all have in common is read off it."""
        return self.lines[0].task

    @property
    def stages(self) -> int:
        """How many stages a run has."""
        return len(self.plans[0])

    @functools.cached_property
    def steps(self) -> tuple[Step, ...]:
        """The pure step of each stage."""
        model, objective = taught(self.configs[0], self.model, self.task.objective)
        return tuple(
            make_step(model, self._program_plan(stage), objective, self.recipe)
            for stage in range(self.stages)
        )

    def block(self, runs: Sequence[int], *, repeat: int = 0, mesh: Any = None) -> Block:
        """Some of the runs at step 0, side by side: the only holder of what trains.

        Args:
            runs: Which.
            repeat: How often the last is repeated, to fill a block up.
            mesh: Devices to spread the runs over, array by array; None for one.

        Raises:
            ValueError: If the source is not what it was when it was first read.
        """
        chosen = [*runs, *[runs[-1]] * repeat]
        begun = self.weights.take({int(self.line[run]) for run in chosen})
        begin = {line: self._begin(line, params) for line, params in begun.items()}
        states = [self._numbered(run, begin[int(self.line[run])]) for run in chosen]
        del begun, begin  # Array by array they go into the block, and nobody else keeps them.
        alike = self._alike(states[0])
        shared = {path: states[0].frozen[path] for path in alike}
        own = [_without(state, alike) for state in states]
        del states
        return self._block(chosen, *side_by_side(own, shared, mesh))

    def shapes(self, runs: Sequence[int], *, repeat: int = 0) -> Block:
        """The shapes of `block`; no weights are touched.

        Args:
            runs: Which.
            repeat: How often the last is repeated.
        """
        chosen = [*runs, *[runs[-1]] * repeat]
        alike = self._alike(self._shape)
        shared = {path: self._shape.frozen[path] for path in alike}
        states = jax.tree.map(
            lambda one: jax.ShapeDtypeStruct((len(chosen), *one.shape), one.dtype),
            _without(self._shape, alike),
        )
        return self._block(chosen, states, shared)

    def _block(self, chosen: Sequence[int], stacked: State, shared: FlatParams) -> Block:
        used = sorted({int(self.line[run]) for run in chosen})
        local = np.asarray([used.index(self.line[run]) for run in chosen], np.int32)
        # As many lines in every block of a size, so that all of them share a program.
        used += [used[-1]] * (min(len(self.lines), len(chosen)) - len(used))
        return Block(stacked, shared, local, tuple(used))

    def restage(self, block: Block, runs: Sequence[int], stage: int) -> Block:
        """Moves the runs of a block to their next stage."""
        chosen = [*runs, *[runs[-1]] * (block.runs - len(runs))]
        states = []
        for place, run in enumerate(chosen):
            state = jax.tree.map(lambda leaf, place=place: leaf[place], block.states)
            state = dataclasses.replace(state, frozen={**block.shared, **state.frozen})
            rows = self._program_plan(stage, run)
            states.append(restage(state, rows, self.recipe.optimizer, stage))
        # What was shared stays shared where it goes on frozen.
        alike = frozenset(path for path in block.shared if path in states[0].frozen)
        shared = {path: states[0].frozen[path] for path in alike}
        own = [_without(state, alike) for state in states]
        del states, state
        stacked, shared = side_by_side(own, shared)
        return dataclasses.replace(block, states=stacked, shared=shared)

    def batches(
        self, begin: int, count: int, room: int, lines: Sequence[int]
    ) -> dict[str, np.ndarray]:
        """Training batches of some lines, ``[lines room b ...]``; what is over repeats the last.

        Args:
            begin: The first step.
            count: How many are wanted.
            room: How many there is room for.
            lines: Which lines.
        """
        rows = []
        for line in (self.lines[place] for place in lines):
            made = [line.at(begin + i) for i in range(count)]
            made += [made[-1]] * (room - count)
            rows.append(stack_batches(made, _needed(made[0])))
        return stack_batches(rows, list(rows[0]))

    @functools.cached_property
    def batch_bytes(self) -> int:
        """Bytes of one step's batches, of all lines."""
        batch = self.lines[0].at(0)
        return len(self.lines) * sum(np.asarray(batch[name]).nbytes for name in _needed(batch))

    @functools.cached_property
    def step_flops(self) -> float | None:
        """FLOPs of one run's step in its last stage; None where XLA cannot say."""
        stage = self.stages - 1
        state = self._shape
        if stage:
            rows, optimizer = self._program_plan(stage, 0), self.recipe.optimizer
            state = jax.eval_shape(lambda state: restage(state, rows, optimizer, stage), state)
        first = (int(self.line[0]),)
        batch = {name: array[0, 0] for name, array in self.batches(0, 1, 1, first).items()}
        flops = count_flops(self.steps[stage], state, batch, self.source)
        return flops if math.isfinite(flops) else None

    def _program_plan(self, stage: int, run: int | None = None) -> Plan:
        """The plan that the program is made of: pulled wherever any run may be.

        Args:
            stage: Which stage.
            run: Whose numbers; None for the program itself.
        """
        rows = self._tail(self.plans[self._pulled_run if run is None else run][stage])
        if run is not None or not self.recipe.share_pull:
            return rows
        pulled = self.source.params
        changed = tuple(
            dataclasses.replace(r, pull=1.0 if r.trainable and r.path in pulled else 0.0)
            for r in rows.rows
        )
        return dataclasses.replace(rows, rows=changed)

    @property
    def _pulled_run(self) -> int:
        """The run that is pulled hardest: the program is made after it."""
        return int(np.argmax([c.strategy.pull_strength for c in self.configs]))

    def _tail(self, plan: Plan) -> Plan:
        """Rows of the parameters that the program has."""
        have = self.lines[0].feed.paths
        if have is None:
            return plan
        rows = tuple(row for row in plan.rows if row.path in have)
        layers = {row.layer for row in rows}
        modes = tuple((layer, mode) for layer, mode in plan.modes if layer in layers)
        return dataclasses.replace(plan, rows=rows, modes=modes)

    def _begin(self, line: int, params: Mapping[str, Any]) -> State:
        """The state at step 0 of a line's first run, which takes the arrays it is given."""
        run = int(np.flatnonzero(self.line == line)[0])
        config, rows = self.configs[run], self._program_plan(0, run)
        have = self.lines[0].feed.paths
        whole = {**params, **self.weights.still}
        layers = {row.layer for row in rows.rows}
        statistics = self.weights.statistics(line)
        return init(
            rows,
            {p: v for p, v in whole.items() if have is None or p in have},
            {p: v for p, v in statistics.items() if layer_of(p) in layers},
            self.recipe.optimizer,
            total=self.timeline.steps // config.train.accumulate,
            key=stream(jax.random.key(config.train.seed), "run"),
            accumulate=config.train.accumulate,
            ema=config.train.ema > 0,
            function_pull=self.recipe.function_pull,
            frozen_dtype=self.frozen_dtype,
            take=True,
        )

    def _numbered(self, run: int, state: State) -> State:
        """A line's state with the numbers of one of its runs."""
        config, rows = self.configs[run], self._program_plan(0, run)
        total = self.timeline.steps // config.train.accumulate
        own = make_function_pull(config.strategy)
        return dataclasses.replace(state, numbers=numbers(rows, self.optimizers[run], total, own))

    @functools.cached_property
    def _shape(self) -> State:
        """The shapes of a run's state at step 0."""
        line = int(self.line[0])
        return jax.eval_shape(
            lambda params: self._numbered(0, self._begin(line, params)), self.weights.shapes
        )

    def _alike(self, state: State) -> frozenset[str]:
        """Frozen parameters that no seed draws: one copy serves all runs."""
        return frozenset(path for path in state.frozen if path not in self.weights.drawn)


def _without(state: State, alike: frozenset[str]) -> State:
    frozen = {path: value for path, value in state.frozen.items() if path not in alike}
    return dataclasses.replace(state, frozen=frozen)


def stack_batches(
    batches: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Puts some arrays of batches side by side, along a new first axis.

    Raises:
        ValueError: If they are not of one shape, as batches of texts are that have several widths.
    """
    made = {}
    for name in names:
        arrays = [np.asarray(batch[name]) for batch in batches]
        shapes = sorted({array.shape for array in arrays})
        if len(shapes) > 1:
            raise ValueError(
                f"runs that are trained side by side need batches of one shape, and their {name} "
                f"are {' and '.join(map(str, shapes))}; of texts say one width for all, as in "
                f"widths={shapes[-1][-1]} with max_length={shapes[-1][-1]}, or how=single"
            )
        made[name] = np.stack(arrays)
    return made


def _needed(batch: Mapping[str, Any]) -> list[str]:
    """Names of a batch's arrays; the place in the dataset is for evaluations only."""
    return [name for name in batch if name != "index"]
