"""Views of datasets: some of the examples, other label names, or several datasets in a row."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from tlearn.data import dataset as base
from tlearn.data.dataset import Dataset, Examples, Pixels
from tlearn.data.errors import DataError, closest, listing


class View(Examples):
    """Chosen examples of a dataset under their own ids, perhaps with labels counted anew."""

    def __init__(
        self,
        dataset: Dataset,
        indices: Sequence[int] | Int64[np.ndarray, " m"],
        *,
        label_names: Sequence[str] | None = None,
        label_table: np.ndarray | None = None,
        name: str | None = None,
    ):
        """Chooses examples by index.

        Args:
            dataset: Where the examples lie. A view of a view looks straight at what lies below.
            indices: Which examples, in which order.
            label_names: The classes, when they change; goes with ``label_table``.
            label_table: For every label of ``dataset`` its new one.
            name: What messages call this view.

        Raises:
            DataError: If an index lies outside, or no example is chosen.
        """
        chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
        self.name = name or str(getattr(dataset, "name", type(dataset).__name__))
        if not len(chosen):
            raise DataError(f"a part of {self.name} would hold no example")
        outside = chosen[(chosen < 0) | (chosen >= len(dataset))]
        if len(outside):
            raise DataError(
                f"indices outside {self.name}, which has {len(dataset)} examples: "
                f"{outside[:20].tolist()}"
            )
        labels = base.labels_of(dataset)[chosen]
        self.labels = labels if label_table is None else label_table[labels].astype(np.int32)
        self.label_names = tuple(dataset.label_names if label_names is None else label_names)
        if isinstance(dataset, View):
            chosen, dataset = dataset.indices[chosen], dataset.dataset
        self.dataset, self.indices = dataset, chosen
        self.encoded = bool(getattr(dataset, "encoded", False))
        self.in_memory = hasattr(dataset, "take") and getattr(dataset, "in_memory", True)

    def __getitem__(self, index: int) -> Any:
        index = base.place(index, len(self))
        return {**self.dataset[int(self.indices[index])], "label": self.labels[index]}

    def id(self, index: int) -> str:
        """Names one example as the dataset below does."""
        return base.id_of(self.dataset, int(self.indices[index]))

    def image(self, index: int) -> Pixels:
        """Reads one picture from the dataset below."""
        return self.dataset[int(self.indices[index])]["image"]

    def fingerprint(self, index: int) -> bytes:
        """Hashes one example as the dataset below does."""
        return base.fingerprint_of(self.dataset, int(self.indices[index]))

    def take(self, indices: Int64[np.ndarray, " m"]) -> dict[str, np.ndarray]:
        """Copies many examples at once: image [m h w c] and label [m]."""
        chosen = np.asarray(indices)
        below = self.dataset.take(self.indices[chosen])  # type: ignore[attr-defined] # by in_memory
        return {"image": below["image"], "label": self.labels[chosen]}


class Joined(Examples):
    """Several datasets in a row, with the same label names."""

    def __init__(self, parts: Sequence[Dataset], *, name: str | None = None):
        """Joins datasets end to end.

        Raises:
            DataError: If the label names differ, in spelling or in order.
        """
        if not parts:
            raise DataError("nothing to join")
        names = [str(getattr(part, "name", type(part).__name__)) for part in parts]
        self.name = name or "+".join(names)
        odd = [
            f"{other}: {', '.join(part.label_names)}"
            for part, other in zip(parts, names, strict=True)
            if tuple(part.label_names) != tuple(parts[0].label_names)
        ]
        if odd:
            raise DataError(
                f"the parts of {self.name} have other label names than the first "
                f"({', '.join(parts[0].label_names)}); use aligned(label_names) first:\n"
                + listing(odd)
            )
        self.parts = tuple(parts)
        self.label_names = tuple(parts[0].label_names)
        self.labels = np.concatenate([base.labels_of(part) for part in parts])
        self._ends = np.cumsum([len(part) for part in parts])
        kinds = {bool(getattr(part, "encoded", False)) for part in parts}
        self.encoded = kinds == {True}
        self._pixels = len(kinds) > 1

    def _find(self, index: int) -> tuple[Dataset, int]:
        part = int(np.searchsorted(self._ends, index, side="right"))
        return self.parts[part], index - (int(self._ends[part - 1]) if part else 0)

    def __getitem__(self, index: int) -> Any:
        index = base.place(index, len(self))
        part, inside = self._find(index)
        return part[inside]

    def id(self, index: int) -> str:
        """Names one example as its part does."""
        part, inside = self._find(index)
        return base.id_of(part, inside)

    def image(self, index: int) -> Pixels:
        """Reads one picture from its part."""
        part, inside = self._find(index)
        return part[inside]["image"]

    def fingerprint(self, index: int) -> bytes:
        """Hashes one example: stored bytes when every part has them, else pixels."""
        part, inside = self._find(index)
        return base.fingerprint_of(part, inside, pixels=self._pixels)


def aligned(dataset: Dataset, label_names: Sequence[str]) -> Examples:
    """Views a dataset with its labels counted in the order of ``label_names``, found by name.

    Raises:
        DataError: Naming every label that occurs and is not in ``label_names``, with its count.
    """
    names = tuple(label_names)
    problems = base.label_problems(np.zeros(0, np.int32), names)
    if problems:
        raise DataError(f"cannot align labels:\n{listing(problems)}")
    known = {name: index for index, name in enumerate(names)}
    counts = np.bincount(base.labels_of(dataset), minlength=len(dataset.label_names))
    unseen = [
        f"{name!r} ({count} examples): {closest(name, names)}"
        for name, count in zip(dataset.label_names, counts, strict=True)
        if count and name not in known
    ]
    if unseen:
        raise DataError(
            f"{getattr(dataset, 'name', 'the dataset')} has labels unseen in training; "
            f"rename them, or leave them out with select_classes:\n{listing(unseen)}"
        )
    table = np.array([known.get(name, -1) for name in dataset.label_names], dtype=np.int32)
    return View(dataset, np.arange(len(dataset)), label_names=names, label_table=table)


def select_classes(dataset: Dataset, names: Sequence[str]) -> Examples:
    """Views only the examples of some classes; the labels are counted in the order of ``names``.

    Raises:
        DataError: If a name is unknown, with the nearest one, or is given twice.
    """
    problems = base.label_problems(np.zeros(0, np.int32), names)
    if problems:
        raise DataError(f"cannot select classes:\n{listing(problems)}")
    what = f"cannot select classes of {getattr(dataset, 'name', 'the dataset')}"
    chosen = base.label_index(dataset.label_names, names, what)
    table = np.full(len(dataset.label_names), -1, dtype=np.int32)
    table[chosen] = np.arange(len(chosen), dtype=np.int32)
    where = np.flatnonzero(table[base.labels_of(dataset)] >= 0)
    return View(dataset, where, label_names=names, label_table=table)
