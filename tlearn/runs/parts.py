"""The parts of a run out of its config: data, model, strategy, optimizer, length."""

from collections.abc import Mapping
from typing import Any

from tlearn import bodies, heads, hub
from tlearn.bodies.facts import ImageFacts, TextFacts
from tlearn.bodies.registry import BODIES
from tlearn.hub.tables.published_heads import published_head
from tlearn.model import Model
from tlearn.replaced import joined
from tlearn.runs.config import RunConfig, StrategyConfig
from tlearn.runs.kept_head import kept_head
from tlearn.runs.settings import read_setting
from tlearn.runs.taught import check_consistency, check_language_loss
from tlearn.tasks import Task
from tlearn.train.schedules import duration, parse
from tlearn.transfer.function_pull import FunctionPull
from tlearn.transfer.optimizer import Optimizer
from tlearn.transfer.pull import Pull
from tlearn.transfer.strategy import Strategy

FUNCTION_FORMS = ("features", "logits")
"""Pulls on what is computed; the others are on parameters."""


def make_model(config: RunConfig, task: Task, source: hub.Source | None) -> Model:
    """Body and head of a run."""
    changes: dict[str, Any] = {"dtype": config.train.dtype, "remat": config.train.remat}
    if source is not None:
        settings = dict(source.body) | changes
        if config.data.channels == "adapt":
            settings["in_channels"] = task.facts.channels
        if "image_size" in settings:
            # A grid of learned positions: `build` resizes it by name where the size differs.
            settings["image_size"] = task.facts.size
        if isinstance(task.facts, TextFacts):
            settings["vocab_size"] = task.facts.vocab_size
        body = bodies.build(settings)
    elif isinstance(task.facts, ImageFacts):
        changes["in_channels"] = task.facts.channels
        if BODIES.variants.get(config.body.body, (config.body.body,))[0] == "vit":
            changes["image_size"] = task.facts.size
        body = new_body(config, changes)
    else:
        body = new_body(config, changes | unpooled(config) | {"vocab_size": task.facts.vocab_size})
    check_language_loss(config, body, source)
    check_consistency(config, task, body)
    return joined(body, _make_head(config, task, source, body))


def unpooled(config: RunConfig) -> dict[str, Any]:
    """What is set of a new body that nothing pools: a pooler would be trained by nobody."""
    family = BODIES.variants.get(config.body.body, (config.body.body,))[0]
    alone = ("masked_tokens", "replaced_tokens")
    asked = config.objective
    if family in ("bert", "albert") and asked.objective in alone and not asked.also:
        return {"pooling": "first"}
    return {}


def new_body(config: RunConfig, changes: Mapping[str, Any]) -> Any:
    """A body without weights; the config's own settings win over the changes."""
    own = dict(read_setting(text) for text in config.body.settings)
    if config.body.pooling:
        own["pooling"] = config.body.pooling
    try:
        return bodies.create(config.body.body, **{**changes, **own})
    except TypeError as error:
        given = " ".join(config.body.settings)
        raise ValueError(
            f"settings {given} do not fit {config.body.body}: {error}; "
            "write numbers as 8, several as 8,16 and one of several as 8,"
        ) from error


def _make_head(config: RunConfig, task: Task, source: hub.Source | None, body: Any) -> Any:
    asked = config.head
    if task.head is not None:
        return heads.build(task.head)
    if asked.head_weights == "fresh":
        fields: dict[str, Any] = {"classes": task.outputs, "dropout": asked.head_dropout}
        if asked.head != "cosine":
            fields["kernel_init"] = asked.head_init
        if asked.head == "published":
            came = source.provenance if source else {}
            return heads.build(published_head(came, bodies.describe(body)) | fields)
        return heads.create(asked.head, **fields)
    return kept_head(config, task, source)


def make_strategy(config: StrategyConfig) -> Strategy:
    """The strategy of a config.

    Raises:
        ValueError: If it cannot be carried out; names all reasons.
    """
    parse(config.pull_schedule)  # Nothing else reads it before the first step.
    freeze: Any = config.freeze
    if "=" in config.freeze:
        freeze = tuple(_freeze_rule(rule) for rule in config.freeze.split(";") if rule)
    fresh: Any = config.fresh
    if fresh and fresh != "all" and not fresh.startswith("top:"):
        fresh = tuple(name.strip() for name in fresh.split(","))
    parameters = config.pull not in FUNCTION_FORMS and config.pull_strength > 0
    pull = Pull()
    if parameters:
        pull = Pull(
            form=config.pull,  # pyright: ignore[reportArgumentType] # the two others are ruled out
            strength=config.pull_strength,
            way=config.pull_way,
            schedule=config.pull_schedule,
            layers=_factors(config.pull_layers, "pull_layers"),
        )
    elif config.pull_layers:
        raise ValueError(
            f"pull_layers={config.pull_layers!r} goes with a pull on parameters of a strength "
            f"above 0; there is pull={config.pull} of strength {config.pull_strength:g}"
        )
    return Strategy(
        freeze=freeze,
        fresh=fresh or (),
        unfreeze=config.unfreeze,
        stage_epochs=config.stage_epochs,
        layer_decay=config.layer_decay,
        decay_convention=config.decay_convention,
        head_rate=config.head_rate,
        rates=_factors(config.rates, "rates"),
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


def _factors(text: str, what: str) -> tuple[tuple[str, float], ...]:
    """Reads ``PATTERN=FACTOR;PATTERN=FACTOR``."""
    rules, problems = [], []
    for rule in filter(None, (part.strip() for part in text.split(";"))):
        pattern, _, factor = rule.rpartition("=")
        try:
            rules.append((pattern, float(factor)))
        except ValueError:
            problems.append(rule)
        if not pattern and rule not in problems:
            problems.append(rule)
    if problems:
        raise ValueError(
            f"{what}: {', '.join(map(repr, problems))} cannot be read; write PATTERN=FACTOR, as in "
            "'stage_1=0.1;stage_2=0.5'"
        )
    return tuple(rules)


def make_function_pull(config: StrategyConfig) -> FunctionPull | None:
    """The pull in function space of a config, if it asks for one.

    Raises:
        ValueError: If it also asks for what only pulls on parameters have.
    """
    if config.pull not in FUNCTION_FORMS or config.pull_strength == 0:
        return None
    if (config.pull_way, config.pull_schedule) != ("loss", "constant"):
        raise ValueError(
            f"pull={config.pull} acts as a loss of constant strength; pull_way="
            f"{config.pull_way} and pull_schedule={config.pull_schedule} are for pulls on "
            "parameters: leave them out, or use pull=l2sp"
        )
    return FunctionPull(form=config.pull, strength=config.pull_strength)  # pyright: ignore[reportArgumentType] # narrowed by the line above


def make_optimizer(config: RunConfig, steps_per_epoch: int) -> Optimizer:
    """The optimizer of a config; epochs of its schedule are counted in updates."""
    asked, every = config.optimizer, config.train.accumulate
    schedule = parse(asked.schedule).resolved(
        steps_per_epoch=max(steps_per_epoch // every, 1),
        batch_size=config.train.batch_size * every,
    )
    return Optimizer(
        name=asked.optimizer,
        rate=asked.rate,
        schedule=schedule,
        momentum=asked.momentum if asked.optimizer == "sgd" else 0.0,
        nesterov=asked.nesterov,
        b1=asked.b1,
        b2=asked.b2,
        eps=asked.eps,
        debias=asked.debias,
        coupled_decay=asked.coupled_decay,
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
