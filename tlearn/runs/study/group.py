"""Runs that share a program, made ready: their data by line, their states side by side."""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlearn import heads
from tlearn.data import reading_once
from tlearn.model import Model
from tlearn.params import FlatParams, layer_of
from tlearn.runs.anchor import source_weights
from tlearn.runs.config import RunConfig, to_json
from tlearn.runs.examples import make_task
from tlearn.runs.flops import count_flops
from tlearn.runs.initial import Initial, initial, load_source
from tlearn.runs.parts import (
    FUNCTION_FORMS,
    make_function_pull,
    make_model,
    make_optimizer,
    make_strategy,
    training_steps,
)
from tlearn.runs.study.features import Feed, feed_of
from tlearn.runs.taught import taught
from tlearn.studies.block import Block
from tlearn.tasks import Task, TaskBatches
from tlearn.train.loop import Timeline, timeline
from tlearn.train.random import stream
from tlearn.train.state import SourceWeights, State, init, numbers, restage
from tlearn.train.step import Recipe, Step, make_step
from tlearn.transfer.optimizer import Optimizer
from tlearn.transfer.plan import Plan, plans

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
        anchor: The source's body by path, for distances; empty without a source.
        begun: What the runs of each line begin with.
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
    anchor: FlatParams
    begun: tuple[Initial, ...]

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

    def block(self, runs: Sequence[int], *, repeat: int = 0) -> Block:
        """Some of the runs at step 0, side by side.

        Args:
            runs: Which.
            repeat: How often the last is repeated, to fill a block up.
        """
        chosen = [*runs, *[runs[-1]] * repeat]
        states = [self._start(run) for run in chosen]
        alike = self._alike(states[0])
        shared = {path: states[0].frozen[path] for path in alike}
        own = [_without(state, alike) for state in states]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *own)
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
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *own)
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
            rows.append({name: np.stack([b[name] for b in made]) for name in _needed(made[0])})
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    @functools.cached_property
    def batch_bytes(self) -> int:
        """Bytes of one step's batches, of all lines."""
        batch = self.lines[0].at(0)
        return len(self.lines) * sum(np.asarray(batch[name]).nbytes for name in _needed(batch))

    @functools.cached_property
    def step_flops(self) -> float | None:
        """FLOPs of one run's step in its last stage; None where XLA cannot say."""
        stage = self.stages - 1
        one = self.block([0])
        if stage:
            one = self.restage(one, [0], stage)
        state = jax.tree.map(lambda leaf: leaf[0], one.states)
        state = dataclasses.replace(state, frozen={**one.shared, **state.frozen})
        batch = {name: array[0, 0] for name, array in self.batches(0, 1, 1, one.lines).items()}
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

    def _start(self, run: int) -> State:
        config, begun = self.configs[run], self.begun[self.line[run]]
        rows, total = self._program_plan(0, run), self.timeline.steps // config.train.accumulate
        fresh = self._states.get(int(self.line[run]))
        if fresh is None:
            have = self.lines[0].feed.paths
            params = {p: v for p, v in begun.params.items() if have is None or p in have}
            layers = {row.layer for row in rows.rows}
            statistics = {p: v for p, v in begun.collections.items() if layer_of(p) in layers}
            fresh = init(
                rows,
                params,
                statistics,
                self.recipe.optimizer,
                total=total,
                key=stream(jax.random.key(config.train.seed), "run"),
                accumulate=config.train.accumulate,
                ema=config.train.ema > 0,
                function_pull=self.recipe.function_pull,
                frozen_dtype=jnp.bfloat16 if config.train.frozen_dtype == "bfloat16" else None,
            )
            self._states[int(self.line[run])] = fresh
        own = make_function_pull(config.strategy)
        return dataclasses.replace(fresh, numbers=numbers(rows, self.optimizers[run], total, own))

    @functools.cached_property
    def _states(self) -> dict[int, State]:
        return {}

    def _alike(self, state: State) -> frozenset[str]:
        """Frozen parameters that no seed draws: one copy serves all runs."""
        fresh = frozenset().union(*(begun.fresh for begun in self.begun))
        drawn = fresh if len(self.lines) > 1 else frozenset()
        return frozenset(path for path in state.frozen if path not in drawn)


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
    lines: dict[str, Line] = {}
    begun: list[Initial] = []
    place: list[int] = []
    model: Model | None = None
    for config in configs:
        key = _line_key(config)
        if key not in lines:
            task = make_task(config, source)
            model = model or make_model(config, task, source)
            begins = initial(config, source, model, task)
            begun.append(_like(begun[0], begins) if begun else begins)
            batches = task.train_batches(config.train.batch_size, config.train.seed)
            feed = next(iter(lines.values())).feed if lines else None
            lines[key] = Line(task, batches, feed or feed_of(config, model, begins))
            if len(lines) == 1:
                say(str(task))
        place.append(list(lines).index(key))
    if model is None:
        raise ValueError("a group without runs")
    found = tuple(lines.values())
    layers = model.body.layer_names
    rows, optimizers = [], []
    for config, at in zip(configs, place, strict=True):
        b = begun[at]
        rows.append(plans(b.params, make_strategy(config.strategy), layers=layers, fresh=b.fresh))
        optimizers.append(make_optimizer(config, found[at].batches.steps_per_epoch))
    timelines = {_timeline(c, rows[i], found[place[i]].batches) for i, c in enumerate(configs)}
    if len(timelines) > 1:
        raise ValueError(
            f"these runs are of {len(timelines)} different lengths: give length in steps, as 60st"
        )
    hardest = int(np.argmax([c.strategy.pull_strength for c in configs]))
    pulled = configs[hardest]
    own = begun[place[hardest]]
    anchor = source_weights(pulled, source, rows[hardest], own.params, own.fresh)
    parameters = pulled.strategy.pull not in FUNCTION_FORMS and pulled.strategy.pull_strength > 0
    recipe = Recipe(
        optimizer=dataclasses.replace(optimizers[0], rate=1.0),
        accumulate=first.train.accumulate,
        ema=first.train.ema or None,
        function_pull=make_function_pull(pulled.strategy),
        source_head=heads.build(dict(source.head)) if source and source.head else None,
        share_pull=parameters,
    )
    # Where arms draw layers afresh, others hold what the source has there.
    held = {p: v for b in begun for p, v in b.params.items() if p not in b.fresh}
    return Group(
        configs=tuple(configs),
        model=found[0].feed.model or model,
        whole=model,
        lines=found,
        line=np.asarray(place, np.int32),
        plans=tuple(rows),
        timeline=timelines.pop(),
        recipe=recipe,
        optimizers=tuple(optimizers),
        source=anchor,
        anchor={p: v for p, v in held.items() if p.startswith("body/")},
        begun=tuple(begun),
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


def _like(first: Initial, other: Initial) -> Initial:
    """The same with the first one's arrays wherever nothing is drawn: kept once."""
    drawn = other.fresh | first.fresh
    params = {p: v if p in drawn else first.params[p] for p, v in other.params.items()}
    return other._replace(params=params)


def _without(state: State, alike: frozenset[str]) -> State:
    frozen = {path: value for path, value in state.frozen.items() if path not in alike}
    return dataclasses.replace(state, frozen=frozen)


def _needed(batch: Mapping[str, Any]) -> list[str]:
    """Names of a batch's arrays; the place in the dataset is for evaluations only."""
    return [name for name in batch if name != "index"]
