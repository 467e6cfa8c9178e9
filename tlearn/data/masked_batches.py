"""Rows of documents with some tokens masked, for models that predict those.

Shapes: ``b`` rows of a batch, ``t`` tokens of a row, ``m`` predictions a row.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Int32, Int64

from tlearn.data.batches import Batch
from tlearn.data.document_tokens import Documents, Lengths
from tlearn.data.errors import DataError
from tlearn.data.masking import Corrupted, Masking, corrupt
from tlearn.data.pieces import Packing, Pieces, cut, lay_out, pack
from tlearn.data.row_cutting import RowBatches, read_tokens, special_token
from tlearn.data.streams import draws
from tlearn.data.token_store import TokenStore


class Masker:
    """Masks rows of one token store: knows its mask, its special tokens and their opposite.

    Args:
        store: The corpus as tokens.
        masking: What to do.
        seed: Of the masks.
        length: Tokens of a row.

    Raises:
        DataError: If the tokenizer has no mask token, or has only special ones.
    """

    def __init__(self, store: TokenStore, masking: Masking, seed: int, length: int):
        """Looks up special tokens."""
        self._masking, self._seed = masking, seed
        self._mask = special_token(store, "mask")
        self._special = np.zeros(store.vocab_size, bool)
        self._special[[*store.special.values(), store.pad]] = True
        self._ordinary = np.flatnonzero(~self._special).astype(np.int32)
        if not len(self._ordinary):
            raise DataError(f"every token of {store.name}'s vocabulary is a special one")
        self._word_starts = None if masking.unit == "token" else store.word_starts
        self._count = masking.draws(length)

    def begins(self, at: Int64[np.ndarray, "..."]) -> Bool[np.ndarray, "..."] | None:
        """Tells whether tokens begin words, by their places in the store; None if all do."""
        if self._word_starts is None:
            return None
        return np.asarray(self._word_starts[np.clip(at, 0, len(self._word_starts) - 1)], bool)

    def __call__(
        self,
        epoch: int,
        examples: Int64[np.ndarray, " b"],
        tokens: Int32[np.ndarray, "b t"],
        segments: Int32[np.ndarray, "b t"],
        begins: Bool[np.ndarray, "b t"] | None,
    ) -> Corrupted:
        """Masks rows; a row's mask depends on the seed, the epoch and its number alone."""
        bits = draws(self._seed, "masking", self._count, self._masking.copy(epoch), examples)
        return corrupt(
            tokens,
            np.where(self._special[tokens], np.int32(0), segments),
            bits,
            self._masking,
            mask_token=self._mask,
            ordinary=self._ordinary,
            begins=begins,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedBatches(RowBatches):
    """Packs documents into rows and masks some of their tokens.

    Documents longer than a row are cut; every token of every document is in one row an epoch. Each
    piece stands between [CLS] and [SEP], where the tokenizer has them, and is a segment of its own:
    nothing is attended to across pieces.

    A batch holds ``tokens`` (masked), ``segments`` (number of the piece within the row, 0 on
    filling) and ``types`` (0) int32 [b t]; ``places`` int32 [b m] of the tokens to be predicted,
    filled up with 0; ``targets`` int32 [b m], what they were, filled up with -1; ``mask`` float32
    and ``index`` int64 [b]. A row's mask is a function of the seed, the epoch and its index.

    Args:
        store: The corpus as tokens.
        batch_size: Rows of a global batch.
        length: Tokens of a row, [CLS] and [SEP] included.
        seed: Of the order and the masks.
        shuffle: A fresh order every epoch. Without it every epoch is masked as the first.
        masking: Which tokens are predicted and what replaces them.
        host_index: Which block of every batch is read here, for several hosts.
        host_count: Into how many blocks a batch is cut.

    Raises:
        DataError: If the tokenizer lacks what the masking needs, or a number makes no sense.
    """

    _: dataclasses.KW_ONLY
    masking: Masking = Masking()

    shortest = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        # Made now, so that what it needs is missed before anything is compiled.
        _ = self._masker

    @functools.cached_property
    def _masker(self) -> Masker:
        return Masker(self.store, self.masking, self.seed, self.length)

    @functools.cached_property
    def _marks(self) -> tuple[int, int] | None:
        special = self.store.special
        return (special["cls"], special["sep"]) if {"cls", "sep"} <= special.keys() else None

    @functools.cached_property
    def _documents(self) -> Documents:
        return Documents(self.store)

    @functools.cached_property
    def _pieces(self) -> Pieces:
        room = self.length - (2 if self._marks else 0)
        return cut(Lengths(self._documents), room, self.store.scratch)

    @functools.cached_property
    def _packing(self) -> Packing:
        near, more = self.store.scratch, 2 if self._marks else 0
        costs = self._pieces.costs(np.arange(self.length + 1) + more, near)
        return pack(costs, self.length, near)

    @property
    def examples_per_epoch(self) -> int:
        """Counts the rows of an epoch, those that only fill a batch left out."""
        return len(self._packing)

    @property
    def random(self) -> bool:
        """Whether the row of an index differs from epoch to epoch."""
        return self.shuffle and self.masking.fixed != 1

    @property
    def preparation(self) -> str:
        """How rows are made of the tokens, as text."""
        return f"rows of {self.length} tokens, {self.masking}; {self.store.how}"

    def _make(self, epoch: int, examples: Int64[np.ndarray, " e"]) -> Batch:
        row, number, piece = self._packing.of(examples)
        found = self._pieces.of(piece)
        sizes = found.counts + (2 if self._marks else 0)
        lay = lay_out(row, sizes)
        begin = self._documents.begins(found.documents) + found.begins
        at = begin[lay.piece] + lay.place - (1 if self._marks else 0)
        read = read_tokens(self.store, at)
        if self._marks:
            cls, sep = self._marks
            read[lay.place == 0] = cls
            read[lay.place == sizes[lay.piece] - 1] = sep
        shape = (len(examples), self.length)
        tokens = np.full(shape, self.store.pad, np.int32)
        segments = np.zeros(shape, np.int32)
        tokens[lay.row, lay.column] = read
        segments[lay.row, lay.column] = number[lay.piece] + 1
        begins = self._masker.begins(at)
        if begins is not None:
            words = np.zeros(shape, bool)
            words[lay.row, lay.column] = begins
            begins = words
        made = self._masker(epoch, examples, tokens, segments, begins)
        return {
            "tokens": made.tokens,
            "segments": segments,
            "types": np.zeros(shape, np.int32),
            "places": made.places,
            "targets": made.targets,
        }
