"""Documents cut into pieces, and pieces packed into rows: which go where, worked out once.

Shapes: ``n`` documents, ``p`` pieces of all, ``r`` rows of all; ``q`` pieces of some rows, ``k``
their tokens.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64


class Pieces(NamedTuple):
    """Pieces in the order of the documents: whose, from where in it, how much."""

    documents: Int64[np.ndarray, " p"]
    begins: Int64[np.ndarray, " p"]
    counts: Int64[np.ndarray, " p"]


def ragged(
    counts: Int64[np.ndarray, " q"],
) -> tuple[Int64[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
    """Numbers the items of groups laid end to end: each item's group, and its place in that."""
    group = np.repeat(np.arange(len(counts)), counts)
    return group, np.arange(len(group)) - (np.cumsum(counts) - counts)[group]


def cut(lengths: Int64[np.ndarray, " n"], room: int) -> Pieces:
    """Cuts documents into whole pieces of ``room`` and what is left over; empty ones give none."""
    documents, number = ragged(-(-lengths // room))
    begins = number * room
    return Pieces(documents, begins, np.minimum(lengths[documents] - begins, room))


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


def pack(costs: Int64[np.ndarray, " p"], room: int) -> Packing:
    """Packs pieces into few rows: longest first, each where least is left over.

    Pieces of one cost are placed together, so that the work grows with the number of different
    costs and hardly with that of pieces (histogram packing, Krell et al. 2021, section 3). Rows are
    numbered by their first pieces, and hold their pieces in rising order.

    Args:
        costs: What each piece takes up, from 1 to ``room``.
        room: What a row holds.
    """
    by_cost = np.argsort(-costs, kind="stable")
    counts = np.bincount(costs, minlength=room + 1)
    open_rows: list[list[np.ndarray]] = [[] for _ in range(room + 1)]
    row_of = np.empty(len(costs), np.int64)
    placed = made = 0
    for cost in range(room, 0, -1):
        left = int(counts[cost])
        while left:
            space = next((s for s in range(cost, room) if open_rows[s]), room)
            if space < room:
                found = open_rows[space].pop()
                if len(found) > left:
                    open_rows[space].append(found[left:])
                    found = found[:left]
            else:
                new = -(-left // (room // cost))
                found = np.arange(made, made + new)
                made += new
            row_of[by_cost[placed : placed + len(found)]] = found
            placed, left = placed + len(found), left - len(found)
            open_rows[space - cost].append(found)
    pieces = np.argsort(row_of, kind="stable")
    sizes = np.bincount(row_of, minlength=made)
    starts = np.cumsum(sizes) - sizes
    order = np.argsort(pieces[starts], kind="stable")
    unsorted = Packing(np.concatenate([starts, [len(pieces)]]), pieces)
    return Packing(np.concatenate([[0], np.cumsum(sizes[order])]), unsorted.of(order)[2])


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
