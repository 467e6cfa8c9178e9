"""Parts of a dataset chosen by class: so many of each, a stratified validation part, and overlaps.

Every draw is by (seed, name of the class) alone: the same seed gives the same examples in every run
and for every strategy, and a smaller part lies inside the larger one of its seed.
"""

import dataclasses
import re
from collections import defaultdict
from typing import Any

import numpy as np

from tlearn.data import dataset as base
from tlearn.data.dataset import Dataset
from tlearn.data.errors import DataError, listing
from tlearn.data.streams import permutation
from tlearn.data.view import View


def _by_class(dataset: Dataset, stream_name: str, seed: int) -> dict[str, np.ndarray]:
    """Lists the examples of every class in the random order of a seed.

    Where labels are numbers to estimate, all examples are one class without a name.
    """
    labels = base.labels_of(dataset)
    if not dataset.label_names:
        return {"": permutation(seed, f"{stream_name}/", len(labels))}
    drawn = {}
    for label, name in enumerate(dataset.label_names):
        where = np.flatnonzero(labels == label)
        drawn[name] = where[permutation(seed, f"{stream_name}/{name}", len(where))]
    return drawn


def _name(dataset: Dataset) -> str:
    return str(getattr(dataset, "name", type(dataset).__name__))


def per_class(dataset: Dataset, n: int, seed: int) -> View:
    """Draws ``n`` examples of every class.

    The draws of one seed are nested: the 5 of a class are among its 10.

    Raises:
        DataError: If ``n`` is below 1, there are no classes, or naming every class that has fewer.
    """
    if n < 1:
        raise DataError(f"{n} examples per class; expected at least 1")
    if not dataset.label_names:
        raise DataError(
            f"{_name(dataset)} has numbers as labels, so there is no {n} per class; take a part of "
            "a split, as in train[:100]"
        )
    drawn = _by_class(dataset, "per_class", seed)
    short = [f"{name!r} has {len(where)}" for name, where in drawn.items() if len(where) < n]
    if short:
        raise DataError(
            f"{_name(dataset)}: classes with fewer than {n} examples:\n{listing(short)}"
        )
    chosen = np.sort(np.concatenate([where[:n] for where in drawn.values()]))
    return View(dataset, chosen, name=f"{_name(dataset)} ({n} per class, seed {seed})")


def in_shares(dataset: Dataset, n: int, seed: int) -> View:
    """Draws ``n`` examples in all, each class in its share of the whole.

    Where labels are numbers to estimate, they are drawn from all examples alike.

    Raises:
        DataError: If there are not so many, or a class would have none.
    """
    if not 1 <= n <= len(dataset):
        raise DataError(f"{n} examples of {_name(dataset)}; expected 1 to {len(dataset)}")
    drawn = _by_class(dataset, "in_shares", seed)
    share = _shares(drawn, n)
    bare = [f"{name!r} has {len(drawn[name])}" for name in drawn if not share[name]]
    if bare:
        raise DataError(
            f"{n} of {len(dataset)} examples of {_name(dataset)} would have none of a class:\n"
            f"{listing(bare)}"
        )
    chosen = np.sort(np.concatenate([where[: share[name]] for name, where in drawn.items()]))
    return View(dataset, chosen, name=f"{_name(dataset)} ({n} in all, seed {seed})")


def draw(dataset: Dataset, *, examples_per_class: int, examples: int, seed: int) -> Dataset:
    """Draws as many examples as are asked for, per class or in all; everything for 0 and 0.

    Raises:
        DataError: If both are asked for, or there are not so many.
    """
    if examples_per_class and examples:
        raise DataError(
            f"{examples_per_class} examples per class and {examples} in all; ask for one of them"
        )
    if examples_per_class:
        return per_class(dataset, examples_per_class, seed)
    return in_shares(dataset, examples, seed) if examples else dataset


def _shares(drawn: dict[str, np.ndarray], size: int) -> dict[str, int]:
    """How many of ``size`` examples each class gives, exact to one."""
    total = sum(len(where) for where in drawn.values())
    exact = {name: size * len(where) / total for name, where in drawn.items()}
    share = {name: int(value) for name, value in exact.items()}
    # Largest remainder: whole examples go where the rounding down took most.
    by_rest = sorted(exact, key=lambda name: (share[name] - exact[name], name))
    for name in by_rest[: size - sum(share.values())]:
        share[name] += 1
    return share


