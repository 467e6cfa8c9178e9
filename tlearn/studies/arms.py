"""Strategies side by side: arms × seeds × amounts of labels, few programs, paired runs."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from tlearn.bodies.cached import Cached
from tlearn.heads.registry import build as build_head
from tlearn.heads.registry import describe as describe_head
from tlearn.model import Model, initialise, variables
from tlearn.objectives import Classification
from tlearn.params import FlatParams, layer_of
from tlearn.studies.many import How, Runs, orders, predict_many, stack, train_many
from tlearn.train.random import stream
from tlearn.train.state import SourceWeights, State, init
from tlearn.train.step import Recipe, Step, make_step
from tlearn.transfer.optimizer import Optimizer
from tlearn.transfer.plan import Plan, fresh_patterns, plan, redraw
from tlearn.transfer.strategy import Strategy

Progress = Callable[[str, int], None]
Examples = np.ndarray | Mapping[str, np.ndarray]
"""Pictures, or whatever arrays a body takes by their names."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """One arm of a comparison.

    Attributes:
        name: What it is called in tables.
        strategy: What is frozen, trained, pulled.
        optimizer: How, at which rate.
        scratch: Start from fresh weights instead of the source's.
        cached: Run the body once and train on its features; the strategy must freeze the body.
    """

    name: str
    strategy: Strategy
    optimizer: Optimizer
    scratch: bool = False
    cached: bool = False

    def __post_init__(self):
        if self.cached and (self.scratch or self.strategy.freeze != "body"):
            raise ValueError(
                f"arm {self.name!r}: cached features need the source's body, frozen: "
                "Strategy(freeze='body') and scratch=False"
            )


@dataclasses.dataclass(frozen=True, eq=False)
class Bench:
    """What the arms of a comparison share.

    Attributes:
        model: Body and head.
        params: The source's body (head leaves are ignored) by path.
        collections: The source's statistics by path.
        examples: All that the runs may train on, prepared: pictures ``[n h w c]``, or arrays by the
            names of the body's inputs, examples first.
        label: Their labels.
        steps: Updates of a run.
        batch_size: Examples of an update.
        points: Into how many equal parts a run is cut to look at it in between; divides `steps`.
        how: As in `train_many`.
        mesh: Devices to spread the runs over.
    """

    model: Model
    params: Mapping[str, Any]
    collections: Mapping[str, Any]
    examples: Examples
    label: np.ndarray
    steps: int
    batch_size: int
    points: int = 1
    how: How = "map"
    mesh: Mesh | None = None
    _steps: dict[Any, Step] = dataclasses.field(default_factory=dict, repr=False)

    def __post_init__(self):
        if self.points < 1 or self.steps % self.points:
            raise ValueError(f"points={self.points} does not divide steps={self.steps}")


@dataclasses.dataclass(frozen=True)
class Cell:
    """The runs of one arm at one amount of labels.

    Attributes:
        logits: Outputs on the evaluation examples at the end, ``[runs n k]``.
        curve: ``[runs points]`` accuracy on the examples watched, at `at`.
        at: Updates at which the curve was measured.
        distance: ``{layer: [runs]}``, ‖w − w_source‖ over the layer's parameters.
        pull: Σ η·λ over the updates, mean over runs.
        plan: What every parameter did.
        wall_s: Seconds, compilation included.
        failed: Runs with a loss that was not finite, by position.
    """

    logits: np.ndarray
    curve: np.ndarray
    at: np.ndarray
    distance: dict[str, np.ndarray]
    pull: float
    plan: Plan
    wall_s: float
    failed: tuple[int, ...]


def run_cell(
    bench: Bench,
    setting: Setting,
    subsets: Sequence[np.ndarray],
    seeds: Sequence[int],
    *,
    evaluate_on: Examples,
    watch: tuple[Examples, np.ndarray] | None = None,
) -> Cell:
    """Trains one arm on every seed's subset, all in one program.

    Runs of equal seed in different arms have equal order, subset and fresh head: they are pairs.

    Args:
        bench: What the arms share.
        setting: The arm.
        subsets: Indices of the training examples of each run.
        seeds: One a run.
        evaluate_on: Examples whose outputs are wanted at the end.
        watch: Examples and labels for the curve; never those that are reported.

    Raises:
        ValueError: If the arm cannot be planned.
    """
    began = time.perf_counter()
    rows, states = _start(bench, setting, seeds)
    model, prepare = bench.model, functools.partial(named, bench.model)
    if setting.cached:
        model = Model(Cached(bench.model.body.feature_width), _head(bench.model))
        prepare = _features(bench)
    data = prepare(bench.examples) | {"label": bench.label}
    plans_key = (
        setting.cached,
        rows.trainable,
        rows.modes,
        rows.pull.form,
        rows.pull.way,
        rows.pull.schedule,
        dataclasses.replace(setting.optimizer, rate=1.0),
    )
    anchor: dict[str, Array] = {}
    if not setting.cached:
        anchor = {p: jnp.asarray(v) for p, v in bench.params.items() if p.startswith("body/")}
    if plans_key not in bench._steps:
        # The fully pulled plan: an arm without a pull runs it with λ = 0, bit for bit the same.
        whole = dataclasses.replace(
            rows,
            rows=tuple(
                dataclasses.replace(r, pull=1.0 if r.trainable and r.path in anchor else 0.0)
                for r in rows.rows
            ),
        )
        bench._steps[plans_key] = make_step(
            model,
            whole,
            Classification(_classes(bench.model)),
            Recipe(optimizer=setting.optimizer, share_pull=bool(anchor)),
        )
    step = bench._steps[plans_key]
    source = SourceWeights(params={p: v for p, v in anchor.items() if p in rows.trainable})
    order = orders(subsets, steps=bench.steps, batch_size=bench.batch_size, seeds=seeds)
    part = bench.steps // bench.points
    shown = None if watch is None else (prepare(watch[0]), watch[1])
    curve, pulled, bad = [], np.zeros(len(seeds)), set()
    for point in range(bench.points):
        span = order[:, point * part : (point + 1) * part]
        runs: Runs = train_many(step, states, source, data, span, how=bench.how, mesh=bench.mesh)
        states = runs.states
        pulled += runs.logs["pull_step"].sum(axis=1)
        bad |= set(np.flatnonzero(~runs.logs["finite"].all(axis=1)).tolist())
        if shown is not None:
            logits = predict_many(model, states, shown[0], how=bench.how, mesh=bench.mesh)
            curve.append((logits.argmax(-1) == shown[1]).mean(axis=1))
    logits = predict_many(model, states, prepare(evaluate_on), how=bench.how, mesh=bench.mesh)
    return Cell(
        logits=logits,
        curve=np.stack(curve, axis=1) if curve else np.zeros((len(seeds), 0)),
        at=np.arange(1, len(curve) + 1) * part,
        distance=_distances(bench, states) if not setting.cached else {},
        pull=float(pulled.mean()),
        plan=rows,
        wall_s=time.perf_counter() - began,
        failed=tuple(sorted(bad)),
    )


def _start(bench: Bench, setting: Setting, seeds: Sequence[int]) -> tuple[Plan, State]:
    """The arm's plan and one initial state a seed."""
    found = named(bench.model, bench.examples)
    kinds = [jax.dtypes.canonicalize_dtype(x.dtype) for x in found.values()]
    first = [
        jax.ShapeDtypeStruct((1, *x.shape[1:]), kind)
        for x, kind in zip(found.values(), kinds, strict=True)
    ]
    layers = bench.model.body.layer_names
    states, rows = [], None
    for seed in seeds:
        key = jax.random.key(seed)
        drawn, statistics = initialise(bench.model, stream(key, "init"), *first)
        if setting.scratch:
            params, fresh, collections = drawn, frozenset(drawn), statistics
        else:
            body = {p: v for p, v in bench.params.items() if p.startswith("body/")}
            patterns = (*fresh_patterns(setting.strategy, layers), "head/.*")
            params, fresh = redraw({**drawn, **body}, drawn, patterns)
            # A head that normalises has statistics of its own, which no source knows.
            collections = {
                p: v if _is_fresh(p, fresh) else bench.collections[p] for p, v in statistics.items()
            }
        if setting.cached:
            params = {p: v for p, v in params.items() if p.startswith("head/")}
            collections = {}
        rows = _plan(setting, params, fresh & params.keys(), layers)
        states.append(
            init(
                rows,
                params,
                collections,
                setting.optimizer,
                total=bench.steps,
                key=stream(key, "run"),
            )
        )
    if rows is None:
        raise ValueError(f"arm {setting.name!r} has no seeds")
    return rows, stack(states)


