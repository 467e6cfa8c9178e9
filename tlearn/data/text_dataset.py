"""Texts and pairs of texts, with named labels or numbers to estimate."""

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np

from tlearn.data.dataset import Dataset, Examples, label_problems, place
from tlearn.data.errors import DataError, listing
from tlearn.data.view import Joined, aligned


class TextExample(TypedDict):
    """One text, or two: label (a place in the label names, or a number), id.

    ``whole`` is the text before anything in it was masked.
    """

    text: str
    pair: NotRequired[str]
    whole: NotRequired[str]
    label: np.int32 | np.float32
    id: str


class TextDataset(Examples):
    """Texts, or pairs of texts, with a label each.

    The texts are any sequences of strings: lists, or views of a file on disk.
    """

    def __init__(
        self,
        texts: Sequence[str],
        labels: Sequence[Any] | np.ndarray,
        label_names: Sequence[str] = (),
        *,
        pairs: Sequence[str] | None = None,
        name: str = "texts",
        ids: Sequence[str] | None = None,
        skipped: Sequence[str] = (),
        wholes: Sequence[str] | None = None,
    ):
        """Wraps texts and labels.

        Args:
            texts: [n]; the first text of each example.
            labels: [n], places in ``label_names``, or finite numbers where there are none.
            label_names: The classes; empty where labels are numbers to estimate.
            pairs: [n], the second text of each example, where examples are pairs.
            name: What messages call this dataset; ids are ``name/0``, ``name/1``, ...
            ids: Names of the examples, when they have better ones.
            skipped: What was left out in reading, for `describe`.
            wholes: [n], the texts as they were before something in them was masked.

        Raises:
            DataError: Listing every misfit of count, type or label.
        """
        found = np.asarray(labels)
        problems = []
        given = {"labels": found, "second texts": pairs, "ids": ids, "whole texts": wholes}
        for what, other in given.items():
            if other is not None and len(other) != len(texts):
                problems.append(f"{len(texts)} texts but {len(other)} {what}")
        if found.ndim != 1 or found.dtype.kind not in ("iu" if label_names else "iuf"):
            problems.append(
                f"labels are {found.dtype} of shape {found.shape}, expected "
                + ("whole numbers [n], places in the label names" if label_names else "numbers [n]")
            )
        elif label_names:
            problems += label_problems(found, label_names)
        elif not np.isfinite(found).all():
            bad = np.flatnonzero(~np.isfinite(found))
            problems.append(f"labels that are no finite numbers, at {bad[:10].tolist()}")
        if problems:
            raise DataError(f"cannot make a dataset {name!r}:\n{listing(problems)}")
        self.texts, self.pairs = texts, pairs
        self.labels = found.astype(np.int32 if label_names else np.float32)
        self.label_names = tuple(label_names)
        self.name = name
        self.skipped = tuple(skipped)
        self._ids = None if ids is None else tuple(ids)
        self._wholes = wholes

    def __getitem__(self, index: int) -> TextExample:
        index = place(index, len(self))
        example: TextExample = {
            "text": self.texts[index],
            "label": self.labels[index],
            "id": self.id(index),
        }
        if self.pairs is not None:
            example["pair"] = self.pairs[index]
        if self._wholes is not None:
            example["whole"] = self._wholes[index]
        return example

    def id(self, index: int) -> str:
        """Names one example."""
        return super().id(index) if self._ids is None else self._ids[index]

    def fingerprint(self, index: int) -> bytes:
        """Hashes the text or texts of one example."""
        code = hashlib.sha256(self.texts[index].encode("utf-8", "surrogatepass"))
        if self.pairs is not None:
            # No text holds this byte in UTF-8, so two different pairs never read the same.
            code.update(b"\xff" + self.pairs[index].encode("utf-8", "surrogatepass"))
        return code.digest()


def unlabelled(
    texts: Sequence[str], pairs: Sequence[str] | None = None, *, name: str = "texts"
) -> TextDataset:
    """Makes a dataset of texts whose labels are asked for: each is the number 0."""
    return TextDataset(texts, np.zeros(len(texts), np.float32), pairs=pairs, name=name)


def each_text(dataset: Dataset) -> Iterator[tuple[str, str | None]]:
    """Reads the texts of a dataset in turn, each with its second text where examples are pairs.

    Raises:
        DataError: Naming the first example that has no text, or lacks the others' second text.
    """
    pairs = None
    for index in range(len(dataset)):
        example = dataset[index]
        if "text" not in example:
            raise DataError(
                f"example {index} of {getattr(dataset, 'name', type(dataset).__name__)} has no "
                f"text, only {', '.join(example)}"
            )
        pair = example.get("pair")
        pairs = pair is not None if pairs is None else pairs
        if pairs != (pair is not None):
            raise DataError(
                f"example {index} of {getattr(dataset, 'name', type(dataset).__name__)} has "
                f"{'no second text' if pairs else 'a second text'}, unlike those before it"
            )
        yield example["text"], pair


def texts_of(dataset: Dataset) -> tuple[list[str], list[str] | None]:
    """Lists all texts of a dataset, and their second texts where its examples are pairs.

    Raises:
        DataError: As `each_text`.
    """
    found = list(each_text(dataset))
    pairs = [pair for _, pair in found if pair is not None]
    return [text for text, _ in found], pairs or None


def sorted_labels(labels: Sequence[str] | set[str]) -> tuple[str, ...]:
    """Orders label names: numbers by size, and numbers within words too.

    Example:
        >>> sorted_labels({"10", "9", "-1"}), sorted_labels({"b10", "a", "b9"})
        (('-1', '9', '10'), ('a', 'b9', 'b10'))
    """
    names = sorted(set(labels))
    values = [number(name) for name in names]
    if all(value is not None for value in values):
        return tuple(sorted(names, key=lambda name: (number(name) or 0.0, name)))
    return tuple(sorted(names, key=_natural))


def number(text: str) -> float | None:
    """Reads a finite number, or gives None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _natural(name: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part]


def joined_texts(parts: Sequence[Dataset]) -> Examples:
    """Joins text datasets end to end; their label names are put together and sorted.

    The label names of a file are those that occur in it, so two parts of one set may differ.

    Raises:
        DataError: If labels are names in one part and numbers to estimate in another.
    """
    if all(part.label_names for part in parts):
        names = sorted_labels({name for part in parts for name in part.label_names})
        known = {tuple(part.label_names) for part in parts}
        if len(known) > 1:
            parts = [aligned(part, names) for part in parts]
    return Joined(parts)
