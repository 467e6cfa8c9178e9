"""Verbs that use what was trained."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Annotated, Literal

import tyro

from tlearn.cli.main import Refused
from tlearn.cli.options import read


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What to score, on what."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run's folder, or a source with a head."""
    data: str
    """The data set, as for finetune."""
    split: str = ""
    """Split expression; empty where there is one split."""
    classes: tuple[str, ...] = ()
    """Label names to keep; all if empty."""
    exclude: tuple[str, ...] = ()
    """File patterns to leave out of a folder."""
    batch_size: int = 64
    """Pictures at a time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """What to label."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run's folder, or a source with a head."""
    pictures: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PICTURE...")]
    """Picture files."""
    top: int = 5
    """Labels to show of each, likeliest first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtractOptions:
    """Whose features, of what, where to."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run's folder, or a source."""
    data: str
    """The data set."""
    out: str
    """Folder of the features; reopened if it holds exactly these."""
    split: str = ""
    """Split expression; empty where there is one split."""
    classes: tuple[str, ...] = ()
    """Label names to keep; all if empty."""
    exclude: tuple[str, ...] = ()
    """File patterns to leave out of a folder."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Numbers on disk."""
    batch_size: int = 64
    """Pictures at a time."""


def evaluate(args: Sequence[str]) -> int:
    """Scores a run on a data set."""
    o = read(EvaluateOptions, args, verb="evaluate", about="Score a run on a data set.")
    _check_batch(o.batch_size)
    from tlearn.runs.use import score

    found = score(
        o.run,
        o.data,
        o.split,
        classes=o.classes,
        exclude=o.exclude,
        batch_size=o.batch_size,
        say=_note,
    )
    sys.stdout.write(f"{found}\n")
    return 0


def predict(args: Sequence[str]) -> int:
    """Labels pictures with a run."""
    o = read(PredictOptions, args, verb="predict", about="Label pictures with a run.")
    if not o.pictures:
        raise Refused("predict needs pictures: tlearn predict RUN PICTURE [PICTURE ...]")
    if o.top < 1:
        raise Refused(f"top is {o.top}; it must be at least 1")
    from tlearn.runs.use import predict as label

    for found in label(o.run, o.pictures):
        shown = ", ".join(f"{name} {chance:.3f}" for name, chance in found.labels[: o.top])
        sys.stdout.write(f"{found.path}: {shown}\n")
    return 0


def extract(args: Sequence[str]) -> int:
    """Keeps a body's features of a data set on disk."""
    o = read(ExtractOptions, args, verb="extract", about="Keep a body's features on disk.")
    _check_batch(o.batch_size)
    from tlearn.runs.console import Console
    from tlearn.runs.use import extract as keep

    bar: list[Console] = []

    def progress(done: int, count: int) -> None:
        if not bar:
            bar.append(Console(count, title="features"))
        bar[0].step(done)

    store = keep(
        o.run,
        o.data,
        o.out,
        split=o.split,
        classes=o.classes,
        exclude=o.exclude,
        dtype=o.dtype,
        batch_size=o.batch_size,
        progress=progress,
        say=_note,
    )
    for console in bar:
        console.close()
    what = f"{len(store)} examples × {store.width} numbers ({store.key.dtype})"
    sys.stdout.write(f"{store.folder}: {what}, {store.origin}\n")
    return 0


def _note(text: str) -> None:
    sys.stderr.write(f"note: {text}\n")


def _check_batch(size: int) -> None:
    if size < 1:
        raise Refused(f"batch_size is {size}; it must be at least 1")
