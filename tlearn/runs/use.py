"""What a finished run is good for: evaluate, predict, extract features."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlearn import bodies, heads, hub
from tlearn.bodies.facts import ImageFacts
from tlearn.data import (
    Batches,
    DataError,
    aligned,
    decode_image,
    eval_pipeline,
    open_dataset,
    select_classes,
)
from tlearn.model import Model, variables
from tlearn.objectives import Classification
from tlearn.params import digest
from tlearn.train.evaluate import Evaluation, evaluate, make_eval_step


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """A model with its weights, ready to be used.

    Attributes:
        model: Body and head.
        source: The weights and what travels with them.
    """

    model: Model
    source: hub.Source

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
    """
    spec = spec if ":" in spec and not Path(spec).exists() else f"run:{spec}"
    source = hub.load(spec)
    if source.head is None:
        raise hub.HubError(f"{spec} carries no head; fine-tune it first")
    model = Model(bodies.build(dict(source.body)), heads.build(dict(source.head)))
    return Loaded(model, source)


def score(
    spec: str, data: str, split: str = "", *, exclude: tuple[str, ...] = (), batch_size: int = 64
) -> Evaluation:
    """Evaluates a model on a dataset whose labels are matched by name.

    Args:
        spec: A run's folder or a source.
        data: The dataset.
        split: Its split expression; empty where there is one split.
        exclude: File patterns to leave out of a folder.
        batch_size: Pictures at a time.

    Raises:
        DataError: If the data has labels the model was not trained on.
    """
    loaded = load(spec)
    options = {"exclude": exclude} if exclude else {}
    dataset = open_dataset(data, split or None, **options)
    used = [n for n in dataset.label_names if n in loaded.label_names]
    if loaded.source.label_names is not None:
        strangers = [n for n in dataset.label_names if n not in loaded.label_names]
        if strangers and used:
            dataset = _without(dataset, used)
        dataset = aligned(dataset, loaded.label_names)
    objective = Classification(len(loaded.label_names))
    batches = Batches(dataset, loaded.pipeline(), batch_size, seed=0, shuffle=False)
    return evaluate(
        make_eval_step(loaded.model, objective),
        {p: jnp.asarray(v) for p, v in loaded.source.params.items()},
        {p: jnp.asarray(v) for p, v in loaded.source.collections.items()},
        batches,
        expected=len(dataset),
    )


def _without(dataset: Any, used: Sequence[str]) -> Any:
    """Leaves label names out that no example has; examples with strange labels are an error."""
    from tlearn.data import labels_of

    present = {dataset.label_names[i] for i in np.unique(labels_of(dataset))}
    return select_classes(dataset, used) if present <= set(used) else dataset


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


def predict(spec: str, pictures: Sequence[str | Path]) -> list[Prediction]:
    """Predicts the labels of picture files.

    Args:
        spec: A run's folder or a source.
        pictures: Files.

    Raises:
        DataError: Naming every file that is no picture.
    """
    loaded = load(spec)
    pipeline = loaded.pipeline()
    prepared, problems = [], []
    for path in map(Path, pictures):
        try:
            image = decode_image(path)
            prepared.append(pipeline({"image": image, "label": np.int32(0)})["image"])
        except (DataError, OSError) as error:
            problems.append(f"{path}: {error}")
    if problems:
        raise DataError("pictures that cannot be read:\n  " + "\n  ".join(problems))
    logits = loaded.model.apply(
        variables(dict(loaded.source.params), dict(loaded.source.collections)),
        jnp.asarray(np.stack(prepared)),
        train=False,
    )
    chances = np.asarray(jax.nn.softmax(logits))
    return [
        Prediction(
            Path(path),
            tuple((loaded.label_names[i], float(row[i])) for i in np.argsort(-row)),
        )
        for path, row in zip(pictures, chances, strict=True)
    ]


def extract(
    spec: str,
    data: str,
    out: str | Path,
    *,
    split: str = "",
    exclude: tuple[str, ...] = (),
    dtype: str = "float32",
    batch_size: int = 64,
    progress: Any = None,
) -> Any:
    """Runs a body once over a dataset and keeps its pooled features on disk.

    Args:
        spec: A run's folder or a source; its head is not used.
        data: The dataset.
        out: Folder of the features; reopened if it holds exactly these already.
        split: Split expression.
        exclude: File patterns to leave out of a folder.
        dtype: ``float32``, ``float16`` or ``bfloat16`` on disk.
        batch_size: Pictures at a time.
        progress: Called with (done, all).

    Returns:
        The store (`tlearn.transfer.features`).
    """
    from tlearn.transfer.features import extract as store_features

    loaded = load(spec)
    options = {"exclude": exclude} if exclude else {}
    dataset = open_dataset(data, split or None, **options)
    pipeline = loaded.pipeline()
    batches = Batches(dataset, pipeline, batch_size, seed=0, shuffle=False)
    body = {p: v for p, v in loaded.source.params.items() if p.startswith("body/")}
    params = {p: jnp.asarray(v) for p, v in loaded.source.params.items()}
    statistics = {p: jnp.asarray(v) for p, v in loaded.source.collections.items()}

    @jax.jit
    def pooled(image: Any) -> Any:
        features = loaded.model.apply(
            variables(params, statistics), image, train=False, method="features"
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
        dtype=dtype,  # pyright: ignore[reportArgumentType] # the command line offers these only
        progress=progress,
    )
