"""What a finished run is good for: evaluate, predict, extract features."""

import dataclasses
import functools
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from tlearn import bodies, heads, hub
from tlearn.bodies.facts import ImageFacts
from tlearn.data import (
    Batches,
    DataError,
    Dataset,
    aligned,
    decode_image,
    eval_pipeline,
    labels_of,
    open_dataset,
    select_classes,
)
from tlearn.model import Model, variables
from tlearn.objectives import Classification
from tlearn.params import FlatParams, digest
from tlearn.runs.folder import RunFolderError
from tlearn.train.evaluate import Evaluation, evaluate, make_eval_step
from tlearn.transfer.feature_store import FeatureStore

Say = Callable[[str], None]


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
    def facts(self) -> ImageFacts:
        """How its pictures are prepared.

        Raises:
            ValueError: If the weights do not say.
        """
        if self.source.facts is None:
            raise ValueError("these weights do not say how pictures were prepared for them")
        return self.source.facts

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the outputs; their numbers where the weights carry no names."""
        count = int((self.source.head or {}).get("classes", 0))
        return self.source.label_names or tuple(str(i) for i in range(count))

    def pipeline(self) -> Any:
        """What is done to a picture."""
        f = self.facts
        return eval_pipeline(
            mean=f.mean,
            std=f.std,
            size=f.size,
            crop=f.crop,
            interpolation=f.interpolation,
            channels=f.channels,
        )


def load(spec: str) -> Loaded:
    """Loads a run's folder, or any source that carries a head.

    Raises:
        HubError: If it is none, or carries no head.
        RunFolderError: If it is a run that has not finished.
    """
    if ":" not in spec or Path(spec).exists():
        if (Path(spec) / "config.json").is_file() and not (Path(spec) / "model").is_dir():
            raise RunFolderError(
                f"the run {spec} has no model yet; go on with it: tlearn finetune --resume {spec}"
            )
        spec = f"run:{spec}"
    source = hub.load(spec)
    if source.head is None:
        raise hub.HubError(f"{spec} carries no head; fine-tune it first")
    model = Model(bodies.build(dict(source.body)), heads.build(dict(source.head)))
    return Loaded(model, source)


def score(
    spec: str,
    data: str,
    split: str = "",
    *,
    classes: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    batch_size: int = 64,
    say: Say = lambda text: None,
) -> Evaluation:
    """Evaluates a model on a dataset whose labels are matched by name.

    Args:
        spec: A run's folder or a source.
        data: The dataset.
        split: Its split expression; empty where there is one split.
        classes: Label names to keep; all if empty.
        exclude: File patterns to leave out of a folder.
        batch_size: Pictures at a time.
        say: Told what the figures should be read with.

    Raises:
        DataError: If the data has labels the model was not trained on.
    """
    loaded = load(spec)
    dataset = _matched(_open(loaded, data, split, classes, exclude, say), loaded)
    objective = Classification(len(loaded.label_names))
    batches = Batches(dataset, loaded.pipeline(), batch_size, seed=0, shuffle=False)
    return evaluate(
        make_eval_step(loaded.model, objective),
        loaded.params,
        loaded.statistics,
        batches,
        expected=len(dataset),
    )


def _open(
    loaded: Loaded,
    data: str,
    split: str,
    classes: tuple[str, ...],
    exclude: tuple[str, ...],
    say: Say,
) -> Dataset:
    """Opens the dataset a model is used on, and says where it is unlike what it was trained on."""
    options = {"exclude": exclude} if exclude else {}
    dataset: Dataset = open_dataset(data, split or None, **options)
    if classes:
        dataset = select_classes(dataset, classes)
    has = np.asarray(dataset[0]["image"]).shape[-1]
    if has != loaded.facts.channels:
        say(f"the pictures have {has} channels and are converted to {loaded.facts.channels}")
    return dataset


def _matched(dataset: Dataset, loaded: Loaded) -> Dataset:
    """Counts the labels of a dataset as the model does, by name."""
    names = loaded.label_names
    if loaded.source.label_names is None:
        if len(dataset.label_names) != len(names):
            raise DataError(
                f"the weights have {len(names)} outputs without names, the data has "
                f"{len(dataset.label_names)} labels: they cannot be matched; fine-tune first"
            )
        return dataset
    counts = np.bincount(labels_of(dataset), minlength=len(dataset.label_names))
    there = [n for n, count in zip(dataset.label_names, counts, strict=True) if count]
    strange = [name for name in there if name not in names]
    if strange:
        known = [name for name in there if name in names]
        fix = f"to leave them out, say --classes {shlex.join(known)}; " if known else ""
        raise DataError(
            f"the data has labels unseen in training: {', '.join(map(repr, strange[:20]))}; {fix}"
            f"the model knows {', '.join(map(repr, names[:20]))}"
        )
    return aligned(dataset, names)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a model makes of one picture.

    Attributes:
        path: The picture.
        labels: ``(label name, probability)``, likeliest first.
    """

    path: Path
    labels: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        shown = ", ".join(f"{name} {p:.3f}" for name, p in self.labels[:5])
        return f"{self.path}: {shown}"


