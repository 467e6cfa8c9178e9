"""The verb that trains word vectors."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Literal

from tlearn.cli.main import Refused
from tlearn.cli.options import read
from tlearn.cli.use import note


@dataclasses.dataclass(frozen=True, kw_only=True)
class VectorsOptions:
    """What to train word vectors on, and how."""

    corpus: str
    """The text: text:FILE|DIR, lines:FILE, jsonl:FILE, wikitext:FILE, embedded:stdlib, ..."""
    out: str
    """File to write, in word2vec's form; word2vec:FILE is then a source."""
    method: Literal["skip-gram", "cbow"] = "skip-gram"
    """Predict the words around a word, or a word by those around it."""
    width: int = 100
    """Numbers of a vector."""
    window: int = 5
    """The most words on either side."""
    negatives: int = 5
    """Words drawn for each that is predicted."""
    epochs: int = 5
    """Passes over the corpus."""
    min_count: int = 5
    """Words that occur less often are left out."""
    subsample: float = 1e-3
    """Frequency above which occurrences of a word are left out; 0 leaves out none."""
    rate: float = 0.0
    """The first rate; 0 for 0.025 (skip-gram) or 0.05 (cbow)."""
    vocab_size: int = 100_000
    """The most words."""
    lowercase: bool = True
    """Lowercase texts."""
    block: int = 4096
    """Words of the text read at a step."""
    seed: int = 0
    """Of all that is drawn."""
    stores: str = "~/.cache/tlearn/stores"
    """Folder where corpora are kept as tokens."""
    binary: bool = False
    """Write word2vec's binary form instead of text."""
    text_field: str = ""
    """Field or column of the texts; empty for the usual names."""
    errors: Literal["strict", "replace"] = "strict"
    """Whether bytes that are no UTF-8 are refused or replaced."""


def vectors(args: Sequence[str]) -> int:
    """Trains word vectors on a corpus."""
    about = "Train word vectors on a corpus by skip-gram or CBOW."
    o = read(VectorsOptions, args, verb="vectors", about=about)
    from tlearn.data.corpus_opening import CorpusOptions
    from tlearn.runs.console import Console
    from tlearn.runs.counted import Counted
    from tlearn.runs.vectors import VectorsConfig, train_vectors

    names = {field.name for field in dataclasses.fields(VectorsConfig)}
    config = VectorsConfig(**{name: value for name, value in vars(o).items() if name in names})
    if problems := config.problems():
        raise Refused("; ".join(problems))
    bar: list[Console] = []

    def progress(done: int, count: int, loss: float) -> None:
        if not bar:
            bar.append(Console(count, title="word vectors"))
        bar[0].step(done)
        bar[0].write("train", done, {"loss": loss})

    try:
        reading = CorpusOptions(text_field=o.text_field, errors=o.errors)
        with Counted("documents") as documents:
            found = train_vectors(
                o.corpus,
                o.out,
                config,
                reading=reading,
                progress=progress,
                documents=documents,
                say=note,
            )
    finally:
        for console in bar:
            console.close()
    sys.stdout.write(f"{found}\n")
    return 0
