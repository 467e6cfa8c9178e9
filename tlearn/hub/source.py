"""A source: the weights a run starts from, with all that must travel with them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tlearn.bodies.facts import ImageFacts, TextFacts
from tlearn.hub.errors import HubError, listed, quoted
from tlearn.params import digest, nearest, table


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """Named arrays with the configs that give them meaning. Read-only by agreement.

    Attributes:
        params: Parameters by path, ``body/...`` and ``head/...``; they may still lie in their file
            (`tlearn.hub.leaf.Leaf`): shape, dtype and size cost nothing, ``np.asarray`` reads.
        collections: BatchNorm statistics by path.
        body: Config for `tlearn.bodies.build`.
        head: Config for `tlearn.heads.build`; None if the source has no head.
        label_names: What the head's outputs mean, where it is known.
        facts: How pictures or texts were prepared for the body, where it is known.
        provenance: Where the weights come from: file, SHA-256, format, table, licence, casts.
        files: What lay beside the weights and belongs to them, by name: tokenizer, preprocessor.
    """

    params: Mapping[str, Any]
    collections: Mapping[str, Any]
    body: Mapping[str, Any]
    head: Mapping[str, Any] | None = None
    label_names: tuple[str, ...] | None = None
    facts: ImageFacts | TextFacts | None = None
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = [
            f"{path!r} lies neither under body/ nor under head/"
            for path in (*self.params, *self.collections)
            if not path.startswith(("body/", "head/"))
        ]
        if "family" not in self.body:
            problems.append("the body's config has no 'family'")
        # The other way round is sound: a head tied to the embeddings has no parameter of its own.
        if self.head is None and any(path.startswith("head/") for path in self.params):
            problems.append("there are head parameters, but no config of the head")
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
            f"{self.facts or 'preparation of inputs unknown'}"
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


def facts_to_json(facts: ImageFacts | TextFacts | None) -> dict[str, Any] | None:
    """Writes facts as plain values, with their kind: ``image`` or ``text``."""
    if facts is None:
        return None
    kind = "text" if isinstance(facts, TextFacts) else "image"
    return {"kind": kind, **dataclasses.asdict(facts)}


def facts_from_json(value: Any) -> ImageFacts | TextFacts | None:
    """Reads what `facts_to_json` wrote; facts without a kind are a picture's.

    Raises:
        HubError: If keys are missing or unknown, or a value is impossible.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise HubError(f"facts need to be a dictionary, got a {type(value).__name__}")
    given = {key: found for key, found in value.items() if key != "kind"}
    kind = value.get("kind", "image")
    if kind not in ("image", "text"):
        raise HubError(f"facts are of the kind 'image' or 'text', not {quoted(kind)}")
    names = {field.name for field in dataclasses.fields(_KINDS[kind])}
    # Models saved before texts could be read backward say nothing about it.
    given = {"backward": False, **given} if kind == "text" else given
    if set(given) != names:
        raise HubError(f"{kind} facts need exactly the keys {sorted(names)}, got {sorted(given)}")
    try:
        return _image_facts(given) if kind == "image" else _text_facts(given)
    except (TypeError, ValueError, OverflowError) as error:
        raise HubError(f"facts are impossible: {error}") from error


_KINDS: dict[str, type] = {"image": ImageFacts, "text": TextFacts}


def _image_facts(value: dict[str, Any]) -> ImageFacts:
    return ImageFacts(
        mean=tuple(float(x) for x in value["mean"]),
        std=tuple(float(x) for x in value["std"]),
        size=int(value["size"]),
        crop=float(value["crop"]),
        interpolation=str(value["interpolation"]),
        channels=int(value["channels"]),
    )


def _text_facts(value: dict[str, Any]) -> TextFacts:
    def optional(name: str, kind: type) -> Any:
        if value[name] is None or type(value[name]) is kind:
            return value[name]
        raise ValueError(f"{name} must be a {kind.__name__} or null, got {quoted(value[name])}")

    return TextFacts(
        vocab_size=int(value["vocab_size"]),
        max_length=optional("max_length", int),
        pad=optional("pad", int),
        special=tuple((str(name), int(number)) for name, number in value["special"]),
        lowercase=optional("lowercase", bool),
        pair_types=bool(value["pair_types"]),
        backward=optional("backward", bool),
    )


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
