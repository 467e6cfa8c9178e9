"""Texts of a dataset in their order, read anew each time they are asked for: what corpora need.

A corpus asks for no example by its number, so nothing has to be held, neither texts nor labels.
"""

import abc
import functools
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from tlearn.data.dataset import Dataset, id_of
from tlearn.data.errors import DataError, listing
from tlearn.data.text_dataset import each_text


class NamedText(NamedTuple):
    """One text, its second text where examples are pairs, and what messages call it."""

    text: str
    pair: str | None
    id: str


class TextsInTurn(abc.ABC):
    """Texts in a fixed order; reading them holds one in memory at a time."""

    name: str

    @abc.abstractmethod
    def __iter__(self) -> Iterator[NamedText]:
        """Reads the texts from the beginning.

        Raises:
            DataError: Naming every one that cannot be used, after the last.
        """

    @functools.cached_property
    def _count(self) -> int:
        return sum(1 for _ in self)

    def __len__(self) -> int:
        """Counts the texts; reads them through where nobody has yet."""
        return self._count


class HeldTexts(TextsInTurn):
    """The texts of a dataset with random access, which may hold them in memory."""

    def __init__(self, dataset: Dataset):
        """Takes the dataset; nothing is read yet."""
        self.name = str(getattr(dataset, "name", type(dataset).__name__))
        self._dataset = dataset

    def __iter__(self) -> Iterator[NamedText]:
        for index, (text, pair) in enumerate(each_text(self._dataset)):
            yield NamedText(text, pair, id_of(self._dataset, index))


class Stretch(TextsInTurn):
    """Texts that follow each other in others."""

    def __init__(self, texts: TextsInTurn, places: range, *, name: str):
        """Chooses by place; the texts were counted before, and so read through."""
        self.name = name
        self._texts, self._places = texts, places

    def __iter__(self) -> Iterator[NamedText]:
        return islice(iter(self._texts), self._places.start, self._places.stop)

    def __len__(self) -> int:
        """Counts the places."""
        return len(self._places)


class EndToEnd(TextsInTurn):
    """Several texts in turn, one after the other; what their labels are called does not matter."""

    def __init__(self, parts: Sequence[TextsInTurn]):
        """Joins them in their order.

        Raises:
            DataError: If some are pairs and some are not.
        """
        self.name = "+".join(part.name for part in parts)
        self._parts = tuple(parts)
        first = [(part.name, next(iter(part), None)) for part in parts]
        pairs = {name: text.pair is not None for name, text in first if text is not None}
        if len(set(pairs.values())) > 1:
            told = [f"{name}: {'pairs' if two else 'single texts'}" for name, two in pairs.items()]
            raise DataError(f"{self.name}: pairs and single texts are mixed:\n{listing(told)}")

    def __iter__(self) -> Iterator[NamedText]:
        for part in self._parts:
            yield from part
