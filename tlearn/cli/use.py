"""Verbs that use what was trained."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from tlearn.cli.main import Refused
from tlearn.cli.options import read

if TYPE_CHECKING:
    from tlearn.runs.reading import Selection


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleOptions:
    """Which examples."""

    data: str
    """The data set, as for finetune; for a language model a corpus, as for pretrain."""
    split: str = ""
    """Split expression; empty where there is one split, and for train of a corpus."""
    classes: tuple[str, ...] = ()
    """Label names to keep; all if empty."""
    exclude: tuple[str, ...] = ()
    """File patterns to leave out of a folder of pictures."""
    text_column: str = ""
    """Column of the texts, by name or number from 1; empty for the usual names."""
    pair_column: str = ""
    """Column of the second texts, where examples are pairs."""
    label_column: str = ""
    """Column of the labels."""
    max_length: int = 0
    """Where texts are cut, in tokens; 0 for what the body can take."""
    batch_size: int = 64
    """Examples at a time."""

    def check(self) -> None:
        """Refuses numbers that make no sense."""
        if self.batch_size < 1:
            raise Refused(f"batch_size is {self.batch_size}; it must be at least 1")
        if self.max_length < 0:
            raise Refused(f"max_length is {self.max_length}; it must be at least 0")

    def selection(self) -> "Selection":
        """The same as the library takes it."""
        from tlearn.data import TextOptions
        from tlearn.runs.reading import Selection

        columns = TextOptions(
            text_column=self.text_column,
            pair_column=self.pair_column,
            label_column=self.label_column,
        )
        return Selection(
            data=self.data,
            split=self.split,
            classes=self.classes,
            exclude=self.exclude,
            columns=columns,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What to score, on what."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run's folder, or a source with a head."""
    examples: ExampleOptions
    """The examples."""
    others: Annotated[tuple[str, ...], tyro.conf.arg(name="with", metavar="RUN...")] = ()
    """Runs of the same classes to ask as well: the means of all their probabilities are scored."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """What to label."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run's folder, or a source with a head."""
    given: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PICTURE|TEXT...")
    ] = ()
    """Picture files, or texts; a tab parts the two texts of a pair."""
    lines: str = ""
    """A file with a text, or the path of a picture, a line; - for what is piped in."""
    top: int = 5
    """Labels to show of each, likeliest first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtractOptions:
    """Whose features, of what, where to."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run's folder, or a source."""
    out: str
    """Folder of the features; reopened if it holds exactly these."""
    examples: ExampleOptions
    """The examples."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Numbers on disk."""


def evaluate(args: Sequence[str]) -> int:
    """Scores a run on a data set."""
    o = read(EvaluateOptions, args, verb="evaluate", about="Score a run on a data set.")
    o.examples.check()
    from tlearn.runs.counted import Counted
    from tlearn.runs.ensemble import ensemble
    from tlearn.runs.use import score

    settings = {
        "batch_size": o.examples.batch_size,
        "max_length": o.examples.max_length,
        "say": note,
    }
    if o.others:
        found = ensemble((o.run, *o.others), o.examples.selection(), **settings)
    else:
        with Counted("documents as tokens") as progress:
            found = score(o.run, o.examples.selection(), **settings, progress=progress)
    sys.stdout.write(f"{found}\n")
    return 0


def predict(args: Sequence[str]) -> int:
    """Labels pictures or texts with a run."""
    o = read(PredictOptions, args, verb="predict", about="Label pictures or texts with a run.")
    given = [*o.given, *(lines_of(o.lines) if o.lines else ())]
    if not given:
        raise Refused(
            "predict needs pictures or texts: tlearn predict RUN PICTURE|TEXT [...], or --lines"
        )
    if o.top < 1:
        raise Refused(f"top is {o.top}; it must be at least 1")
    from tlearn.runs.use import predict as label

    for found in label(o.run, given, say=note):
        shown = ", ".join(f"{name} {chance:.3f}" for name, chance in found.labels[: o.top])
        value = shown if found.value is None else f"{found.value:.4g}"
        sys.stdout.write(f"{found.given}: {value}\n")
    return 0


def lines_of(file: str) -> list[str]:
    """Reads a file of one text or path a line; empty lines are left out."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{file} cannot be read as text: {error}") from None
    return [line for line in text.splitlines() if line.strip()]


def extract(args: Sequence[str]) -> int:
    """Keeps a body's features of a data set on disk."""
    o = read(ExtractOptions, args, verb="extract", about="Keep a body's features on disk.")
    o.examples.check()
    from tlearn.runs.console import Console
    from tlearn.runs.use import extract as keep

    bar: list[Console] = []

    def progress(done: int, count: int) -> None:
        if not bar:
            bar.append(Console(count, title="features"))
        bar[0].step(done)

    store = keep(
        o.run,
        o.examples.selection(),
        o.out,
        dtype=o.dtype,
        batch_size=o.examples.batch_size,
        max_length=o.examples.max_length,
        progress=progress,
        say=note,
    )
    for console in bar:
        console.close()
    what = f"{len(store)} examples × {store.width} numbers ({store.key.dtype})"
    sys.stdout.write(f"{store.folder}: {what}, {store.origin}\n")
    return 0


def note(text: str) -> None:
    """Writes a note beside the results."""
    sys.stderr.write(f"note: {text}\n")
