"""A source: the weights a run starts from, with all that must travel with them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tlearn.bodies.facts import ImageFacts
from tlearn.hub.errors import HubError, listed
from tlearn.params import digest, nearest, table


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """Named arrays with the configs that give them meaning. Read-only by agreement.

    Attributes:
        params: Parameters by path, ``body/...`` and ``head/...``.
        collections: BatchNorm statistics by path.
        body: Config for `tlearn.bodies.build`.
        head: Config for `tlearn.heads.build`; None if the source has no head.
        label_names: What the head's outputs mean, where it is known.
        facts: How pictures were prepared for the body, where it is known.
        provenance: Where the weights come from: file, SHA-256, format, table, licence, casts.
    """

    params: Mapping[str, np.ndarray]
    collections: Mapping[str, np.ndarray]
    body: Mapping[str, Any]
    head: Mapping[str, Any] | None = None
    label_names: tuple[str, ...] | None = None
    facts: ImageFacts | None = None
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = [
            f"{path!r} lies neither under body/ nor under head/"
            for path in (*self.params, *self.collections)
            if not path.startswith(("body/", "head/"))
        ]
        if "family" not in self.body:
            problems.append("the body's config has no 'family'")
        if (self.head is None) == any(path.startswith("head/") for path in self.params):
            problems.append("head parameters and the head's config must come together")
        classes = self.head.get("classes") if self.head else None
        if self.label_names is not None:
            if classes is not None and len(self.label_names) != classes:
                problems.append(f"{len(self.label_names)} label names for {classes} outputs")
            if len(set(self.label_names)) != len(self.label_names):
                problems.append("two outputs have the same label name")
        if problems:
            raise HubError(f"this source contradicts itself:\n{listed(problems)}")

    @property
    def digest(self) -> str:
        """The SHA-256 over all names and bytes."""
        return digest(tagged(self.params, self.collections))

    def label_index(self, label: str | int) -> int:
        """Finds the output that means a label; a number stands for itself.

        Raises:
            HubError: If the source does not know the label, with the nearest it knows.
        """
        classes = self.head.get("classes", 0) if self.head else 0
        if isinstance(label, int):
            if not 0 <= label < classes:
                raise HubError(f"there is no output {label}: the source's head has {classes}")
            return label
        known = {name: i for i, name in enumerate(self.label_names or ())}
        if not known:
            known = {name: int(i) for i, name in self.provenance.get("known_labels", {}).items()}
        if label not in known:
            close = nearest(label, known)
            names = f"it knows {len(known)} labels" if known else "it has no label names"
            raise HubError(
                f"the source has no output {label!r}: {names}"
                + (f"; nearest: {', '.join(close)}" if close else "")
                + "; pass label_names=... to load, or the output's number"
            )
        return known[label]

    def __str__(self) -> str:
        rows = []
        for part, arrays in (
            ("body", {p: a for p, a in self.params.items() if p.startswith("body/")}),
            ("head", {p: a for p, a in self.params.items() if p.startswith("head/")}),
            ("statistics", self.collections),
        ):
            if arrays:
                count = sum(array.size for array in arrays.values())
                rows.append((part, len(arrays), count, digest(arrays)[:12]))
        where = self.provenance.get("spec", "made in memory")
        labels = f"{len(self.label_names)} label names" if self.label_names else "no label names"
        about = (
            f"source {where}: {self.body['family']}, {labels}, "
            f"{self.facts or 'preparation of pictures unknown'}"
        )
        header = ("part", "arrays", "numbers", "digest")
        return f"{about}\n{table(header, rows, right=(1, 2))}"


def tagged(params: Mapping[str, Any], collections: Mapping[str, Any]) -> dict[str, Any]:
    """Puts parameters and statistics under one roof: ``params/...`` and ``batch_stats/...``."""
    return {
        **{f"params/{path}": array for path, array in params.items()},
        **{f"batch_stats/{path}": array for path, array in collections.items()},
    }


def untagged(arrays: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits what `tagged` joined.

    Raises:
        HubError: If a name has neither prefix.
    """
    params: dict[str, Any] = {}
    collections: dict[str, Any] = {}
    strange: list[str] = []
    for name, array in sorted(arrays.items()):
        kind, _, path = name.partition("/")
        if kind == "params" and path:
            params[path] = array
        elif kind == "batch_stats" and path:
            collections[path] = array
        else:
            strange.append(f"{name!r} begins with neither params/ nor batch_stats/")
    if strange:
        raise HubError(f"these are no arrays of a tlearn model:\n{listed(strange)}")
    return params, collections


def facts_to_json(facts: ImageFacts | None) -> dict[str, Any] | None:
    """Writes facts as plain values."""
    return None if facts is None else dataclasses.asdict(facts)


def facts_from_json(value: Any) -> ImageFacts | None:
    """Reads what `facts_to_json` wrote.

    Raises:
        HubError: If keys are missing or unknown, or a value is impossible.
    """
    if value is None:
        return None
    names = {field.name for field in dataclasses.fields(ImageFacts)}
    if not isinstance(value, dict) or set(value) != names:
        keys = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise HubError(f"facts need exactly the keys {sorted(names)}, got {keys}")
    try:
        return ImageFacts(
            mean=tuple(float(x) for x in value["mean"]),
            std=tuple(float(x) for x in value["std"]),
            size=int(value["size"]),
            crop=float(value["crop"]),
            interpolation=str(value["interpolation"]),
            channels=int(value["channels"]),
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise HubError(f"facts are impossible: {error}") from error


def labels_from_json(value: Any) -> tuple[str, ...] | None:
    """Reads label names.

    Raises:
        HubError: If they are no list of texts.
    """
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise HubError("label names must be a list of texts")
    return tuple(value)
