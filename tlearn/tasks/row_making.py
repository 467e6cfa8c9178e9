"""From a token store to batches of rows, by the name of what is predicted."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tlearn.data import DataError, Tokenizer
from tlearn.data.joined_batches import BatchesInTurn, JoinedBatches, rows_of_each, second_seed
from tlearn.data.masked_batches import MaskedBatches
from tlearn.data.masking import Masking
from tlearn.data.packed_batches import PackedBatches
from tlearn.data.pair_batches import PairBatches
from tlearn.data.row_cutting import RowBatches
from tlearn.data.span_batches import SpanBatches
from tlearn.data.stream_batches import StreamBatches
from tlearn.data.token_store import TokenStore

MASKED = ("masked_tokens", "next_sentence", "sentence_order", "replaced_tokens")
DECODED = ("span_corruption", "prefix_lm")
OBJECTIVES = ("next_tokens", *MASKED, *DECODED)
CorpusBatches = RowBatches | JoinedBatches | BatchesInTurn
"""Batches of a corpus, of one objective or of two."""
_MOST_SENTINELS = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
    """How rows are made: what is predicted, and the numbers of it.

    Attributes:
        objective: One of `OBJECTIVES`.
        length: Tokens of a row.
        form: ``streams``, ``packed`` or ``crossing``, for next tokens.
        backward: Whether streams are read from the back.
        masking: Which tokens are masked.
        span_length: Mean tokens of a dropped span.
        marks: Special tokens by what they are for, ``bos`` and ``eos`` among them.
        sentinels: What stands for dropped spans.
        start: The token a decoder begins with; None for the padding token.
        also: A second objective whose rows stand beside those of the first; empty for none.
        also_share: Share of a training batch's rows that are of the second.
    """

    objective: str
    length: int
    form: str = "packed"
    backward: bool = False
    masking: Masking = Masking()
    span_length: float = 3.0
    marks: Mapping[str, int] = dataclasses.field(default_factory=dict)
    sentinels: tuple[int, ...] = ()
    start: int | None = None
    also: str = ""
    also_share: float = 0.25

    @property
    def streams(self) -> bool:
        """Whether a row goes on from the same row of the batch before."""
        return self.objective == "next_tokens" and self.form == "streams"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The objectives that rows are made for, one or two."""
        return (self.objective, self.also) if self.also else (self.objective,)

    @property
    def ending(self) -> int | None:
        """The token that stands behind every document; None where the tokenizer has none."""
        return self.marks.get("eos", self.marks.get("sep"))

    @property
    def beginning(self) -> int | None:
        """The token that stands before every document of next tokens, or None.

        Where documents go on from one another it is the one that ended the document before.
        """
        # With bos as with eos the first word of a document is a target.
        return self.marks.get("bos", self.ending) if self.form == "packed" else self.ending

    def __str__(self) -> str:
        form = f", {self.form}" if self.objective == "next_tokens" else ""
        direction = ", read backward" if self.backward else ""
        return f"{' and '.join(self.kinds)} in rows of {self.length} tokens{form}{direction}"

    def batches(
        self, store: TokenStore, batch_size: int, *, seed: int, shuffle: bool
    ) -> CorpusBatches:
        """Makes the batches of a store.

        Args:
            store: The tokens.
            batch_size: Rows of a batch.
            seed: Of order and corruption.
            shuffle: Training; without it one pass that is the same every time, of two objectives
                one pass of each.

        Raises:
            DataError: If the tokenizer lacks what the objective needs, the store is too small, or
                a batch has no room for two objectives.
        """
        if not self.also:
            return self._batches(self.objective, store, batch_size, seed, shuffle)
        if not shuffle:
            return BatchesInTurn(
                *(self._batches(kind, store, batch_size, seed, False) for kind in self.kinds)
            )
        seeds = (seed, second_seed(seed))
        sizes = rows_of_each(batch_size, self.also_share)
        return JoinedBatches(
            *(
                self._batches(kind, store, size, own, True)
                for kind, size, own in zip(self.kinds, sizes, seeds, strict=True)
            )
        )

    def _batches(
        self, objective: str, store: TokenStore, batch_size: int, seed: int, shuffle: bool
    ) -> RowBatches:
        """Makes the batches of one objective."""
        given: dict[str, Any] = {"seed": seed, "shuffle": shuffle}
        where = (store, batch_size, self.length)
        eos = self.ending
        if self.backward and not self.streams:
            what = f"rows={self.form}" if objective == "next_tokens" else objective
            raise DataError(
                f"{what}: such rows are read forward; a body that reads backward, by "
                "direction=backward or as its source did, needs next_tokens in rows=streams"
            )
        if objective == "next_tokens":
            if self.form == "streams":
                return StreamBatches(*where, eos=eos, backward=self.backward, **given)
            crossing = self.form == "crossing"
            bos = None if crossing else self.beginning
            return PackedBatches(*where, bos=bos, eos=eos, cross=crossing, **given)
        if objective in ("masked_tokens", "replaced_tokens"):
            return MaskedBatches(*where, masking=self.masking, **given)
        if objective in ("next_sentence", "sentence_order"):
            order = "next" if objective == "next_sentence" else "swap"
            return PairBatches(*where, order=order, masking=self.masking, **given)
        if eos is None:
            raise DataError(
                f"{objective} ends its texts with an eos token, and the tokenizer has none; "
                "train one of kind unigram, or one that names eos"
            )
        spans = objective == "span_corruption"
        return SpanBatches(
            *where,
            eos=eos,
            sentinels=self.sentinels if spans else (),
            start=self.start,
            objective="spans" if spans else "prefix",
            rate=self.masking.rate,
            mean=self.span_length,
            **given,
        )


def sentinels_of(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Numbers of the tokens that stand for dropped spans, ``<extra_id_0>`` first."""
    found = (tokenizer.number(f"<extra_id_{n}>") for n in range(_MOST_SENTINELS))
    return tuple(number for number in found if number is not None)
