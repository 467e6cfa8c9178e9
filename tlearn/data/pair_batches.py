"""Pairs of segments with some tokens masked: next sentence prediction and sentence order.

Shapes: ``b`` rows of a batch, ``t`` tokens of a row, ``m`` predictions a row.
"""

import dataclasses
import functools
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int64

from tlearn.data.batches import Batch
from tlearn.data.errors import DataError, closest
from tlearn.data.masked_batches import Masker
from tlearn.data.masking import Masking
from tlearn.data.pair_cutting import Chunks, Sentences, cut_before, shorten
from tlearn.data.row_cutting import RowBatches, read_tokens, special_token
from tlearn.data.streams import draws

ORDERS = ("next", "swap")
_MARKS = 3


class _Segments(NamedTuple):
    """Where the two segments of each row begin in the store, their tokens, and the label."""

    first: np.ndarray
    first_count: np.ndarray
    second: np.ndarray
    second_count: np.ndarray
    label: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class PairBatches(RowBatches):
    """Makes rows of two segments, [CLS] a [SEP] b [SEP], and masks some of their tokens.

    Documents are cut into chunks of whole sentences that fill a row; every epoch splits each chunk
    anew, between two of its sentences. With ``order="next"`` (Devlin et al. 2019, section 3.1) the
    second segment is replaced, in half of the rows, by text from another document: label 1. With
    ``order="swap"`` (Lan et al. 2020, section 3.1) the segments change places in half of the rows:
    label 1. Too long a pair loses tokens of its longer segment, each from the front or the back at
    random. A row that gets another document's text leaves out the rest of its own chunk for that
    epoch: unlike in the published code the number of rows is the same in every epoch.

    A batch holds ``tokens`` (masked), ``segments`` (1 on tokens, 0 on filling), ``types`` (1 on the
    second segment and its [SEP]) int32 [b t]; ``places`` and ``targets`` int32 [b m] as in
    `MaskedBatches`; ``label`` int32, ``mask`` float32 and ``index`` int64 [b].

    Args:
        store: The corpus as tokens, with its sentences.
        batch_size: Rows of a global batch.
        length: Tokens of a row, marks included.
        seed: Of the order, the pairs and the masks.
        shuffle: A fresh order every epoch. Without it every epoch makes the pairs of the first.
        order: ``next`` or ``swap``.
        masking: Which tokens are predicted and what replaces them; with fixed masks the pairs are
            fixed too.
        short: Share of the documents that are cut into shorter chunks, of any size from 2 on.
        host_index: Which block of every batch is read here, for several hosts.
        host_count: Into how many blocks a batch is cut.

    Raises:
        DataError: If the tokenizer lacks a mark, there is no second document to take text from, no
            document has two tokens, or a number makes no sense.
    """

    _: dataclasses.KW_ONLY
    order: Literal["next", "swap"] = "next"
    masking: Masking = Masking()
    short: float = 0.1

    shortest = _MARKS + 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order not in ORDERS:
            raise DataError(f"order {self.order!r}: {closest(self.order, ORDERS)}")
        if not 0 <= self.short <= 1:
            raise DataError(f"short {self.short}; expected a share from 0 to 1")
        # Made now, so that what they need is missed before anything is compiled.
        _ = self._masker, self._marks
        if self.order == "next" and len(self._sentences.documents) < 2:
            raise DataError(
                f"{self.store.name} has one document: a segment that does not follow is taken from "
                "another one; give more documents, or order='swap'"
            )
        if not self.examples_per_epoch:
            raise DataError(f"no document of {self.store.name} has two tokens to make a pair of")

    @functools.cached_property
    def _masker(self) -> Masker:
        return Masker(self.store, self.masking, self.seed, self.length)

    @functools.cached_property
    def _marks(self) -> tuple[int, int]:
        return special_token(self.store, "cls"), special_token(self.store, "sep")

    @property
    def _room(self) -> int:
        return self.length - _MARKS

    @functools.cached_property
    def _sentences(self) -> Sentences:
        return Sentences(self.store, self._room)

    @functools.cached_property
    def _chunks(self) -> Chunks:
        return self._sentences.chunks(self.seed, self.short)

    @property
    def examples_per_epoch(self) -> int:
        """Counts the rows of an epoch, those that only fill a batch left out."""
        return len(self._chunks)

    @property
    def random(self) -> bool:
        """Whether the row of an index differs from epoch to epoch."""
        return self.shuffle and self.masking.fixed != 1

    @property
    def preparation(self) -> str:
        """How rows are made of the tokens, as text."""
        return (
            f"pairs of {self.length} tokens, order {self.order}, short {self.short}, "
            f"{self.masking}; {self.store.how}"
        )

    def _make(self, epoch: int, examples: Int64[np.ndarray, " e"]) -> Batch:
        found = self._segments(epoch, examples)
        cls, sep = self._marks
        column = np.arange(self.length)
        first, second = found.first_count[:, None], found.second_count[:, None]
        behind = column - first - 2
        at = np.where(
            column <= first, found.first[:, None] + column - 1, found.second[:, None] + behind
        )
        tokens = read_tokens(self.store, at)
        tokens[:, 0] = cls
        tokens[(behind == -1) | (behind == second)] = sep
        real = behind <= second
        tokens[~real] = self.store.pad
        segments = real.astype(np.int32)
        made = self._masker(epoch, examples, tokens, segments, self._masker.begins(at))
        return {
            "tokens": made.tokens,
            "segments": segments,
            "types": (real & (behind >= 0)).astype(np.int32),
            "places": made.places,
            "targets": made.targets,
            "label": found.label,
        }

    def _segments(self, epoch: int, examples: np.ndarray) -> _Segments:
        """Draws each row's random numbers from its own stream, and pairs its segments by them."""
        chunks, room = self._chunks, self._room
        begin, count = chunks.begins[examples], chunks.counts[examples]
        # A coin for every token that may have to go: at most one and a half rows of a segment.
        coins = -(-2 * room // 64)
        bits = draws(self.seed, "pairs", 4 + 2 * coins, self.masking.copy(epoch), examples)
        middle = self._sentences.split(begin, count, bits[:, 0])
        label = (bits[:, 1] >> np.uint64(63)).astype(np.int32)
        first, first_count = begin, middle - begin
        second, second_count = middle, begin + count - middle
        if self.order == "swap":
            swapped = label == 1
            first, second = np.where(swapped, (second, first), (first, second))
            first_count, second_count = np.where(
                swapped, (second_count, first_count), (first_count, second_count)
            )
        else:
            other, there = self._sentences.elsewhere(
                chunks.documents[examples], chunks.goals[examples] - first_count, bits[:, 2:4]
            )
            second = np.where(label == 1, other, second)
            second_count = np.where(label == 1, there, second_count)
        left, right = shorten(first_count, second_count, room)
        first = first + cut_before(first_count - left, bits[:, 4 : 4 + coins])
        second = second + cut_before(second_count - right, bits[:, 4 + coins :])
        return _Segments(first, left, second, right, label)
