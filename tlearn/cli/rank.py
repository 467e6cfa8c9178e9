"""The verb that says which source to take."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Annotated

import tyro

from tlearn.cli.main import Refused
from tlearn.cli.options import read
from tlearn.cli.use import ExampleOptions, note


@dataclasses.dataclass(frozen=True, kw_only=True)
class RankOptions:
    """Which sources, for which target."""

    sources: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE...")]
    """Folders of runs, or sources: all of pictures, or all of texts."""
    target: ExampleOptions
    """The examples of the target: its training part."""
    examples: int = 0
    """Examples to rank on, drawn with the mix of classes there is; 0 for all."""
    scores: tuple[str, ...] = ()
    """logme, leep, nleep, h_score, h_score_shrunk, probe, knn; all if empty."""
    by: str = ""
    """The score that the table is sorted by; empty for the first."""
    out: str = ""
    """Folder for ranking.json, ranking.md and the features, which are not computed twice."""
    seed: int = 0
    """Which examples, and of folds and mixtures."""


def rank(args: Sequence[str]) -> int:
    """Ranks sources for a data set, training none."""
    about = "Rank sources for a data set by scores of their features; none is trained."
    o = read(RankOptions, args, verb="rank", about=about)
    if not o.sources:
        raise Refused("rank needs sources: tlearn rank SOURCE... --data D")
    o.target.check()
    from tlearn.runs.console import Console
    from tlearn.runs.rank import RankConfig
    from tlearn.runs.rank import rank as order
    from tlearn.transfer.ranking import SCORES

    scores = o.scores or tuple(SCORES)
    config = RankConfig(
        scores=scores,
        by=o.by or scores[0],
        examples=o.examples,
        seed=o.seed,
        batch_size=o.target.batch_size,
        max_length=o.target.max_length,
    )
    if problems := config.problems():
        raise Refused("; ".join(problems))
    bars: dict[str, Console] = {}

    def progress(source: str, done: int, count: int) -> None:
        if source not in bars:
            close()
            bars[source] = Console(count, title=source)
        bars[source].step(done)

    def close() -> None:
        for bar in bars.values():
            bar.close()

    try:
        found = order(
            o.sources, o.target.selection(), config, out=o.out or None, progress=progress, say=note
        )
    finally:
        close()
    sys.stdout.write(f"{found}")
    if o.out:
        note(f"kept in {o.out}")
    return 0
