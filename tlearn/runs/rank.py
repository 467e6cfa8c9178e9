"""Which source to take: features of each once on the target, then all scores, in one table."""

import dataclasses
import functools
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlearn.data.dataset import content_digest
from tlearn.data.view import View
from tlearn.model import variables
from tlearn.params.paths import nearest
from tlearn.runs.rank_page import markdown, to_json
from tlearn.runs.rank_sources import (
    Candidate,
    candidates,
    open_examples,
    refuse,
    tell_channels,
)
from tlearn.runs.reading import Say, Selection
from tlearn.runs.versions import versions
from tlearn.train.step import inputs
from tlearn.transfer.feature_store import FeatureStore
from tlearn.transfer.features import extract
from tlearn.transfer.ranking import (
    SCORES,
    Examined,
    Score,
    agreement,
    score,
    unknown_scores,
)

Progress = Callable[[str, int, int], None]
"""Called with (source, examples done, examples in all)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RankConfig:
    """How sources are ranked.

    Attributes:
        scores: Which scores, by the names of `tlearn.transfer.ranking.SCORES`.
        by: The score that the table is sorted by.
        examples: Examples of the target to rank on; 0 for all.
        seed: Which examples, folds and mixtures.
        batch_size: Examples at a time.
        max_length: Where texts are cut, in tokens; 0 for what a body can take.
    """

    scores: tuple[str, ...] = tuple(SCORES)
    by: str = "logme"
    examples: int = 0
    seed: int = 0
    batch_size: int = 64
    max_length: int = 0

    def problems(self) -> list[str]:
        """Says all that is wrong."""
        found = unknown_scores(self.scores)
        if not self.scores:
            found.append("scores is empty; name at least one")
        elif self.by not in self.scores:
            close = nearest(self.by, self.scores, 1) or list(self.scores)
            found.append(f"by is {self.by!r}, which is not computed; closest: {close[0]!r}")
        for name, least in (("examples", 0), ("seed", 0), ("batch_size", 1), ("max_length", 0)):
            if getattr(self, name) < least:
                found.append(f"{name} is {getattr(self, name)}; it must be at least {least}")
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranked:
    """One source in the table.

    Attributes:
        source: As it was asked for.
        scores: By name.
        seconds: What running the body over the examples took, compilation included.
        parameters: Numbers in the body.
        width: Numbers in a feature.
        digest: Of all its weights.
        kept: Whether the features were there from before.
    """

    source: str
    scores: Mapping[str, Score]
    seconds: float
    parameters: int
    width: int
    digest: str
    kept: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranking:
    """Sources, best first by the chosen score; those that lack it last.

    Attributes:
        rows: The sources.
        by: The score they are sorted by.
        agreement: Weighted Kendall τ of every two scores over the sources; None where it is none.
        data: What they were ranked on: name, split, examples, classes, digest.
        config: How.
        versions: Of the packages.
    """

    rows: tuple[Ranked, ...]
    by: str
    agreement: Mapping[tuple[str, str], float | None]
    data: Mapping[str, Any]
    config: RankConfig
    versions: Mapping[str, Any]

    def __str__(self) -> str:
        return markdown(self)


def rank(
    sources: Sequence[str],
    chosen: Selection,
    config: RankConfig | None = None,
    *,
    out: str | Path | None = None,
    progress: Progress | None = None,
    say: Say = lambda text: None,
) -> Ranking:
    """Ranks sources on a data set without training any of them.

    Args:
        sources: Folders of runs, or sources as everywhere; all of pictures or all of texts.
        chosen: The examples of the target, its training part.
        config: Which scores, on how many examples.
        out: Folder for features, ``ranking.json`` and ``ranking.md``; what lies there of the same
            weights and examples is not computed again. None keeps nothing.
        progress: Called after every batch.
        say: Told what the figures should be read with.

    Raises:
        RankError: Naming every source that cannot be opened, sources of two kinds, and what is
            wrong with the data, before anything is computed; and afterwards every source whose
            features are not finite (the features of the others are kept in ``out``).
    """
    config = config or RankConfig()
    refuse(config.problems())
    if not sources:
        refuse(["no source is given; name some, as in run:FOLDER or hf:FOLDER"])
    found, problems = candidates(sources, max_length=config.max_length, say=say)
    dataset = None
    if found and len({one.takes for one in found}) == 1:
        try:
            dataset = open_examples(
                found[0], chosen, examples=config.examples, seed=config.seed, say=say
            )
        except (ValueError, OSError) as error:
            problems.append(str(error))
    refuse(problems)
    if dataset is None:
        raise RuntimeError("sources of one kind, and no data was opened")
    tell_channels(found, dataset, say)
    with tempfile.TemporaryDirectory() as passing:
        folder = Path(passing) if out is None else Path(out).expanduser()
        rows = _rows(found, dataset, config, folder, progress, say)
        ranking = Ranking(
            rows=tuple(sorted(rows, key=functools.partial(_place, by=config.by))),
            by=config.by,
            agreement=agreement(
                {name: [row.scores[name].value for row in rows] for name in config.scores}
            ),
            data={
                "name": chosen.data,
                "split": chosen.split,
                "examples": len(dataset),
                "classes": len(np.unique(dataset.labels)),
                "digest": content_digest(dataset),
            },
            config=config,
            versions=versions(),
        )
        if out is not None:
            (folder / "ranking.json").write_text(json.dumps(to_json(ranking), indent=1) + "\n")
            (folder / "ranking.md").write_text(markdown(ranking))
    return ranking


def _rows(
    found: Sequence[Candidate],
    dataset: View,
    config: RankConfig,
    folder: Path,
    progress: Progress | None,
    say: Say,
) -> list[Ranked]:
    rows, problems = [], []
    for one in found:
        told = None if progress is None else functools.partial(progress, one.spec)
        try:
            store, seconds = _features(one, dataset, config.batch_size, folder, told)
            labels = np.asarray(store.labels).astype(np.int64)
            values = store.rows(np.arange(len(store)))
            outputs = 0 if one.unlabelled else store.width - one.model.body.feature_width
            width = store.width - outputs
            given = Examined(
                values[:, :width],
                labels,
                values[:, width:] if outputs else None,
                why=one.unlabelled,
                seed=config.seed,
            )
            scores = score(given, config.scores)
        except ValueError as error:
            problems.append(f"{one.spec}: {error}")
            continue
        rows.append(
            Ranked(
                source=one.spec,
                scores=scores,
                seconds=seconds,
                parameters=one.parameters,
                width=width,
                digest=one.source.digest,
                kept=store.origin == "reopened",
            )
        )
        value = scores[config.by].value
        say(f"{one.spec}: " + (f"no {config.by}" if value is None else f"{config.by} {value:.4g}"))
    refuse(problems)
    return rows


def _features(
    one: Candidate,
    dataset: View,
    batch_size: int,
    folder: Path,
    progress: Callable[[int, int], None] | None,
) -> tuple[FeatureStore, float]:
    """Features beside the probabilities of the source's own labels, computed or reopened."""
    batches = one.reader.batches(dataset, batch_size)
    params = {path: jnp.asarray(np.asarray(v)) for path, v in one.source.params.items()}
    if one.unlabelled:
        params = {path: value for path, value in params.items() if path.startswith("body/")}
    tree = variables(params, {p: jnp.asarray(v) for p, v in one.source.collections.items()})

    @jax.jit
    def outputs(tree: Any, batch: Any) -> Any:
        given = inputs(one.model, batch)
        if one.unlabelled:
            features: Any = one.model.apply(tree, *given, train=False, method="features")
            return features.pooled
        both: Any = one.model.apply(tree, *given, train=False, method="both")
        return jnp.concatenate([both[0].pooled, jax.nn.softmax(both[1])], axis=1)

    # The same weights read another way (pooling, size) give other features.
    body = json.dumps([dict(one.source.body), one.unlabelled == ""], sort_keys=True, default=str)
    weights = f"{one.source.digest} as {body}"
    key = f"{weights}\n{batches.preparation}\n{batches.dataset.digest}"
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    place = folder / "features" / name
    beside = place.with_suffix(".json")
    began = time.perf_counter()
    store = extract(
        functools.partial(outputs, tree),
        batches,
        place,
        examples=len(dataset),
        weights=weights,
        preprocessing=batches.preparation,
        data=batches.dataset.digest,
        progress=progress,
    )
    seconds = time.perf_counter() - began
    if store.origin == "reopened" and beside.is_file():
        return store, float(json.loads(beside.read_text())["seconds"])
    beside.write_text(json.dumps({"source": one.spec, "seconds": seconds}))
    return store, seconds


def _place(row: Ranked, by: str) -> tuple[bool, float]:
    value = row.scores[by].value
    return value is None, 0.0 if value is None else -value
