"""Masked language modelling's corruption: which tokens are predicted, and what stands for them.

Shapes: ``b`` rows of a batch, ``t`` tokens of a row, ``m`` predictions a row.
"""

import dataclasses
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, Int64, UInt64

from tlearn.data.errors import DataError, closest, listing
from tlearn.data.masked_units import choose_units

UNITS = ("token", "word", "ngram")


@dataclasses.dataclass(frozen=True)
class Masking:
    """How tokens are chosen for prediction and what they are replaced by.

    BERT (Devlin et al. 2019, section 3.1 and appendix C.2) predicts 15 % of the tokens and shows
    the mask for 80 % of them, a random token for 10 % and the token itself for the rest. Its later
    release chooses whole words; ALBERT (Lan et al. 2020, section 3.1) runs of n words with
    p(n) ∝ 1/n. RoBERTa (Liu et al. 2019, section 4.1) compares masks drawn afresh with fixed ones.
    The input of ELECTRA's generator (Clark et al. 2020, and its published code) is ``mask=0.85,
    random=0.0``.

    Args:
        rate: Share of the tokens that are predicted; special ones and padding do not count.
        mask: Share of those that is replaced by the mask.
        random: Share of those that is replaced by a token drawn evenly from all that are not
            special. What remains is left as it is.
        unit: What is chosen as a whole: ``token``, ``word``, or ``ngram`` for runs of words.
        largest: Most words in a run.
        fixed: 0 for a mask of its own in every epoch; n for n masks of each row taken in turn.

    Raises:
        DataError: Naming every number that makes no sense.
    """

    rate: float = 0.15
    mask: float = 0.8
    random: float = 0.1
    unit: Literal["token", "word", "ngram"] = "token"
    largest: int = 3
    fixed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if not 0 < self.rate <= 1:
            problems.append(f"rate {self.rate}; expected more than 0 and at most 1")
        if min(self.mask, self.random) < 0 or self.mask + self.random > 1 + 1e-9:
            problems.append(f"mask {self.mask} and random {self.random}: shares that add up to 1")
        if self.unit not in UNITS:
            problems.append(f"unit {self.unit!r}: {closest(self.unit, UNITS)}")
        if self.largest < 1:
            problems.append(f"largest {self.largest}; a run holds at least 1 word")
        if self.fixed < 0:
            problems.append(f"fixed {self.fixed}; expected 0 or a number of masks")
        if problems:
            raise DataError("a masking that makes no sense:\n" + listing(problems))

    def number(self, tokens: Int64[np.ndarray, "*b"]) -> Int64[np.ndarray, "*b"]:
        """Counts the predictions among so many tokens: the rounded share, but at least one.

        The published code's rounding, halves to even.
        """
        rounded = np.rint(np.asarray(tokens) * self.rate).astype(np.int64)
        return np.clip(rounded, np.minimum(tokens, 1), tokens)

    def room(self, length: int) -> int:
        """Counts the predictions that a row of so many tokens has room for."""
        return max(1, round(self.rate * length))

    def copy(self, epoch: int) -> int:
        """Numbers the mask that an epoch uses."""
        return epoch % self.fixed if self.fixed else epoch

    def draws(self, length: int) -> int:
        """Counts the random numbers that `corrupt` takes for a row."""
        return 3 * length


class Corrupted(NamedTuple):
    """Tokens with some replaced [b t], where those are [b m] and what they were [b m].

    Places that hold no prediction are 0, and their targets -1; places rise along a row.
    """

    tokens: Int32[np.ndarray, "b t"]
    places: Int32[np.ndarray, "b m"]
    targets: Int32[np.ndarray, "b m"]


def corrupt(
    tokens: Int32[np.ndarray, "b t"],
    segments: Int32[np.ndarray, "b t"],
    bits: UInt64[np.ndarray, "b d"],
    masking: Masking,
    *,
    mask_token: int,
    ordinary: Int32[np.ndarray, " v"],
    begins: Bool[np.ndarray, "b t"] | None = None,
) -> Corrupted:
    """Chooses tokens of each row and replaces them.

    With words or runs, units are tried in random order, and one that would exceed the row's number
    is passed over (a run is shortened first), as in the published code: whole units stay whole, and
    a row that has only units too long for it predicts nothing.

    Args:
        tokens: The rows.
        segments: The number of each token's text within its row, and 0 where none may be chosen:
            on special tokens and padding.
        bits: Random numbers, `Masking.draws` for each row.
        masking: What to do.
        mask_token: The mask.
        ordinary: The tokens that are not special.
        begins: Whether a token begins a word; every token does if None.
    """
    rows, width = tokens.shape
    first, second, third = bits[:, :width], bits[:, width : 2 * width], bits[:, 2 * width :]
    room = masking.room(width)
    number = np.minimum(masking.number((segments > 0).sum(axis=1)), room)
    if masking.unit == "token" or (masking.unit == "word" and begins is None):
        places = _choose_tokens(segments > 0, first, number, room)
    else:
        words = segments > 0 if begins is None else begins
        largest = masking.largest if masking.unit == "ngram" else 1
        chosen = choose_units(segments, words, first, third, number, largest)
        places = np.argsort(~chosen, axis=1, kind="stable")[:, :room]
        number = chosen.sum(axis=1)
    real = np.arange(room) < number[:, None]
    places = np.where(real, places, 0)
    row = np.arange(rows)[:, None]
    old = tokens[row, places]
    # One draw says both what becomes of a token, by its upper half, and which one replaces it.
    drawn = second[row, places]
    what = (drawn >> np.uint64(32)).astype(np.float64) * 2.0**-32
    other = (drawn & np.uint64(0xFFFFFFFF)) * np.uint64(len(ordinary)) >> np.uint64(32)
    new = np.where(what < masking.mask + masking.random, ordinary[other], old)
    new = np.where(what < masking.mask, np.int32(mask_token), new)
    out = tokens.copy()
    at = np.nonzero(real)
    out[at[0], places[at]] = new[at]
    return Corrupted(out, places.astype(np.int32), np.where(real, old, np.int32(-1)))


def _choose_tokens(
    candidates: np.ndarray, bits: np.ndarray, number: np.ndarray, room: int
) -> np.ndarray:
    """Places of each row's ``number`` lowest draws among its candidates, rising."""
    width = candidates.shape[1]
    keys = np.where(candidates, bits, np.uint64(2**64 - 1))
    if room < width:
        found = np.argpartition(keys, room - 1, axis=1)[:, :room]
        order = np.argsort(np.take_along_axis(keys, found, axis=1), axis=1)
        found = np.take_along_axis(found, order, axis=1)
    else:
        found = np.argsort(keys, axis=1)
    found = np.where(np.arange(room) < number[:, None], found, width)
    return np.sort(found, axis=1)
