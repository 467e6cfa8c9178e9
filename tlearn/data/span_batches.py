"""Span corruption and prefix LM: rows for models with an encoder and a decoder.

Shapes: ``b`` rows of a batch, ``t`` tokens of the encoder's row and ``s`` of the decoder's.
"""

import dataclasses
import functools
from typing import Literal

import numpy as np
from jaxtyping import Int64

from tlearn.data.batches import Batch
from tlearn.data.document_tokens import Documents, Lengths
from tlearn.data.errors import DataError, closest, listing
from tlearn.data.pieces import Packing, Pieces, cut, lay_out, pack
from tlearn.data.row_cutting import RowBatches, check_token, read_tokens
from tlearn.data.span_corruption import (
    Shares,
    Sides,
    corrupt_spans,
    filling,
    shares,
    side_sizes,
    split_prefix,
)
from tlearn.data.streams import draws

OBJECTIVES = ("spans", "prefix")


@dataclasses.dataclass(frozen=True, eq=False)
class SpanBatches(RowBatches):
    """Packs pieces of documents into rows of an encoder and rows of a decoder.

    Span corruption (Raffel et al. 2020, sections 3.1.4 and 3.3): random spans are dropped from the
    encoder's tokens, a sentinel for each in its place; the decoder writes the sentinels, each with
    its span, and the end mark. A document is cut into pieces that fill a row once spans are
    dropped; shorter ones share rows, where each is a segment with the same number on both sides and
    sentinels of its own. Prefix LM (section 3.2.1): the encoder reads a random prefix, and the
    decoder writes the rest.

    A batch holds ``tokens`` and ``segments`` int32 [b t]; ``decoder_tokens`` (the start token, then
    the targets moved on by one), ``decoder_segments`` and ``targets`` (-1 on filling) int32 [b s];
    ``mask`` float32 and ``index`` int64 [b]. What is dropped is a function of the seed, the epoch
    and the row's index.

    Args:
        store: The corpus as tokens.
        batch_size: Rows of a global batch.
        length: Tokens of the encoder's row.
        seed: Of the order and of what is dropped.
        shuffle: A fresh order every epoch. Without it every epoch drops what the first did.
        sentinels: What stands for the first span of a piece, the second, ...; T5's are its highest
            numbers, falling. Prefix LM needs none.
        eos: The mark that ends both sides.
        start: The token that the decoder begins with; the padding token if None, as in T5.
        objective: ``spans`` or ``prefix``.
        rate: Share of the tokens that is dropped.
        mean: Mean tokens of a span.
        host_index: Which block of every batch is read here, for several hosts.
        host_count: Into how many blocks a batch is cut.

    Raises:
        DataError: Naming every number that makes no sense, or if there are too few sentinels.
    """

    _: dataclasses.KW_ONLY
    eos: int
    sentinels: tuple[int, ...] = ()
    start: int | None = None
    objective: Literal["spans", "prefix"] = "spans"
    rate: float = 0.15
    mean: float = 3.0

    shortest = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = []
        if self.objective not in OBJECTIVES:
            problems.append(f"objective {self.objective!r}: {closest(self.objective, OBJECTIVES)}")
        if not 0 < self.rate < 1:
            problems.append(f"rate {self.rate}; expected between 0 and 1")
        if self.mean < 1:
            problems.append(f"mean {self.mean}; a span has at least 1 token")
        if len(set(self.sentinels)) < len(self.sentinels):
            problems.append("sentinels: one stands for two spans")
        if problems:
            raise DataError("batches of spans that make no sense:\n" + listing(problems))
        for what, token in (("eos", self.eos), ("start", self.start)):
            check_token(self.store, what, token)
        for token in self.sentinels:
            check_token(self.store, "sentinel", token)
        if self._spans:
            needed = int(shares(np.array([self._most]), self.rate, self.mean).spans[0])
            if needed > len(self.sentinels):
                raise DataError(
                    f"{len(self.sentinels)} sentinels, and a row of {self.length} tokens drops up "
                    f"to {needed} spans: give that many, shorter rows or a larger mean"
                )

    @property
    def _spans(self) -> bool:
        return self.objective == "spans"

    @functools.cached_property
    def _most(self) -> int:
        """Tokens of the longest piece."""
        return filling(self.length, self.rate, self.mean) if self._spans else self.length

    @functools.cached_property
    def decoder_length(self) -> int:
        """Tokens of the decoder's row."""
        if not self._spans:
            return self.length
        return int(side_sizes(np.array([self._most]), self.rate, self.mean)[1][0])

    @functools.cached_property
    def _documents(self) -> Documents:
        return Documents(self.store)

    @functools.cached_property
    def _pieces(self) -> Pieces:
        return cut(Lengths(self._documents), self._most, self.store.scratch)

    @functools.cached_property
    def _packing(self) -> Packing:
        near = self.store.scratch
        return pack(self._pieces.costs(self._costs, near), self.length, near)

    @property
    def _costs(self) -> Int64[np.ndarray, " c"]:
        """What a piece takes up of a row, by how many tokens it has."""
        counts = np.arange(self._most + 1)
        if not self._spans:
            # However a piece is split, no side gets more than its tokens, or the end mark and one.
            return np.maximum(counts, 2)
        encoder, decoder = side_sizes(counts, self.rate, self.mean)
        # A piece is charged for the side that it fills more of, so that neither overflows.
        scaled = -(-decoder * self.length // self.decoder_length)
        return np.maximum(encoder, scaled)

    @property
    def examples_per_epoch(self) -> int:
        """Counts the rows of an epoch, those that only fill a batch left out."""
        return len(self._packing)

    @property
    def random(self) -> bool:
        """Whether the row of an index differs from epoch to epoch."""
        return self.shuffle

    @property
    def preparation(self) -> str:
        """How rows are made of the tokens, as text."""
        spans = f"rate {self.rate}, mean {self.mean}, " if self._spans else ""
        return (
            f"{self.objective}, rows of {self.length} and {self.decoder_length} tokens, {spans}"
            f"sentinels {self.sentinels}, start {self.start}, eos {self.eos}; {self.store.how}"
        )

    def _make(self, epoch: int, examples: Int64[np.ndarray, " e"]) -> Batch:
        row, number, piece = self._packing.of(examples)
        found = self._pieces.of(piece)
        counts = found.counts
        begins = self._documents.begins(found.documents) + found.begins
        sides = self._split(epoch, examples, row, number, counts)
        made = {}
        for names, width, sizes, codes in (
            (("tokens", "segments"), self.length, sides.encoder_sizes, sides.encoder),
            (("targets", "decoder_segments"), self.decoder_length, *sides[2:]),
        ):
            lay = lay_out(row, sizes)
            read = read_tokens(self.store, begins[lay.piece] + codes)
            read[codes == counts[lay.piece]] = self.eos
            if self._spans:
                named = np.array(self.sentinels, np.int32)
                read[codes < 0] = named[-1 - codes[codes < 0]]
            empty = self.store.pad if names[0] == "tokens" else -1
            values = np.full((len(examples), width), empty, np.int32)
            segments = np.zeros((len(examples), width), np.int32)
            values[lay.row, lay.column] = read
            segments[lay.row, lay.column] = number[lay.piece] + 1
            made |= dict(zip(names, (values, segments), strict=True))
        return {**made, "decoder_tokens": self._moved(made["targets"], made["decoder_segments"])}

    def _moved(self, targets: np.ndarray, segments: np.ndarray) -> np.ndarray:
        """What the decoder reads: each segment's start token, then its targets but the last."""
        out = np.full_like(targets, self.store.pad)
        out[:, 1:] = targets[:, :-1]
        first = np.ones(segments.shape, bool)
        first[:, 1:] = segments[:, 1:] != segments[:, :-1]
        out[first] = self.store.pad if self.start is None else self.start
        out[segments == 0] = self.store.pad
        return out

    def _split(
        self,
        epoch: int,
        examples: np.ndarray,
        row: np.ndarray,
        number: np.ndarray,
        counts: np.ndarray,
    ) -> Sides:
        """Draws each row's random numbers from its own stream, and divides its pieces by them."""
        total = self.length + self.decoder_length if self._spans else self.length
        bits = draws(self.seed, self.objective, total, epoch, examples)
        if not self._spans:
            return split_prefix(counts, bits[row, number])
        given: Shares = shares(counts, self.rate, self.mean)
        kept, dropped = lay_out(row, counts - given.dropped), lay_out(row, given.dropped)
        return corrupt_spans(
            counts,
            given,
            bits[kept.row, kept.column],
            bits[dropped.row, self.length + dropped.column],
        )
