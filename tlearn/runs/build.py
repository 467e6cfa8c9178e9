"""From a config to the values a training needs: the calls of the library, in order."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tlearn import bodies, heads, hub
from tlearn.bodies.facts import ImageFacts
from tlearn.model import Model, initialise, shapes, variables
from tlearn.params import FlatParams, digest
from tlearn.runs.config import RunConfig, StrategyConfig
from tlearn.tasks import ImageTask, image_classification
from tlearn.train.loop import Program, timeline
from tlearn.train.random import stream
from tlearn.train.schedules import duration, parse
from tlearn.train.state import SourceWeights, State, init
from tlearn.train.step import Recipe
from tlearn.transfer.function_pull import FunctionPull
from tlearn.transfer.optimizer import Optimizer
from tlearn.transfer.plan import Plan, fresh_patterns, plans
from tlearn.transfer.pull import Pull
from tlearn.transfer.strategy import Strategy

Say = Callable[[str], None]
FUNCTION_FORMS = ("features", "logits")


@dataclasses.dataclass(frozen=True, eq=False)
class Built:
    """Everything a run consists of, before its first step.

    Attributes:
        config: What was asked.
        task: The data.
        model: Body and head.
        plans: What every parameter does, stage by stage.
        program: The stages' steps.
        start: Makes the state at step 0.
        source: What pulls hold on to.
        report: What became of the source's weights; None without a source.
        digests: Fingerprints of source and data, to notice that they changed.
    """

    config: RunConfig
    task: ImageTask
    model: Model
    plans: tuple[Plan, ...]
    program: Program
    start: Callable[[], State]
    source: SourceWeights
    report: Any
    digests: dict[str, str]

    @property
    def total(self) -> int:
        """Optimizer updates of the whole training."""
        return self.program.timeline.steps // self.config.train.accumulate


def build(config: RunConfig, say: Say = lambda text: None) -> Built:
    """Builds a run.

    Args:
        config: What is asked.
        say: Told what is going on, a line at a time.

    Raises:
        ValueError: If anything does not fit (data, source, strategy); nothing was trained yet.
    """
    source = hub.load(config.source) if config.source else None
    task = make_task(config, None if source is None else source.facts)
    say(str(task))
    model = make_model(config, task, source)
    seed = jax.random.key(config.train.seed)
    shape = jax.ShapeDtypeStruct((1, *_picture(task.facts)), jnp.float32)
    params, collections = initialise(model, stream(seed, "init"), shape)
    strategy = make_strategy(config.strategy)
    layers = model.body.layer_names
    report = None
    fresh = frozenset(params)
    if source is not None:
        params, collections, report, fresh = _load(
            config, source, params, collections, strategy, layers, task
        )
        say(str(report))
    rows = plans(params, strategy, layers=layers, fresh=fresh)
    recipe = Recipe(
        optimizer=make_optimizer(config),
        accumulate=config.train.accumulate,
        ema=config.train.ema or None,
        function_pull=make_function_pull(config.strategy),
        source_head=heads.build(dict(source.head)) if source and source.head else None,
    )
    batches = task.train_batches(config.train.batch_size, config.train.seed)
    steps = training_steps(config, batches.steps_per_epoch)
    line = timeline(
        rows,
        steps_per_epoch=batches.steps_per_epoch,
        steps=steps,
        accumulate=config.train.accumulate,
    )
    pulled = _source_weights(config, task, model, source, rows, params)
    program = Program(model, rows, task.objective, recipe, line)

    def start() -> State:
        return init(
            rows[0],
            params,
            collections,
            recipe.optimizer,
            total=steps // config.train.accumulate,
            key=stream(seed, "run"),
            accumulate=config.train.accumulate,
            ema=config.train.ema > 0,
        )

    digests = {f"data {name}": value for name, value in task.digests.items()}
    if source is not None:
        digests["source"] = source.digest
    return Built(config, task, model, rows, program, start, pulled, report, digests)


def make_task(config: RunConfig, facts: ImageFacts | None) -> ImageTask:
    """The data of a run, prepared as its body wants it."""
    data = config.data
    return image_classification(
        data.data,
        facts=facts,
        train_split=data.train_split,
        validation=data.validation,
        test_split=data.test_split,
        classes=data.classes,
        examples_per_class=data.per_class,
        exclude=data.exclude,
        augment=data.augment,
        mix=data.mix,
        size=data.size,
        channels=data.channels,
        smoothing=config.head.smoothing,
        seed=config.train.seed,
    )


def make_model(config: RunConfig, task: ImageTask, source: hub.Source | None) -> Model:
    """Body and head of a run."""
    changes: dict[str, Any] = {"dtype": config.train.dtype, "remat": config.train.remat}
    if source is not None:
        settings = dict(source.body) | changes
        if config.data.channels == "adapt":
            settings["in_channels"] = task.facts.channels
        body = bodies.build(settings)
    else:
        own = dict(read_setting(text) for text in config.body.settings)
        changes |= {"in_channels": task.facts.channels}
        body = bodies.create(config.body.body, **(changes | own))
    if config.head.head_weights == "source":
        if source is None or source.head is None:
            raise ValueError(f"head_weights=source, but {config.source!r} carries no head")
        if source.label_names is not None and source.label_names != task.label_names:
            raise ValueError(
                f"head_weights=source needs the source's labels {source.label_names}, the data "
                f"has {task.label_names}; use head_weights=fresh"
            )
        return Model(body, heads.build(dict(source.head)))
    head = (
        heads.create(
            config.head.head,
            classes=len(task.label_names),
            kernel_init=config.head.head_init,
            dropout=config.head.head_dropout,
        )
        if config.head.head != "cosine"
        else heads.create("cosine", classes=len(task.label_names), dropout=config.head.head_dropout)
    )
    return Model(body, head)


def read_setting(text: str) -> tuple[str, Any]:
    """Reads ``field=value``: numbers, true/false, names, and tuples of numbers by commas.

    Raises:
        ValueError: If there is no ``=``.

    Example:
        >>> read_setting("stage_widths=8,16"), read_setting("norm=group")
        (('stage_widths', (8, 16)), ('norm', 'group'))
    """
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise ValueError(f"setting {text!r}: write field=value, as in stage_widths=8,16,32")
    parts = [_literal(part) for part in value.split(",") if part]
    return name, tuple(parts) if "," in value else parts[0]


def _literal(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def make_strategy(config: StrategyConfig) -> Strategy:
    """The strategy of a config."""
    freeze: Any = config.freeze
    if "=" in config.freeze:
        freeze = tuple(_freeze_rule(rule) for rule in config.freeze.split(";") if rule)
    fresh: Any = config.fresh
    if fresh and not fresh.startswith("top:"):
        fresh = tuple(name.strip() for name in fresh.split(","))
    parameters = config.pull not in FUNCTION_FORMS and config.pull_strength > 0
    pull = Pull()
    if parameters:
        pull = Pull(
            form=config.pull,  # pyright: ignore[reportArgumentType] # the two others are ruled out
            strength=config.pull_strength,
            way=config.pull_way,
            schedule=config.pull_schedule,
        )
    return Strategy(
        freeze=freeze,
        fresh=fresh or (),
        unfreeze=config.unfreeze,
        stage_epochs=config.stage_epochs,
        layer_decay=config.layer_decay,
        decay_convention=config.decay_convention,
        head_rate=config.head_rate,
        weight_decay=config.weight_decay,
        head_decay=None if config.head_decay < 0 else config.head_decay,
        pull=pull,
        modes=((".*", "eval"),) if config.norms == "eval" else (),
    )


def _freeze_rule(text: str) -> tuple[str, bool]:
    pattern, equals, state = text.strip().rpartition("=")
    if not equals or state not in ("frozen", "free"):
        raise ValueError(
            f"freeze rule {text!r}: write PATTERN=frozen or PATTERN=free, as in "
            "'body/stem/.*=frozen;.*=free'"
        )
    return pattern, state == "frozen"


def make_function_pull(config: StrategyConfig) -> FunctionPull | None:
    """The pull in function space of a config, if it asks for one."""
    if config.pull not in FUNCTION_FORMS or config.pull_strength == 0:
        return None
    return FunctionPull(form=config.pull, strength=config.pull_strength)  # pyright: ignore[reportArgumentType] # narrowed by the line above


def make_optimizer(config: RunConfig) -> Optimizer:
    """The optimizer of a config."""
    asked = config.optimizer
    return Optimizer(
        name=asked.optimizer,
        rate=asked.rate,
        schedule=parse(asked.schedule),
        momentum=asked.momentum if asked.optimizer == "sgd" else 0.0,
        clip=asked.clip or None,
    )


def training_steps(config: RunConfig, steps_per_epoch: int) -> int:
    """Batches of the whole training, a whole number of updates.

    Raises:
        ValueError: If the length is no duration or too short for one update.
    """
    steps = duration(
        config.train.length,
        steps_per_epoch=steps_per_epoch,
        batch_size=config.train.batch_size,
    )
    every = config.train.accumulate
    steps -= steps % every
    if steps < 1:
        raise ValueError(f"length {config.train.length!r} is less than one update of {every} steps")
    return steps


def abstract(config: RunConfig, task: ImageTask) -> tuple[Model, tuple[Plan, ...]]:
    """Model and plans from shapes alone: nothing is drawn, nothing compiled."""
    source = hub.load(config.source) if config.source else None
    model = make_model(config, task, source)
    shape = jax.ShapeDtypeStruct((1, *_picture(task.facts)), jnp.float32)
    params, _ = shapes(model, shape)
    strategy = make_strategy(config.strategy)
    fresh = _fresh_paths(config, strategy, model, params) if source else frozenset(params)
    return model, plans(params, strategy, layers=model.body.layer_names, fresh=fresh)


def _picture(facts: ImageFacts) -> tuple[int, int, int]:
    return (facts.size, facts.size, facts.channels)


def _patterns(config: RunConfig, strategy: Strategy, layers: tuple[str, ...]) -> list[str]:
    patterns = list(fresh_patterns(strategy, layers))
    if config.head.head_weights == "fresh":
        patterns.append("head/.*")
    return patterns


def _fresh_paths(
    config: RunConfig, strategy: Strategy, model: Model, params: FlatParams
) -> frozenset[str]:
    from tlearn.params import resolve

    rules = [(pattern, True) for pattern in _patterns(config, strategy, model.body.layer_names)]
    chosen = resolve(rules, params, default=False, what="fresh rule")
    return frozenset(path for path, hit in chosen.items() if hit)


def _load(
    config: RunConfig,
    source: hub.Source,
    params: FlatParams,
    collections: FlatParams,
    strategy: Strategy,
    layers: tuple[str, ...],
    task: ImageTask,
) -> tuple[FlatParams, FlatParams, Any, frozenset[str]]:
    """Puts the source's weights where the model has its own."""
    resize = []
    if config.data.channels == "adapt" and source.body.get("in_channels") != task.facts.channels:
        resize.append(("body/stem/conv/kernel", "adapt_input_channels"))
    patterns = _patterns(config, strategy, layers)
    params, collections, report = hub.reconcile(
        source, params, collections, fresh=patterns, resize=resize
    )
    fresh = frozenset(
        entry.path for entry in report.entries if entry.status == "fresh" and entry.path in params
    )
    return params, collections, report, fresh


