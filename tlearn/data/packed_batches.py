"""Rows filled with documents, for models that predict the next token and carry nothing on.

Shapes: ``b`` rows of a batch, ``t`` tokens of a row.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Int64

from tlearn.data.batches import Batch
from tlearn.data.document_tokens import EndToEnd, Lengths, MarkedDocuments, end_to_end
from tlearn.data.errors import DataError
from tlearn.data.pieces import Packing, Pieces, cut, lay_out, pack
from tlearn.data.row_cutting import RowBatches


@dataclasses.dataclass(frozen=True, eq=False)
class PackedBatches(RowBatches):
    """Packs documents into rows, each a segment of its own.

    Every token of every document but its first is a target exactly once an epoch; with ``bos`` the
    first is one too. A document longer than a row is cut so that the last target of a piece is the
    first token read in the next. Which documents share a row never changes, since none sees
    another; the order of rows does.

    With ``cross``, documents are laid end to end in a fresh order every epoch and cut every
    ``length`` tokens, as GPT-2 and GPT-3 were trained (Brown et al. 2020, appendix B): rows are
    full, their segments all 1, and a document attends to those before it in its row. Then every
    token but an epoch's first is a target exactly once.

    A batch holds ``tokens``, ``segments`` (number of the document within the row, 0 on filling) and
    ``targets`` (next token, -1 on filling) int32 [b t]; ``mask`` float32 and ``index`` int64 [b].

    Args:
        store: The corpus as tokens.
        batch_size: Rows of a global batch.
        length: Tokens that are read of a row.
        seed: Of the order.
        shuffle: A fresh order every epoch.
        bos: The token before every document, or None.
        eos: The token after every document, or None; it is predicted and only read with ``cross``.
        cross: Whether documents in a row see those before them.
        host_index: Which block of every batch is read here, for several hosts.
        host_count: Into how many blocks a batch is cut.

    Raises:
        DataError: If no document has a token to predict, or a number makes no sense.
    """

    _: dataclasses.KW_ONLY
    bos: int | None = None
    eos: int | None = None
    cross: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.examples_per_epoch:
            raise DataError(
                f"the documents of {self.store.name} have one token each: there is no next one to "
                "predict; give bos or eos"
            )

    @functools.cached_property
    def _documents(self) -> MarkedDocuments:
        return MarkedDocuments(self.store, before=self.bos, after=self.eos)

    @functools.cached_property
    def _pieces(self) -> Pieces:
        read = Lengths(self._documents.documents, self._documents.marks - 1)
        return cut(read, self.length, self.store.scratch)

    @functools.cached_property
    def _packing(self) -> Packing:
        near = self.store.scratch
        return pack(self._pieces.costs(np.arange(self.length + 1), near), self.length, near)

    @functools.cached_property
    def targets_per_epoch(self) -> int:
        """Counts the tokens that an epoch predicts."""
        return self._documents.total - (1 if self.cross else len(self._documents))

    @property
    def examples_per_epoch(self) -> int:
        """Counts the rows of an epoch, those that only fill a batch left out."""
        return -(-self.targets_per_epoch // self.length) if self.cross else len(self._packing)

    @property
    def random(self) -> bool:
        """Whether the row of an index differs from epoch to epoch."""
        return self.shuffle and self.cross

    @property
    def preparation(self) -> str:
        """How rows are made of the tokens, as text."""
        how = "documents end to end" if self.cross else "documents apart"
        return (
            f"rows of {self.length} tokens, {how}, before each {self.bos}, after each {self.eos}; "
            f"{self.store.how}"
        )

    def _make(self, epoch: int, examples: Int64[np.ndarray, " e"]) -> Batch:
        return self._cut_through(epoch, examples) if self.cross else self._packed(examples)

    def _packed(self, examples: np.ndarray) -> Batch:
        row, number, piece = self._packing.of(examples)
        found = self._pieces.of(piece)
        lay = lay_out(row, found.counts)
        document = found.documents[lay.piece]
        place = found.begins[lay.piece] + lay.place
        shape = (len(examples), self.length)
        tokens = np.full(shape, self.store.pad, np.int32)
        segments, targets = np.zeros(shape, np.int32), np.full(shape, -1, np.int32)
        at = (lay.row, lay.column)
        tokens[at] = self._documents.read(document, place)
        targets[at] = self._documents.read(document, place + 1)
        segments[at] = number[lay.piece] + 1
        return {"tokens": tokens, "segments": segments, "targets": targets}

    def _lay(self, epoch: int) -> EndToEnd:
        return end_to_end(self._documents, self.seed, epoch, shuffle=self.shuffle)

    def _cut_through(self, epoch: int, examples: np.ndarray) -> Batch:
        places = examples[:, None] * self.length + np.arange(self.length + 1)
        real = places[:, :-1] < self.targets_per_epoch
        line = self._keep("line", epoch, self._lay)
        read = line.read(np.minimum(places, self.targets_per_epoch))
        return {
            "tokens": np.where(real, read[:, :-1], np.int32(self.store.pad)),
            "segments": real.astype(np.int32),
            "targets": np.where(real, read[:, 1:], np.int32(-1)),
        }
