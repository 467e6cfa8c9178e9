"""Whole words, or runs of them, chosen at random until a row has its number of predictions.

Shapes: ``b`` rows of a batch, ``t`` tokens of a row, ``u`` words of a row.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, UInt64

from tlearn.data.streams import uniform


class _Words(NamedTuple):
    """Words of each row: how many, where each begins and ends [b u]; which one a token is in."""

    counts: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    of: np.ndarray


def choose_units(
    segments: Int32[np.ndarray, "b t"],
    begins: Bool[np.ndarray, "b t"],
    order: UInt64[np.ndarray, "b t"],
    sizes: UInt64[np.ndarray, "b t"],
    number: Int64[np.ndarray, " b"],
    largest: int,
) -> Bool[np.ndarray, "b t"]:
    """Marks tokens of whole units, at most ``number`` a row.

    Every word is tried once, in random order, as the first of a run of n words with p(n) ∝ 1/n
    among the lengths that the text around it allows. A run too long for what the row still lacks is
    shortened by words; if one word is too long, or a word of the run is taken, it is passed over.

    Args:
        segments: The number of each token's text within its row, 0 where none may be chosen. No
            unit reaches over the end of its text or over a place that may not be chosen.
        begins: Whether a token begins a word.
        order: Random numbers that order the words.
        sizes: Random numbers for the lengths of runs.
        number: Predictions of each row.
        largest: Most words of a run; 1 for single words.
    """
    words = _find_words(segments, begins)
    rows, most = words.begins.shape
    row = np.arange(rows)
    inside = np.arange(most) < words.counts[:, None]
    at = (row[:, None], words.begins)
    tried = np.argsort(np.where(inside, order[at], np.uint64(2**64 - 1)), axis=1, kind="stable")
    ends, run = _runs(words, segments, inside, uniform(sizes[at]), largest)
    # Room behind the last word, so that looking at a run's further words stays inside the array.
    taken = np.zeros((rows, most + largest), bool)
    left = number.copy()
    for rank in range(most):
        open_rows = (left > 0) & (rank < words.counts)
        if not open_rows.any():
            break
        word = tried[:, rank]
        size = run[row, word]
        length = ends[row, word, size - 1] - words.begins[row, word]
        for _ in range(largest - 1):
            size = size - ((length > left) & (size > 1))
            length = ends[row, word, size - 1] - words.begins[row, word]
        good = open_rows & (length <= left)
        for step in range(largest):
            good &= ~(taken[row, word + step] & (step < size))
        for step in range(largest):
            own = row[good & (step < size)]
            taken[own, word[own] + step] = True
        left -= np.where(good, length, 0)
    return (segments > 0) & taken[row[:, None], words.of]


def _find_words(segments: np.ndarray, begins: np.ndarray) -> _Words:
    fresh = np.ones(segments.shape, bool)
    fresh[:, 1:] = segments[:, 1:] != segments[:, :-1]
    candidates = segments > 0
    first = candidates & (begins | fresh)
    of = np.maximum(np.cumsum(first, axis=1) - 1, 0)
    after = np.zeros_like(candidates)
    after[:, :-1] = candidates[:, 1:] & ~first[:, 1:]
    last = candidates & ~after
    counts = first.sum(axis=1)
    shape = (len(counts), max(int(counts.max(initial=0)), 1))
    found = []
    for marks in (first, last):
        places = np.zeros(shape, np.int64)
        row, column = np.nonzero(marks)
        places[row, of[row, column]] = column
        found.append(places)
    return _Words(counts, found[0], found[1] + 1, of)


def _runs(
    words: _Words, segments: np.ndarray, inside: np.ndarray, draws: np.ndarray, largest: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where runs of 1, 2, ... words from each word end [b u largest], and the length drawn."""
    ends = np.repeat(words.ends[:, :, None], largest, axis=2)
    possible = np.ones(inside.shape, np.int64)
    going = inside
    text = np.where(inside, np.take_along_axis(segments, words.begins, axis=1), 0)
    for step in range(1, min(largest, inside.shape[1])):
        begin, end, other = (np.zeros_like(words.begins) for _ in range(3))
        begin[:, :-step], end[:, :-step] = words.begins[:, step:], words.ends[:, step:]
        other[:, :-step] = text[:, step:]
        going = going & (other == text) & (begin == ends[:, :, step - 1])
        ends[:, :, step] = np.where(going, end, ends[:, :, step - 1])
        possible += going
    return ends, run_lengths(possible, draws, largest)


def run_lengths(
    possible: Int64[np.ndarray, "*shape"], draws: Float64[np.ndarray, "*shape"], largest: int
) -> Int64[np.ndarray, "*shape"]:
    """Draws how many words a run has, with p(n) ∝ 1/n for n up to what is possible.

    Args:
        possible: Most words at each place, from 1 to ``largest``.
        draws: Even numbers from 0 to 1.
        largest: The most anywhere.
    """
    shares = np.cumsum(1 / np.arange(1, largest + 1))
    goal = draws * shares[possible - 1]
    return np.minimum(1 + np.searchsorted(shares, goal, side="right"), possible)