def _source_weights(
    config: RunConfig,
    task: ImageTask,
    model: Model,
    source: hub.Source | None,
    rows: tuple[Plan, ...],
    params: FlatParams,
) -> SourceWeights:
    """What the run's pulls hold on to, and nothing more."""
    if source is None or config.strategy.pull_strength == 0:
        return SourceWeights()
    if config.strategy.pull in FUNCTION_FORMS:
        body = {p: jnp.asarray(v) for p, v in source.params.items() if p.startswith("body/")}
        head = {p: jnp.asarray(v) for p, v in source.params.items() if p.startswith("head/")}
        return SourceWeights(
            params=body,
            collections={p: jnp.asarray(v) for p, v in source.collections.items()},
            head=head or None,
        )
    pulled = sorted({path for plan in rows for path in plan.pulled})
    # The loaded weights, so that a resized kernel is pulled to its resized source.
    weights = {path: jnp.array(params[path], copy=True) for path in pulled}
    if config.strategy.pull != "fisher":
        return SourceWeights(params=weights)
    return SourceWeights(params=weights, fisher=_fisher(config, source, pulled))


def _fisher(config: RunConfig, source: hub.Source, pulled: list[str]) -> FlatParams:
    """The source's Fisher information on its own data, scaled to mean 1 over what is pulled."""
    from tlearn.transfer.fisher import diagonal_fisher

    if source.head is None:
        raise ValueError("the fisher pull needs a source with its head; this one has none")
    body, head = bodies.build(dict(source.body)), heads.build(dict(source.head))
    whole = Model(body, head)
    task = image_classification(config.strategy.fisher_data, facts=source.facts, validation="0%")
    batches = task.eval_batches(task.train, 64)
    fixed = {p: jnp.asarray(v) for p, v in source.params.items() if p not in pulled}
    statistics = {p: jnp.asarray(v) for p, v in source.collections.items()}

    def logits(params: FlatParams, fixed: Any, batch: Any) -> Any:
        return whole.apply(variables({**params, **fixed}, statistics), batch["image"], train=False)

    weighed = {path: jnp.asarray(source.params[path]) for path in pulled}
    fisher = diagonal_fisher(
        logits,
        weighed,
        ({k: v for k, v in b.items() if k in ("image", "mask")} for b in batches.epoch()),
        fixed=fixed,
    )
    total = sum(float(jnp.sum(f)) for f in fisher.values())
    mean = total / max(sum(f.size for f in fisher.values()), 1)
    return {path: f / mean for path, f in fisher.items()}


def weights_digest(state: State) -> str:
    """Fingerprint of a state's weights and statistics."""
    return digest(
        {f"params/{p}": v for p, v in state.params.items()}
        | {f"batch_stats/{p}": v for p, v in state.collections.items()}
    )