def carve_validation(
    dataset: Dataset, *, fraction: float | None = None, count: int | None = None, seed: int
) -> tuple[View, View]:
    """Divides a training set in a smaller one and a validation part with the same mix of classes.

    Where labels are numbers to estimate, the validation part is drawn from all examples alike.

    Args:
        dataset: What to divide.
        fraction: Size of the validation part, of the whole; or
        count: its size in examples.
        seed: Which examples.

    Returns:
        The training part and the validation part, each in the order of the whole. The validation
        part has exactly the size asked for; each class's share is exact to one example.

    Raises:
        DataError: If not exactly one size is given, it is outside the dataset, or a class would
            have no example left to train on.
    """
    total = len(dataset)
    if (fraction is None) == (count is None):
        raise DataError("carve_validation takes a fraction or a count, exactly one of them")
    if fraction is not None and not 0 < fraction < 1:
        raise DataError(f"fraction {fraction} is outside 0..1")
    size = count if count is not None else round((fraction or 0.0) * total)
    if not 0 < size < total:
        raise DataError(
            f"a validation part of {size} out of {total} examples of {_name(dataset)} leaves "
            "nothing to train on or nothing to validate with"
        )
    drawn = _by_class(dataset, "validation", seed)
    share = _shares(drawn, size)
    bare = [
        f"{name!r}: {share[name]} of its {len(where)}"
        for name, where in drawn.items()
        if len(where) and share[name] == len(where)
    ]
    if bare:
        raise DataError(
            f"{_name(dataset)}: a validation part of {size} would take all examples of a class:\n"
            f"{listing(bare)}"
        )
    held = np.zeros(total, dtype=bool)
    for name, where in drawn.items():
        held[where[: share[name]]] = True
    train = View(dataset, np.flatnonzero(~held), name=f"{_name(dataset)} (train part)")
    return train, View(dataset, np.flatnonzero(held), name=f"{_name(dataset)} (validation part)")


@dataclasses.dataclass(frozen=True)
class Overlap:
    """Examples that occur in both of two datasets, as pairs of ids.

    Attributes:
        pairs: The id in the first and in the second.
        first: Name of the first dataset.
        second: Name of the second.
        kind: What the examples are called.
    """

    pairs: tuple[tuple[str, str], ...]
    first: str
    second: str
    kind: str = "picture"

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def repeated(self) -> int:
        """Counts the examples of the second dataset that occur in the first, each once."""
        return len({other for _, other in self.pairs})

    def __str__(self) -> str:
        if not self.pairs:
            return f"{self.first} and {self.second} share no {self.kind}"
        rows = listing([f"{one} = {other}" for one, other in self.pairs])
        return f"{self.first} and {self.second} share {len(self)} {self.kind}s:\n{rows}"


def overlap(first: Dataset, second: Dataset) -> Overlap:
    """Finds the duplicates between two datasets, labels aside.

    Stored files are compared byte for byte. Where one of the two has no files, pixels are.
    Pictures that were compressed anew are not found. Of texts only letters and digits count, small
    or capital: sets that were cut into words by different programs are found out.
    """
    texts = bool(len(first)) and "text" in first[0]
    pixels = not (getattr(first, "encoded", False) and getattr(second, "encoded", False))

    def key(dataset: Dataset, index: int) -> Any:
        if texts:
            return _letters(dataset[index])
        return base.fingerprint_of(dataset, index, pixels=pixels)

    where = defaultdict(list)
    for index in range(len(first)):
        where[key(first, index)].append(index)
    pairs = []
    for index in range(len(second)):
        for twin in where.get(key(second, index), ()):
            pairs.append((base.id_of(first, twin), base.id_of(second, index)))
    kind = "text" if texts else "picture"
    return Overlap(tuple(pairs), _name(first), _name(second), kind)


def _letters(example: Any) -> tuple[str, ...]:
    """The letters and digits of a text or pair; all of a text that has none."""
    texts = [example["text"], *([example["pair"]] if "pair" in example else [])]
    return tuple(re.sub(r"\W+", "", text.casefold()) or text for text in texts)