def _plan(setting: Setting, params: FlatParams, fresh: Any, layers: tuple[str, ...]) -> Plan:
    if setting.cached:
        strategy = dataclasses.replace(setting.strategy, freeze="none")
        return plan(params, strategy, layers=(), fresh=fresh)
    return plan(params, setting.strategy, layers=layers, fresh=fresh)


def _is_fresh(path: str, fresh: frozenset[str]) -> bool:
    """Whether a statistic belongs to a layer that is drawn afresh."""
    return any(layer_of(p) == layer_of(path) for p in fresh)


def _head(model: Model) -> Any:
    return build_head(describe_head(model.head))


def _classes(model: Model) -> int:
    return int(describe_head(model.head)["classes"])


def named(model: Model, examples: Examples) -> dict[str, np.ndarray]:
    """The body's inputs by name, in its order; one array is its only input."""
    names = tuple(model.body.inputs)
    if isinstance(examples, Mapping):
        return {name: examples[name] for name in names}
    return {names[0]: examples}


def _features(bench: Bench) -> Callable[[Examples], dict[str, np.ndarray]]:
    """Runs the source's body once over examples, in blocks."""
    params = {p: jnp.asarray(v) for p, v in bench.params.items() if p.startswith("body/")}
    statistics = {p: jnp.asarray(v) for p, v in bench.collections.items()}
    key = ("features", bench.model)
    if key not in bench._steps:

        def pooled(params: Any, statistics: Any, inputs: Any) -> Array:
            body = bench.model.body
            tree = variables(
                {p.removeprefix("body/"): v for p, v in params.items()},
                {p.removeprefix("body/"): v for p, v in statistics.items()},
            )
            features: Any = body.apply(tree, *inputs, train=False)
            return features.pooled

        bench._steps[key] = jax.jit(pooled)
    apply: Any = bench._steps[key]

    def compute(examples: Examples, block: int = 256) -> dict[str, np.ndarray]:
        inputs = list(named(bench.model, examples).values())
        count = len(inputs[0])
        size = min(block, count)
        pad = -count % size
        whole = [np.concatenate([x, x[:pad]]) if pad else x for x in inputs]
        parts = [
            np.asarray(apply(params, statistics, [x[i : i + size] for x in whole]))
            for i in range(0, count, size)
        ]
        return {"features": np.concatenate(parts)[:count]}

    return compute


