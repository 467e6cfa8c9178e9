"""From a config to the values a training needs: the calls of the library, in order."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlearn import heads, hub
from tlearn.data.planned import is_planned
from tlearn.hub.descent import descent
from tlearn.model import Model
from tlearn.params import FlatParams
from tlearn.runs.anchor import anchored, source_weights
from tlearn.runs.beginning import Start
from tlearn.runs.config import RunConfig
from tlearn.runs.devices import Devices
from tlearn.runs.examples import Progress, make_task
from tlearn.runs.going_out import no_way_back
from tlearn.runs.initial import Initial, initial, input_shapes, load_source, shapes_and_fresh
from tlearn.runs.once import (
    FeatureBatches,
    check_once,
    entering,
    first_running,
    once_program,
    store_features,
    stored_size,
    widest,
)
from tlearn.runs.parts import (
    make_function_pull,
    make_model,
    make_optimizer,
    make_strategy,
    training_steps,
)
from tlearn.runs.planned import planned_task
from tlearn.runs.source_task import SourceTask, source_task
from tlearn.runs.taught import taught
from tlearn.tasks import Task, TaskBatches
from tlearn.train.loop import Program, timeline
from tlearn.train.random import stream
from tlearn.train.state import SourceWeights, State, init
from tlearn.train.step import Recipe
from tlearn.transfer.plan import Plan, plans

Say = Callable[[str], None]
_FROZEN = {"float32": None, "bfloat16": jnp.bfloat16}
FOLDED = (
    "warning: the source's BatchNorm is folded into its convolutions (all running means are 0). In "
    "training mode it would normalise by the batch again, as the source never did: say --norms eval"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Built:
    """Everything a run consists of, before its first step.

    Attributes:
        config: What was asked.
        task: The data.
        model: Body and head.
        plans: What every parameter does, stage by stage.
        program: The stages' steps.
        start: Makes the state at step 0, which takes the weights that were read.
        source: What pulls hold on to.
        fresh: Paths of the parameters that are not the source's.
        report: What became of the source's weights; None without a source.
        digests: Fingerprints of source and data, to notice that they changed.
        licence: The source's licence, which what is trained from it inherits; None if unknown.
        origin: Where the source came from: names and tables, back to the first checkpoint.
        source_task: Beside labels, what is measured of the source's own task; None for nothing.
    """

    config: RunConfig
    task: Task
    model: Model
    plans: tuple[Plan, ...]
    program: Program
    start: Start
    source: SourceWeights
    fresh: frozenset[str]
    report: hub.Report | None
    digests: dict[str, str]
    licence: str | None = None
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    source_task: SourceTask | None = None

    def train_batches(self, state: State, folder: Path) -> TaskBatches:
        """The training batches; where features are computed once, this is when they are.

        Args:
            state: The state the run begins with.
            folder: The run's folder.
        """
        train = self.config.train
        batches = self.task.train_batches(train.batch_size, train.seed)
        if train.features == "each-step":
            return batches
        store = store_features(
            self.model,
            first_running(self.model, self.plans),
            state.params,
            state.collections,
            batches,
            self.inputs,
            folder,
            train.views,
        )
        above = self.program.model.body.inputs
        return FeatureBatches(batches, store, tuple(n for n in above if n != "features"))

    @property
    def inputs(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Shapes of a batch of one as the body takes it."""
        return input_shapes(self.model, self.task)


