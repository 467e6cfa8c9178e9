"""Rows of two objectives on one corpus: side by side in training, in turn where all are counted.

Shapes: ``b`` rows of a batch.
"""

import abc
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Int64

from tlearn.data.batches import Batch
from tlearn.data.errors import DataError
from tlearn.data.row_cutting import RowBatches
from tlearn.data.streams import draws

KIND = "kind"
"""Of a batch: which of the two objectives a row is of, 0 or 1."""


@dataclasses.dataclass(frozen=True, eq=False)
class _TwoKinds(abc.ABC):
    """What both ways share: rows of both kinds have the same arrays, as wide as the wider.

    A batch holds what the rows of either kind hold, filled up as rows are (``label`` -1 where a
    kind has none), and ``kind`` int32 [b]. The second kind's ``index`` goes on behind the first's.

    Args:
        first: Rows of the first objective.
        second: Rows of the second, of the same store.
    """

    first: RowBatches
    second: RowBatches

    @property
    def dataset(self) -> Any:
        """The token store."""
        return self.first.store

    @property
    def seed(self) -> int:
        """Seed of the order and of everything random."""
        return self.first.seed

    @property
    def random(self) -> bool:
        """Whether the row of an index differs from epoch to epoch."""
        return self.first.random or self.second.random

    @property
    def preparation(self) -> str:
        """How rows are made of the tokens, as text."""
        sizes = f"{self.first.batch_size} and {self.second.batch_size} rows"
        return f"{sizes}: {self.first.preparation}; and {self.second.preparation}"

    @property
    @abc.abstractmethod
    def examples_per_epoch(self) -> int:
        """Counts the rows of an epoch, those that only fill a batch left out."""

    @property
    @abc.abstractmethod
    def steps_per_epoch(self) -> int:
        """Counts the batches of an epoch."""

    @abc.abstractmethod
    def at(self, step: int) -> Batch:
        """Makes the batch of a step; the same one every time."""

    @abc.abstractmethod
    def rows(self, step: int) -> Int64[np.ndarray, " b"]:
        """Numbers of a batch's rows, -1 where a row only fills it."""

    def epoch(self, number: int = 0) -> Iterator[Batch]:
        """Makes the batches of one epoch, one after the other."""
        start = number * self.steps_per_epoch
        for step in range(start, start + self.steps_per_epoch):
            yield self.at(step)

    @functools.cached_property
    def _like(self) -> dict[str, np.ndarray]:
        """A filling row of both kinds: every array there is, at its greatest width."""
        rows = [part.blank() for part in (self.first, self.second)]
        found: dict[str, np.ndarray] = {}
        for row in rows:
            for name, value in row.items():
                if name not in found or value.size > found[name].size:
                    found[name] = value
        # A kind of row about which nothing is asked has no label, which is not the label 0.
        if not all("label" in row for row in rows) and "label" in found:
            found["label"] = np.full_like(found["label"], -1)
        return found

    def _widened(self, made: Batch, kind: int) -> Batch:
        """Gives rows of one kind the arrays of both."""
        rows = len(made["index"])
        out: dict[str, np.ndarray] = {}
        for name, empty in self._like.items():
            out[name] = np.repeat(empty, rows, axis=0)
            if name in made and made[name].ndim > 1:
                out[name][:, : made[name].shape[1]] = made[name]
            elif name in made:
                out[name] = made[name]
        own = self._numbered(made["index"], kind)
        return {**out, KIND: np.full(rows, kind, np.int32), "mask": made["mask"], "index": own}

    def _numbered(self, index: Int64[np.ndarray, " b"], kind: int) -> Int64[np.ndarray, " b"]:
        begins = self.first.examples_per_epoch if kind else 0
        return np.where(index >= 0, index + begins, -1)


