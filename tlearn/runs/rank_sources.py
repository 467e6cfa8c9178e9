"""Sources to be ranked and the examples to rank them on: opened, and refused before any is run."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlearn import bodies, heads, hub
from tlearn.bodies.facts import ImageFacts
from tlearn.data import DataError, Dataset, labels_of, open_texts, select_classes
from tlearn.data.errors import listing
from tlearn.data.opening import open_splits
from tlearn.data.streams import permutation
from tlearn.data.text_opening import text_splits
from tlearn.data.view import View
from tlearn.model import Model
from tlearn.replaced import joined
from tlearn.runs.language_scoring import scores_texts
from tlearn.runs.reading import Pictures, Reader, Say, Selection, Texts
from tlearn.runs.use import load_body

LABELLING = ("linear", "mlp", "cosine", "ulmfit", "distilled")
"""Families of heads that give one label of a whole example."""


class RankError(ValueError):
    """Sources that cannot be ranked; the message names all that is wrong."""


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
    """A source that can be run.

    Attributes:
        spec: As it was asked for.
        source: Its weights and what travels with them.
        model: Its body; with its own head where that gives labels.
        reader: What opens data for it.
        unlabelled: Why its head gives no labels; empty if it does.
    """

    spec: str
    source: hub.Source
    model: Model
    reader: Reader
    unlabelled: str

    @property
    def takes(self) -> str:
        """``pictures`` or ``texts``."""
        return "texts" if "tokens" in self.model.body.inputs else "pictures"

    @property
    def parameters(self) -> int:
        """Numbers in the body."""
        named = self.source.params.items()
        return sum(int(value.size) for path, value in named if path.startswith("body/"))


def candidates(
    specs: Sequence[str], *, max_length: int = 0, say: Say
) -> tuple[list[Candidate], list[str]]:
    """Opens all sources; the second value says of each that cannot be ranked why not.

    Args:
        specs: Folders of runs, or sources.
        max_length: Where texts are cut, in tokens; 0 for what a body can take.
        say: Told what figures should be read with.
    """
    found, problems = [], []
    for spec in dict.fromkeys(specs):
        if list(specs).count(spec) > 1:
            problems.append(f"{spec} is given {list(specs).count(spec)} times")
        try:
            found.append(_candidate(spec, max_length, say))
        except (ValueError, OSError) as error:
            problems.append(f"{spec}: {error}")
    kinds = {
        kind: [one.spec for one in found if one.takes == kind] for kind in ("pictures", "texts")
    }
    if all(kinds.values()):
        told = "; ".join(f"{kind}: {', '.join(given)}" for kind, given in kinds.items())
        problems.append(f"some sources take pictures and some texts, rank them apart ({told})")
    return found, problems


def _candidate(spec: str, max_length: int, say: Say) -> Candidate:
    source = load_body(spec)
    body: Any = bodies.build(dict(source.body))
    if "decoder_tokens" in body.inputs:
        source = hub.encoder_alone(source)
        body = bodies.build(dict(source.body))
    why = _unlabelled(source)
    head: Any = heads.Linear(1) if why else heads.build(dict(source.head or {}))
    model = Model(body, head) if why else joined(body, head)
    names = tuple(source.label_names or ())

    def tell(text: str) -> None:
        say(f"{spec}: {text}")

    if "tokens" in body.inputs:
        reader = Texts(source, names, tell, max_length)
        _ = reader.tokenizer  # Raises where the source has none.
        return Candidate(spec, source, model, reader, why)
    if not isinstance(source.facts, ImageFacts):
        raise RankError("the weights do not say how pictures were prepared for them")
    return Candidate(spec, source, model, Pictures(source, names, tell), why)


def _unlabelled(source: hub.Source) -> str:
    head = source.head
    if head is None:
        return "the source has no head"
    if scores_texts(source):
        return "its head predicts tokens, no labels"
    if head.get("family") not in LABELLING:
        return f"its head ({head.get('family')}) labels no whole example"
    if int(head.get("classes", 0)) < 2:
        return "its head estimates a number"
    return ""


def open_examples(one: Candidate, chosen: Selection, *, examples: int, seed: int, say: Say) -> View:
    """Opens the target for sources of one kind, and draws as many examples as asked for.

    Args:
        one: Any of the sources.
        chosen: The data set.
        examples: How many, with the mix of classes there is; 0 for all.
        seed: Which.
        say: Told where there are fewer than asked for.

    Raises:
        DataError: If it cannot be opened, holds the other kind of examples, or has no classes to
            tell apart.
    """
    try:
        if one.takes == "texts":
            dataset: Dataset = open_texts(chosen.data, chosen.split or None, chosen.columns)
            dataset = select_classes(dataset, chosen.classes) if chosen.classes else dataset
        else:
            # The channels of pictures are told later, source by source.
            dataset = Pictures(one.source, (), lambda text: None).open(chosen)
    except (ValueError, OSError) as error:
        other = _other_kind(one.takes, chosen)
        raise DataError(f"{chosen.data}: {other or error}") from error
    labels = labels_of(dataset)
    there = np.unique(labels)
    if not dataset.label_names:
        raise DataError(f"{chosen.data} has numbers as labels; sources are ranked on classes")
    if len(there) < 2:
        raise DataError(
            f"{chosen.data} has examples of one class only ({dataset.label_names[there[0]]!r}): "
            "there is nothing to tell apart"
        )
    count = examples or len(dataset)
    if count < len(there):
        raise DataError(
            f"{count} examples are fewer than the {len(there)} classes of {chosen.data}"
        )
    if count > len(dataset):
        say(f"{chosen.data} has {len(dataset)} examples, fewer than {count}: all are taken")
    made = View(dataset, drawn(labels, min(count, len(dataset)), seed))
    if len(made) == len(there):
        raise DataError(
            f"{len(made)} examples of {len(there)} classes are one a class: no score can tell "
            "chance from skill; take more"
        )
    return made


def tell_channels(found: Sequence[Candidate], dataset: View, say: Say) -> None:
    """Says of every source that sees pictures in other channels than they have."""
    first = dataset[0]
    if "image" not in first:
        return
    has = np.asarray(first["image"]).shape[-1]
    for one in found:
        facts = one.source.facts
        if isinstance(facts, ImageFacts) and facts.channels != has:
            say(f"{one.spec}: the pictures have {has} channels, converted to {facts.channels}")


def drawn(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draws examples with the mix of classes there is, at least one a class, in their order.

    Smaller draws of a seed lie inside larger ones.
    """
    place = np.empty(len(labels))
    for label in np.unique(labels):
        where = np.flatnonzero(labels == label)
        # Where in its class an example stands, from 0: the first of every class come first.
        place[where[permutation(seed, f"rank/{label}", len(where))]] = np.arange(len(where)) / len(
            where
        )
    return np.sort(np.argsort(place, kind="stable")[:count])


def _other_kind(takes: str, chosen: Selection) -> str:
    """Says so where the data can be opened as the other kind of examples."""
    try:
        if takes == "texts":
            open_splits(chosen.data, chosen.split or None)
        else:
            text_splits(chosen.data, chosen.split or None, chosen.columns)
    except (ValueError, OSError):
        return ""
    held = {"texts": "pictures", "pictures": "texts"}[takes]
    return f"it holds {held}, and these sources take {takes}"


def refuse(problems: Sequence[str]) -> None:
    """Raises all problems at once.

    Raises:
        RankError: If there are any.
    """
    if problems:
        raise RankError(f"these sources cannot be ranked:\n{listing(list(problems))}")