def _distances(bench: Bench, states: State) -> dict[str, np.ndarray]:
    """‖w − w_source‖ of every body layer, for every run."""
    squares: dict[str, np.ndarray] = {}
    for path, value in states.params.items():
        if path.startswith("body/") and path in bench.params:
            d = np.asarray(value) - np.asarray(bench.params[path])[None]
            layer = layer_of(path)
            with np.errstate(over="ignore", invalid="ignore"):  # A run that diverged is told.
                square = (d.reshape(len(d), -1) ** 2).sum(axis=1)
            squares[layer] = squares.get(layer, 0.0) + square
    return {layer: np.sqrt(squares[layer]) for layer in bench.model.body.layer_names}


def subsets(
    label: np.ndarray, per_class: Sequence[int], seeds: Sequence[int], *, among: np.ndarray
) -> dict[int, list[np.ndarray]]:
    """Draws n examples of each class for every seed; the smaller draws lie inside the larger.

    Args:
        label: Labels of all examples.
        per_class: Amounts of labels.
        seeds: One draw a seed.
        among: Indices that may be drawn.

    Raises:
        ValueError: If a class has fewer examples than asked for.
    """
    drawn: dict[int, list[np.ndarray]] = {n: [] for n in per_class}
    for seed in seeds:
        rng = np.random.default_rng([seed, 0x5B5])
        by_class = [rng.permutation(among[label[among] == k]) for k in np.unique(label[among])]
        short = min(map(len, by_class))
        if short < max(per_class):
            raise ValueError(f"{max(per_class)} per class asked for, a class has only {short}")
        for n in per_class:
            drawn[n].append(np.sort(np.concatenate([line[:n] for line in by_class])))
    return drawn
