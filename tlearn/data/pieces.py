"""Documents cut into pieces, and pieces packed into rows: which go where, worked out once.

Shapes: ``n`` documents, ``p`` pieces of all, ``r`` rows of all; ``q`` pieces of some rows, ``k``
their tokens.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from tlearn.data import scratch
from tlearn.data.long_orders import dealt
from tlearn.data.scratch import chunks


def ragged(
    counts: Int64[np.ndarray, " q"],
) -> tuple[Int64[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
    """Numbers the items of groups laid end to end: each item's group, and its place in that."""
    group = np.repeat(np.arange(len(counts)), counts)
    return group, np.arange(len(group)) - (np.cumsum(counts) - counts)[group]


class Cut(NamedTuple):
    """Some pieces: whose, from where in it, how much."""

    documents: Int64[np.ndarray, " q"]
    begins: Int64[np.ndarray, " q"]
    counts: Int64[np.ndarray, " q"]


@dataclasses.dataclass(frozen=True, eq=False)
class Pieces:
    """Pieces in the order of the documents, told from where each document's are.

    Attributes:
        lengths: [n], read by arrays of places.
        room: Tokens of a whole piece.
        firsts: The number of each document's first piece, and how many there are.
    """

    lengths: Any
    room: int
    firsts: Int64[np.ndarray, " n1"]

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def of(self, numbers: Int64[np.ndarray, " q"]) -> Cut:
        """Tells where pieces lie."""
        documents = np.searchsorted(self.firsts, numbers, side="right") - 1
        begins = (numbers - self.firsts[documents]) * self.room
        return Cut(documents, begins, np.minimum(self.lengths[documents] - begins, self.room))

    def costs(
        self, by_count: Int64[np.ndarray, " c"], near: Path | None = None
    ) -> Int64[np.ndarray, " p"]:
        """Looks up what every piece takes up, by how many tokens it has."""
        parts = (by_count[self.of(np.arange(a, b)).counts] for a, b in chunks(len(self)))
        return scratch.filled(parts, near)


def cut(lengths: Any, room: int, near: Path | None = None) -> Pieces:
    """Cuts documents into whole pieces of ``room`` and what is left over; empty ones give none.

    Args:
        lengths: [n], read by slices and by arrays of places.
        room: Tokens of a piece.
        near: Where a long table may lie, see `scratch`.
    """
    counts = (-(-lengths[a:b] // room) for a, b in chunks(len(lengths)))
    return Pieces(lengths, room, scratch.ends(counts, near))


@dataclasses.dataclass(frozen=True, eq=False)
class Packing:
    """Which pieces lie in which row, one after the other.

    Attributes:
        starts: Where each row's pieces begin in ``pieces``, and the end of the last.
        pieces: The pieces' numbers, row by row.
    """

    starts: Int64[np.ndarray, " r1"]
    pieces: Int64[np.ndarray, " p"]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(
        self, rows: Int64[np.ndarray, " b"]
    ) -> tuple[Int64[np.ndarray, " q"], Int64[np.ndarray, " q"], Int64[np.ndarray, " q"]]:
        """Lists the pieces of some rows: which of these rows, number in the row, and the piece."""
        row, number = ragged(self.starts[rows + 1] - self.starts[rows])
        return row, number, self.pieces[self.starts[rows[row]] + number]


def pack(costs: Int64[np.ndarray, " p"], room: int, near: Path | None = None) -> Packing:
    """Packs pieces into few rows: longest first, each where least is left over.

    Pieces of one cost are placed together, so that the work grows with the number of different
    costs and hardly with that of pieces (histogram packing, Krell et al. 2021, section 3). Rows are
    numbered by their first pieces, and hold their pieces in rising order.

    Args:
        costs: What each piece takes up, from 1 to ``room``.
        room: What a row holds.
        near: Where a long table may lie, see `scratch`.
    """
    counts = np.zeros(room + 1, np.int64)
    for begin, end in chunks(len(costs)):
        counts += np.bincount(costs[begin:end], minlength=room + 1)
    runs, made = _planned(counts, room)
    numbers, sizes = (scratch.empty(made, np.int64, near) for _ in range(2))
    for begin, end in chunks(made):
        numbers[begin:end], sizes[begin:end] = -1, 0

    def numbered() -> Iterator[np.ndarray]:
        """The row of every piece, and on the way each row's number and size."""
        met = 0
        # The longest come first, and those of one cost in their order.
        reached = np.cumsum(counts[::-1])[::-1] - counts
        for begin, end in chunks(len(costs)):
            inside, at = dealt(costs[begin:end], reached)
            run = np.searchsorted(runs.places, at, side="right") - 1
            rows = np.empty(end - begin, np.int64)
            rows[inside] = runs.rows[run] + at - runs.places[run]
            new = rows[numbers[rows] < 0]
            # Of several pieces of a row the last one assigned, the first of them, stays.
            numbers[new[::-1]] = np.arange(len(new))[::-1]
            new = new[numbers[new] == np.arange(len(new))]
            numbers[new] = met + np.arange(len(new))
            met += len(new)
            yield numbers[rows]

    row_of = scratch.filled(numbered(), near)
    for begin, end in chunks(len(costs)):
        np.add.at(sizes, row_of[begin:end], 1)
    starts = scratch.ends((sizes[a:b] for a, b in chunks(made)), near)
    for begin, end in chunks(made):
        numbers[begin:end] = starts[begin:end]
    pieces = scratch.empty(len(costs), np.int64, near)
    for begin, end in chunks(len(costs)):
        inside, at = dealt(row_of[begin:end], numbers)
        pieces[at] = begin + inside
    return Packing(starts, pieces)


class _Runs(NamedTuple):
    """Pieces ordered by cost that go to rows one after the other: the first place and row."""

    places: Int64[np.ndarray, " s"]
    rows: Int64[np.ndarray, " s"]


def _planned(counts: Int64[np.ndarray, " c"], room: int) -> tuple[_Runs, int]:
    """Decides by the number of pieces of each cost what goes where, and how many rows there are."""
    # Rows are opened many at a time and stay together: each entry is a first row and a number.
    open_rows: list[list[tuple[int, int]]] = [[] for _ in range(room + 1)]
    places: list[int] = []
    rows: list[int] = []
    placed = made = 0
    for cost in range(room, 0, -1):
        left = int(counts[cost])
        while left:
            space = next((s for s in range(cost, room) if open_rows[s]), room)
            if space < room:
                row, found = open_rows[space].pop()
                if found > left:
                    open_rows[space].append((row + left, found - left))
                    found = left
            else:
                row, found = made, -(-left // (room // cost))
                made += found
            places.append(placed)
            rows.append(row)
            placed, left = placed + found, left - found
            open_rows[space - cost].append((row, found))
    return _Runs(np.array(places, np.int64), np.array(rows, np.int64)), made


class Layout(NamedTuple):
    """Where the tokens of some rows' pieces go: of which piece, which in it; row and column."""

    piece: Int64[np.ndarray, " k"]
    place: Int64[np.ndarray, " k"]
    row: Int64[np.ndarray, " k"]
    column: Int64[np.ndarray, " k"]


def lay_out(row: Int64[np.ndarray, " q"], sizes: Int64[np.ndarray, " q"]) -> Layout:
    """Lays pieces side by side from the left of their rows.

    Args:
        row: Each piece's row, not falling.
        sizes: How many tokens each takes.
    """
    begins = np.cumsum(sizes) - sizes
    first = begins[np.searchsorted(row, row)]
    piece, place = ragged(sizes)
    return Layout(piece, place, row[piece], (begins - first)[piece] + place)