@dataclasses.dataclass(frozen=True, eq=False)
class JoinedBatches(_TwoKinds):
    """Batches with rows of both objectives, always as many of each; for training.

    Each objective goes through its own rows of the whole corpus, in passes of its own: a row comes
    again only when all others of its objective have come, and where a pass ends within a batch the
    rows that are left over are filling. An epoch is as many batches as read as many tokens as the
    corpus has, both objectives together, so that a length in epochs costs what it costs without a
    second objective.

    References: Raffel et al. 2020, section 3.3 (the objectives); Tay et al. 2022 (UL2; a mixture).
    """

    @property
    def examples_per_epoch(self) -> int:
        """Counts the rows of an epoch."""
        return -(-self._whole * (self.first.batch_size + self.second.batch_size) // self._part)

    @property
    def steps_per_epoch(self) -> int:
        """Counts the batches of an epoch."""
        return -(-self._whole // self._part)

    # A batch reads n1 / N1 of the corpus by one objective and n2 / N2 of it by the other.
    @property
    def _whole(self) -> int:
        return self.first.examples_per_epoch * self.second.examples_per_epoch

    @property
    def _part(self) -> int:
        mine = self.first.batch_size * self.second.examples_per_epoch
        return mine + self.second.batch_size * self.first.examples_per_epoch

    def at(self, step: int) -> Batch:
        """Makes the batch of a step, the first objective's rows before the second's."""
        made = [self._widened(p.at(step), i) for i, p in enumerate((self.first, self.second))]
        return {name: np.concatenate([one[name] for one in made]) for name in made[0]}

    def rows(self, step: int) -> Int64[np.ndarray, " b"]:
        """Numbers of a batch's rows, -1 where a row only fills it."""
        mine, others = self.first.rows(step), self.second.rows(step)
        return np.concatenate([self._numbered(mine, 0), self._numbered(others, 1)])

    def __str__(self) -> str:
        return f"{self.first} | {self.second}"


@dataclasses.dataclass(frozen=True, eq=False)
class BatchesInTurn(_TwoKinds):
    """All rows of one objective, then all of the other, each once; for evaluation.

    Every batch has the arrays of both, so that one program reads them all.
    """

    @property
    def examples_per_epoch(self) -> int:
        """Counts the rows of both."""
        return self.first.examples_per_epoch + self.second.examples_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        """Counts the batches of both."""
        return self.first.steps_per_epoch + self.second.steps_per_epoch

    def at(self, step: int) -> Batch:
        """Makes the batch of a step; every pass is the same."""
        kind, part, inside = self._of(step)
        return self._widened(part.at(inside), kind)

    def rows(self, step: int) -> Int64[np.ndarray, " b"]:
        """Numbers of a batch's rows, -1 where a row only fills it."""
        kind, part, inside = self._of(step)
        return self._numbered(part.rows(inside), kind)

    def _of(self, step: int) -> tuple[int, RowBatches, int]:
        inside = step % self.steps_per_epoch
        kind = int(inside >= self.first.steps_per_epoch)
        part = self.second if kind else self.first
        return kind, part, inside - kind * self.first.steps_per_epoch

    def __str__(self) -> str:
        return f"{self.first} | {self.second}"


def rows_of_each(batch_size: int, share: float) -> tuple[int, int]:
    """Divides the rows of a batch, to the nearest row.

    Args:
        batch_size: Rows of a batch.
        share: Of the second objective.

    Raises:
        DataError: If one of them would have none.
    """
    second = round(batch_size * share)
    if not 0 < second < batch_size:
        lone = "the second objective" if not second else "the first objective"
        raise DataError(
            f"a share of {share:g} of {batch_size} rows leaves {lone} no row in a batch: give a "
            "share nearer to 0.5, or larger batches"
        )
    return batch_size - second, second


def second_seed(seed: int) -> int:
    """The seed of the second objective's rows, so that no random number is used for both."""
    return int(draws(seed, "second objective", 1, 0, np.zeros(1, np.int64))[0, 0] >> np.uint64(1))