def build(
    config: RunConfig,
    say: Say = lambda text: None,
    *,
    draw: bool = True,
    progress: Progress | None = None,
) -> Built:
    """Builds a run.

    Args:
        config: What is asked.
        say: Told what is going on, a few lines at a time.
        draw: False leaves what would be drawn or computed at zero and compiles nothing: enough to
            see whether all fits, and what a step would cost.
        progress: Called with (documents done, 0) while tokens of a corpus are made.

    Raises:
        ValueError: If anything does not fit (data, source, strategy); nothing was trained yet.
    """
    _check_devices(config)
    source = load_source(config, read=draw)
    if source is not None and source.provenance.get("part") == "encoder":
        say(f"of {config.source} the encoder alone: its decoder writes texts, and is left behind")
    counted = is_planned(config.data.data) and not draw
    task = planned_task(config, source) if counted else make_task(config, source, progress)
    say(str(task))
    model = make_model(config, task, source)
    if source is not None and (line := no_way_back(model, task, source)):
        say(line)
    seed = jax.random.key(config.train.seed)
    # The plan comes first, from shapes: it says which weights are read in another dtype.
    like, fresh = shapes_and_fresh(config, model, task, source)
    before = source_task(config, like, progress)
    if before is not None:
        say(str(before))
    rows = plans(like, make_strategy(config.strategy), layers=model.body.layer_names, fresh=fresh)
    frozen_dtype = _FROZEN[config.train.frozen_dtype]
    dtypes, shardings = {}, None
    if draw:
        still = set(rows[0].frozen) - anchored(config, rows) - fresh
        dtypes = {} if frozen_dtype is None else dict.fromkeys(still, frozen_dtype)
        shardings = Devices(config).shardings

    def read(source: hub.Source | None, say: Say = lambda text: None) -> Initial:
        return initial(
            config, source, model, task, say, draw=draw, dtypes=dtypes, shardings=shardings
        )

    begun = read(source, say)
    params, collections, fresh, report = begun
    if report is not None:
        say(str(report))
    if source is not None and _renormalises(source, rows):
        say(FOLDED)
    if source is not None and (random := _never_taught(rows)):
        say(f"warning: {', '.join(random)}: drawn afresh and frozen, so random to the end")
    batches = task.train_batches(config.train.batch_size, config.train.seed)
    recipe = Recipe(
        optimizer=make_optimizer(config, batches.steps_per_epoch),
        accumulate=config.train.accumulate,
        ema=config.train.ema or None,
        function_pull=make_function_pull(config.strategy),
        source_head=heads.build(dict(source.head)) if source and source.head else None,
    )
    if config.train.features == "once":
        check_once(config, rows)
        lowest = first_running(model, rows)
        one = entering(
            model, lowest, widest(input_shapes(model, task), batches), params, collections
        )
        say(stored_size(one, lowest, len(batches.dataset), config.train.views))
    steps = training_steps(config, batches.steps_per_epoch)
    line = timeline(
        rows,
        steps_per_epoch=batches.steps_per_epoch,
        steps=steps,
        accumulate=config.train.accumulate,
    )

    carry = None
    if task.streams:
        carry = model.body.initial_carry(config.train.batch_size)

    def make(params: FlatParams, collections: FlatParams) -> State:
        return init(
            rows[0],
            params,
            collections,
            recipe.optimizer,
            total=steps // config.train.accumulate,
            key=stream(seed, "run"),
            accumulate=config.train.accumulate,
            ema=config.train.ema > 0,
            function_pull=recipe.function_pull,
            frozen_dtype=frozen_dtype,
            carry=carry,
            take=True,
        )

    trained, objective = taught(config, model, task.objective)
    program = Program(trained, rows, objective, recipe, line)
    digests = {f"data {name}": value for name, value in task.digests.items()}
    if source is not None and draw:
        digests["source"] = source.digest
    if before is not None:
        digests["data remember"] = before.digest
    return Built(
        config=config,
        task=task,
        model=model,
        plans=rows,
        program=program if config.train.features == "each-step" else once_program(program),
        start=Start(make, begun, lambda: read(load_source(config, read=draw))),
        source=source_weights(config, source, rows, params, fresh, weigh=draw),
        fresh=fresh,
        report=report,
        digests=digests,
        licence=None if source is None else source.provenance.get("licence"),
        origin={} if source is None else descent(source.provenance),
        source_task=before,
    )


def _renormalises(source: hub.Source, rows: tuple[Plan, ...]) -> bool:
    """Whether BatchNorm that was folded away would come back to life in training mode."""
    means = [v for path, v in source.collections.items() if path.endswith("/mean")]
    folded = bool(means) and not any(np.asarray(mean).any() for mean in means)
    return folded and any(plan.train_layers - {"head"} for plan in rows)


def _never_taught(rows: tuple[Plan, ...]) -> list[str]:
    """Layers with arrays that no source has and no stage trains."""
    ever = {row.path for plan in rows for row in plan.rows if row.trainable}
    still = [row for row in rows[0].rows if row.init == "fresh" and row.path not in ever]
    return list(dict.fromkeys(row.layer for row in still))


def _check_devices(config: RunConfig) -> None:
    """Refuses devices there are not, and batches that do not divide over them."""
    available = jax.device_count()
    count = config.train.devices or available
    if count > available:
        raise ValueError(
            f"devices is {count}; this machine has {available} ({jax.default_backend()}). On a CPU "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={count} makes as many"
        )
    if config.train.batch_size % count:
        below = config.train.batch_size // count * count
        near = f"{below} or {below + count}" if below else str(count)
        raise ValueError(
            f"batch_size {config.train.batch_size} does not divide over {count} devices; use {near}"
        )
