"""Verbs that use what was trained."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Annotated, Literal

import tyro

from tlearn.cli.options import read


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What to score, on what."""

    run: Annotated[str, tyro.conf.Positional]
    """A run's folder, or a source with a head."""
    data: str
    """The data set, as for finetune."""
    split: str = ""
    """Split expression; empty where there is one split."""
    exclude: tuple[str, ...] = ()
    """File patterns to leave out of a folder."""
    batch_size: int = 64
    """Pictures at a time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """What to label."""

    run: Annotated[str, tyro.conf.Positional]
    """A run's folder, or a source with a head."""
    pictures: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Picture files."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtractOptions:
    """Whose features, of what, where to."""

    run: Annotated[str, tyro.conf.Positional]
    """A run's folder, or a source."""
    data: str
    """The data set."""
    out: str
    """Folder of the features; reopened if it holds exactly these."""
    split: str = ""
    """Split expression; empty where there is one split."""
    exclude: tuple[str, ...] = ()
    """File patterns to leave out of a folder."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Numbers on disk."""
    batch_size: int = 64
    """Pictures at a time."""


def evaluate(args: Sequence[str]) -> int:
    """Scores a run on a data set."""
    o = read(EvaluateOptions, args, verb="evaluate", about="Score a run on a data set.")
    from tlearn.runs.use import score

    found = score(o.run, o.data, o.split, exclude=o.exclude, batch_size=o.batch_size)
    sys.stdout.write(f"{found}\n")
    return 0


def predict(args: Sequence[str]) -> int:
    """Labels pictures with a run."""
    o = read(PredictOptions, args, verb="predict", about="Label pictures with a run.")
    from tlearn.runs.use import predict as label

    for prediction in label(o.run, o.pictures):
        sys.stdout.write(f"{prediction}\n")
    return 0


def extract(args: Sequence[str]) -> int:
    """Keeps a body's features of a data set on disk."""
    o = read(ExtractOptions, args, verb="extract", about="Keep a body's features on disk.")
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
        exclude=o.exclude,
        dtype=o.dtype,
        batch_size=o.batch_size,
        progress=progress,
    )
    for console in bar:
        console.close()
    sys.stdout.write(f"{store}\n{store.origin}\n")
    return 0
