"""What a finished run is good for: evaluate, predict, extract features."""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from tlearn import bodies, heads, hub
from tlearn.model import Model, variables
from tlearn.objectives import Classification, Regression
from tlearn.params import FlatParams, digest
from tlearn.replaced import joined
from tlearn.runs.folder import RunFolderError
from tlearn.runs.language_scoring import score_corpus, scores_texts
from tlearn.runs.reading import Pictures, Reader, Selection, Texts, placed
from tlearn.train.evaluate import Evaluation, evaluate, make_eval_step
from tlearn.train.step import inputs
from tlearn.transfer.feature_store import FeatureStore

Say = Callable[[str], None]


def _silent(text: str) -> None:
    """Says nothing."""


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """A model with its weights, ready to be used.

    Attributes:
        model: Body and head.
        source: The weights and what travels with them.
    """

    model: Model
    source: hub.Source

    @functools.cached_property
    def params(self) -> FlatParams:
        """Parameters by path, on the device."""
        return {path: jnp.asarray(value) for path, value in self.source.params.items()}

    @functools.cached_property
    def statistics(self) -> FlatParams:
        """BatchNorm statistics by path, on the device."""
        return {path: jnp.asarray(value) for path, value in self.source.collections.items()}

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the outputs; their numbers where there are several without names."""
        count = int((self.source.head or {}).get("classes", 0))
        return self.source.label_names or (() if count == 1 else tuple(map(str, range(count))))

    def reader(self, say: Say = _silent, max_length: int = 0) -> Reader:
        """What opens data for the model.

        Args:
            say: Told what figures should be read with.
            max_length: Where texts are cut, in tokens; 0 for what the body can take.
        """
        if "tokens" in self.model.body.inputs:
            return Texts(self.source, self.label_names, say, max_length)
        return Pictures(self.source, self.label_names, say)


def load(spec: str) -> Loaded:
    """Loads a run's folder, or any source that carries a head.

    Raises:
        HubError: If it is none, or carries no head.
        RunFolderError: If it is a run that has not finished.
    """
    source = _source(spec)
    if source.head is None:
        raise hub.HubError(f"{spec} carries no head; fine-tune it first")
    model = joined(bodies.build(dict(source.body)), heads.build(dict(source.head)))
    return Loaded(model, source)


def load_body(spec: str) -> hub.Source:
    """Loads a run's folder, or any source, with a head or without.

    Raises:
        RunFolderError: If it is a run that has not finished.
    """
    return _source(spec)


def _source(spec: str) -> hub.Source:
    """Loads a source; the folder of a run needs no kind."""
    folder = Path(spec)
    if (folder / "run.json").is_file():
        if not (folder / "model").is_dir():
            raise RunFolderError(
                f"the run {spec} has no model yet; go on with it: tlearn finetune --resume {spec}"
            )
        spec = f"run:{spec}"
    elif ":" not in spec or folder.exists():
        spec = f"hf:{spec}" if (folder / "config.json").is_file() else f"run:{spec}"
    return hub.load(spec)


def score(
    spec: str,
    chosen: Selection,
    *,
    batch_size: int = 64,
    max_length: int = 0,
    say: Say = _silent,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Evaluates a model on a dataset whose labels are matched by name; a language model on texts.

    Args:
        spec: A run's folder or a source.
        chosen: The examples; of a language model, a corpus.
        batch_size: Examples at a time.
        max_length: Where texts are cut, in tokens; 0 for what the body can take.
        say: Told what the figures should be read with.
        progress: Called with (documents done, 0) while tokens of a corpus are made.

    Raises:
        DataError: If the data has labels the model was not trained on.
    """
    loaded = load(spec)
    if scores_texts(loaded.source):
        return score_corpus(
            loaded.model,
            loaded.source,
            loaded.params,
            loaded.statistics,
            chosen.data,
            batch_size=batch_size,
            split=chosen.split,
            text_column=chosen.columns.text_column,
            progress=progress,
        )
    reader = loaded.reader(say, max_length)
    dataset = reader.matched(reader.open(chosen))
    names = loaded.label_names
    return evaluate(
        make_eval_step(loaded.model, Classification(len(names)) if names else Regression()),
        loaded.params,
        loaded.statistics,
        reader.batches(dataset, batch_size),
        expected=len(dataset),
    )


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a model makes of one example.

    Attributes:
        given: The picture's path, or the text.
        labels: ``(label name, probability)``, likeliest first; empty if the model estimates a
            number.
        value: The number it estimates; None if it knows labels.
    """

    given: str | Path
    labels: tuple[tuple[str, float], ...]
    value: float | None = None

    def __str__(self) -> str:
        shown = ", ".join(f"{name} {p:.3f}" for name, p in self.labels[:5])
        return f"{self.given}: {shown if self.value is None else format(self.value, '.4g')}"


def predict(
    spec: str, given: Sequence[str | Path], *, batch_size: int = 64, say: Say = _silent
) -> Iterator[Prediction]:
    """Predicts the labels, or the numbers, of picture files or texts.

    Args:
        spec: A run's folder or a source.
        given: Files, or texts; a tab parts the two texts of a pair.
        batch_size: Examples at a time.
        say: Told where texts are cut.

    Yields:
        Predictions in the order given.

    Raises:
        DataError: Naming the files of a batch that are no pictures.
    """
    loaded = load(spec)
    reader, names = loaded.reader(say), loaded.label_names

    @jax.jit
    def outputs(batch: Any) -> Any:
        tree = variables(loaded.params, loaded.statistics)
        logits: Any = loaded.model.apply(tree, *inputs(loaded.model, batch), train=False)
        return jax.nn.softmax(logits) if names else logits

    for start in range(0, len(given), batch_size):
        some = given[start : start + batch_size]
        # Always as many rows, so that one program serves all batches.
        batch = placed(reader.prepare(some), min(batch_size, len(given)))
        for one, row in zip(some, np.asarray(outputs(batch)), strict=False):
            if not names:
                yield Prediction(one, (), float(row.reshape(-1)[0]))
                continue
            order = np.argsort(-row, kind="stable")
            yield Prediction(one, tuple((names[i], float(row[i])) for i in order))


def extract(
    spec: str,
    chosen: Selection,
    out: str | Path,
    *,
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    batch_size: int = 64,
    max_length: int = 0,
    progress: Callable[[int, int], None] | None = None,
    say: Say = _silent,
) -> FeatureStore:
    """Runs a body once over a dataset and keeps its pooled features on disk.

    Args:
        spec: A run's folder or a source; its head, if it has one, is not used.
        chosen: The examples.
        out: Folder of the features; reopened if it holds exactly these already.
        dtype: What the numbers are on disk.
        batch_size: Examples at a time.
        max_length: Where texts are cut, in tokens; 0 for what the body can take.
        progress: Called with (done, all).
        say: Told what the features should be read with.
    """
    from tlearn.transfer.features import extract as store_features

    source = _source(spec)
    loaded = Loaded(Model(bodies.build(dict(source.body)), heads.Linear(1)), source)
    reader = loaded.reader(say, max_length)
    dataset = reader.open(chosen)
    batches = reader.batches(dataset, batch_size)
    weights = {p: v for p, v in source.params.items() if p.startswith("body/")}
    body = {path: jnp.asarray(value) for path, value in weights.items()}

    @jax.jit
    def pooled(batch: Any) -> Any:
        features: Any = loaded.model.apply(
            variables(body, loaded.statistics),
            *inputs(loaded.model, batch),
            train=False,
            method="features",
        )
        return features.pooled

    # The same weights read another way (pooling, epsilon) give other features.
    body_config = json.dumps(dict(source.body), sort_keys=True, default=str)
    return store_features(
        pooled,
        batches,
        out,
        examples=len(dataset),
        weights=f"{digest({**weights, **source.collections})} as {body_config}",
        preprocessing=batches.preparation,
        data=batches.dataset.digest,
        dtype=dtype,
        progress=progress,
    )
