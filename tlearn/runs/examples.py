"""The task that a run's config means: of images or of texts, as its body takes them."""

from collections.abc import Callable

from tlearn import bodies, hub
from tlearn.bodies.facts import ImageFacts
from tlearn.data import TextOptions
from tlearn.data.augmentation import Augmentation
from tlearn.runs.config import DataConfig, RunConfig
from tlearn.runs.parts import new_body, unpooled
from tlearn.runs.text_bodies import facts_of, tokenizer_of
from tlearn.tasks import Task, image_classification, text_classification
from tlearn.tasks.framing import Framing

Progress = Callable[[int, int], None]
_ONLY_IMAGES = (
    "augment",
    "window",
    "jitter",
    "magnitude",
    "spread",
    "erase",
    "mix",
    "mixup_alpha",
    "cutmix_alpha",
    "size",
    "crop",
    "interpolation",
    "pixels",
    "channels",
    "exclude",
    "workers",
)
_ONLY_TEXTS = (
    "text_column",
    "errors",
    "pair_column",
    "label_column",
    "labels",
    "header",
    "metrics",
    "max_length",
    "widths",
)


def make_task(
    config: RunConfig, source: hub.Source | None, progress: Progress | None = None
) -> Task:
    """The data of a run, prepared as its body wants it.

    Args:
        config: The run.
        source: What it starts from.
        progress: Called with (documents done, 0) while tokens of a corpus are made.

    Raises:
        ValueError: If an option does not go with such data, or the data itself is not sound.
    """
    inputs = body_inputs(config, source)
    texts = "tokens" in inputs
    _refuse(config.data, _ONLY_IMAGES if texts else _ONLY_TEXTS, "texts" if texts else "images")
    if config.objective.objective != "labels":
        if not texts:
            raise ValueError(
                f"objective={config.objective.objective} is learned from texts, and the body takes "
                f"{', '.join(inputs)}"
            )
        return _corpus(config, source, progress)
    if "decoder_tokens" in inputs:
        raise ValueError(
            f"a body with the inputs {', '.join(inputs)} reads two texts and writes one; to "
            "classify texts load its encoder alone"
        )
    if texts:
        return _texts(config, source)
    check_direction(config)
    return _images(config, source)


def check_direction(config: RunConfig) -> None:
    """Refuses a direction for examples that are not read from one end to the other."""
    if config.objective.direction == "backward":
        raise ValueError("direction=backward is for texts, and the body takes images; leave it out")


def body_inputs(config: RunConfig, source: hub.Source | None) -> tuple[str, ...]:
    """What the body of a run is called with."""
    if source is not None:
        return tuple(bodies.build(dict(source.body)).inputs)
    return tuple(new_body(config, {}).inputs)


def _images(config: RunConfig, source: hub.Source | None) -> Task:
    data = config.data
    facts = None if source is None else source.facts
    return image_classification(
        data.data,
        facts=facts if isinstance(facts, ImageFacts) else None,
        train_split=data.train_split,
        validation=data.validation,
        test_split=data.test_split,
        classes=data.classes,
        examples_per_class=data.per_class,
        examples=data.labelled,
        exclude=data.exclude,
        augment=augmentation(data),
        framing=framing(data),
        smoothing=config.head.smoothing,
        seed=config.train.seed,
    )


def augmentation(data: DataConfig) -> Augmentation:
    """Random changes of training pictures."""
    return Augmentation(
        kind=data.augment,
        window=data.window,
        jitter=data.jitter,
        magnitude=data.magnitude,
        spread=data.spread,
        erase=data.erase,
        mix=data.mix,
        mixup_alpha=data.mixup_alpha,
        cutmix_alpha=data.cutmix_alpha,
    )


def framing(data: DataConfig) -> Framing:
    """What is asked of the pictures that the body sees."""
    return Framing(
        size=data.size,
        crop=data.crop,
        interpolation=data.interpolation,
        pixels=data.pixels,
        channels=data.channels,
    )


def _corpus(config: RunConfig, source: hub.Source | None, progress: Progress | None) -> Task:
    from tlearn.runs.corpora import language_task

    tokenizer = tokenizer_of(config, source)
    facts = facts_of(config, source, tokenizer)
    settings = {"vocab_size": facts.vocab_size}
    body = (
        bodies.build(dict(source.body) | settings)
        if source
        else new_body(config, settings | unpooled(config))
    )
    return language_task(config, source, body, facts, tokenizer, progress)


def _texts(config: RunConfig, source: hub.Source | None) -> Task:
    data = config.data
    tokenizer = tokenizer_of(config, source)
    facts = facts_of(config, source, tokenizer)
    return text_classification(
        data.data,
        tokenizer=tokenizer,
        facts=facts,
        options=text_options(data),
        train_split=data.train_split,
        validation=data.validation,
        test_split=data.test_split,
        classes=data.classes,
        examples_per_class=data.per_class,
        examples=data.labelled,
        max_length=data.max_length,
        buckets=_widths(data.widths),
        metrics=data.metrics,
        smoothing=config.head.smoothing,
        seed=config.train.seed,
    )


def text_options(data: DataConfig) -> TextOptions:
    """Which columns of a table are read."""
    return TextOptions(
        text_column=data.text_column,
        pair_column=data.pair_column,
        label_column=data.label_column,
        header={"auto": None, "yes": True, "no": False}[data.header],
        labels=data.labels,
    )


def _widths(text: str) -> tuple[int, ...]:
    """Reads ``auto``, one width, or several by commas."""
    if text == "auto":
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"widths {text!r}: write auto, 64, or 16,32,64") from None


def _refuse(data: DataConfig, names: tuple[str, ...], kind: str) -> None:
    """Refuses options that this kind of examples knows nothing of."""
    usual = DataConfig(data=data.data)
    given = [name for name in names if getattr(data, name) != getattr(usual, name)]
    if given:
        options = ", ".join(f"{name}={getattr(data, name)!r}" for name in given)
        raise ValueError(f"the body takes {kind}, which {options} does not go with: leave it out")