def predict(
    spec: str, pictures: Sequence[str | Path], *, batch_size: int = 64
) -> Iterator[Prediction]:
    """Predicts the labels of picture files.

    Args:
        spec: A run's folder or a source.
        pictures: Files.
        batch_size: Pictures at a time.

    Yields:
        Predictions in the order of the files.

    Raises:
        DataError: Naming the files of a batch that are no pictures.
    """
    loaded = load(spec)
    pipeline = loaded.pipeline()

    @jax.jit
    def chances(image: Any) -> Any:
        logits: Any = loaded.model.apply(
            variables(loaded.params, loaded.statistics), image, train=False
        )
        return jax.nn.softmax(logits)

    files = [Path(path) for path in pictures]
    for start in range(0, len(files), batch_size):
        chosen = files[start : start + batch_size]
        prepared = np.stack(_decoded(chosen, pipeline, loaded.facts.channels))
        # Always the same shape, so that one program serves all batches.
        missing = min(batch_size, len(files)) - len(chosen)
        rows = np.asarray(chances(np.pad(prepared, [(0, missing), (0, 0), (0, 0), (0, 0)])))
        for path, row in zip(chosen, rows, strict=False):
            order = np.argsort(-row, kind="stable")
            yield Prediction(path, tuple((loaded.label_names[i], float(row[i])) for i in order))


def _decoded(files: Sequence[Path], pipeline: Any, channels: int) -> list[np.ndarray]:
    prepared, problems = [], []
    for path in files:
        try:
            example = {"image": decode_image(path, channels=channels), "label": np.int32(0)}
            prepared.append(pipeline(example)["image"])
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("pictures that cannot be read:\n  " + "\n  ".join(problems))
    return prepared


def extract(
    spec: str,
    data: str,
    out: str | Path,
    *,
    split: str = "",
    classes: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
    say: Say = lambda text: None,
) -> FeatureStore:
    """Runs a body once over a dataset and keeps its pooled features on disk.

    Args:
        spec: A run's folder or a source; its head is not used.
        data: The dataset.
        out: Folder of the features; reopened if it holds exactly these already.
        split: Split expression; empty where there is one split.
        classes: Label names to keep; all if empty.
        exclude: File patterns to leave out of a folder.
        dtype: What the numbers are on disk.
        batch_size: Pictures at a time.
        progress: Called with (done, all).
        say: Told what the features should be read with.
    """
    from tlearn.transfer.features import extract as store_features

    loaded = load(spec)
    dataset = _open(loaded, data, split, classes, exclude, say)
    pipeline = loaded.pipeline()
    batches = Batches(dataset, pipeline, batch_size, seed=0, shuffle=False)
    body = {p: v for p, v in loaded.source.params.items() if p.startswith("body/")}

    @jax.jit
    def pooled(image: Any) -> Any:
        features: Any = loaded.model.apply(
            variables(loaded.params, loaded.statistics), image, train=False, method="features"
        )
        return features.pooled

    return store_features(
        lambda batch: pooled(batch["image"]),
        batches,
        out,
        examples=len(dataset),
        weights=digest(body | dict(loaded.source.collections)),
        preprocessing=repr(pipeline),
        data=dataset.digest,
        dtype=dtype,
        progress=progress,
    )
