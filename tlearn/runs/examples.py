"""The task that a run's config means: of images or of texts, as its body takes them."""

from pathlib import Path
from typing import Any

from tlearn import bodies, hub
from tlearn.bodies.facts import ImageFacts, TextFacts
from tlearn.data import TextOptions, Tokenizer
from tlearn.data.augmentation import Augmentation
from tlearn.data.tokenizer_files import FILES
from tlearn.runs.config import DataConfig, RunConfig
from tlearn.runs.parts import new_body
from tlearn.tasks import Task, image_classification, text_classification
from tlearn.tasks.framing import Framing

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
    "pair_column",
    "label_column",
    "labels",
    "header",
    "metrics",
    "max_length",
    "widths",
)


def make_task(config: RunConfig, source: hub.Source | None) -> Task:
    """The data of a run, prepared as its body wants it.

    Raises:
        ValueError: If an option does not go with such data, or the data itself is not sound.
    """
    inputs = body_inputs(config, source)
    texts = "tokens" in inputs
    _refuse(config.data, _ONLY_IMAGES if texts else _ONLY_TEXTS, "texts" if texts else "images")
    if "decoder_tokens" in inputs:
        raise ValueError(
            f"a body with the inputs {', '.join(inputs)} reads two texts and writes one; to "
            "classify texts load its encoder alone"
        )
    return _texts(config, source) if texts else _images(config, source)


def body_inputs(config: RunConfig, source: hub.Source | None) -> tuple[str, ...]:
    """What the body of a run is called with."""
    if source is not None:
        return tuple(bodies.build(dict(source.body)).inputs)
    return tuple(new_body(config, {}).inputs)


def tokenizer_of(config: RunConfig, source: hub.Source | None) -> Tokenizer:
    """The tokenizer that goes with a source, or with a body that is to be made.

    Raises:
        ValueError: If there is none.
    """
    folder = config.body.tokenizer
    if source is not None and source.files and not folder:
        lowercase = source.facts.lowercase if isinstance(source.facts, TextFacts) else None
        return Tokenizer.from_files(source.files, lowercase=lowercase)
    if not folder:
        whose = f"{config.source} carries no tokenizer" if source else "a text body needs one"
        raise ValueError(
            f"{whose}: name the folder of its tokenizer.json or vocab.txt by --tokenizer DIR"
        )
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise ValueError(f"tokenizer {folder!r} is no folder")
    files = {name: (place / name).read_bytes() for name in FILES if (place / name).is_file()}
    return Tokenizer.from_files(files)


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


def _texts(config: RunConfig, source: hub.Source | None) -> Task:
    data = config.data
    tokenizer = tokenizer_of(config, source)
    facts = source.facts if source is not None else None
    if not isinstance(facts, TextFacts):
        new = {"vocab_size": tokenizer.size}
        body = bodies.build(dict(source.body)) if source else new_body(config, new)
        facts = TextFacts(
            vocab_size=body.vocab_size,
            max_length=positions(body),
            pad=tokenizer.token("pad"),
            special=tokenizer.special,
            pair_types=getattr(body, "types", 0) > 1,
        )
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


def positions(body: Any) -> int | None:
    """Longest text a body can take; None if it has no table of positions."""
    table = getattr(body, "positions", None)
    return None if table is None else table - getattr(body, "position_offset", 0)


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
