"""Continuous streams of text for models that read on from where the last batch ended.

Shapes: ``b`` rows of a batch, ``t`` tokens of a row.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Int64

from tlearn.data.batches import Batch
from tlearn.data.document_tokens import EndToEnd, MarkedDocuments, end_to_end
from tlearn.data.errors import DataError
from tlearn.data.row_cutting import RowBatches


@dataclasses.dataclass(frozen=True, eq=False)
class StreamBatches(RowBatches):
    """Cuts the documents, laid end to end, into ``batch_size`` streams read side by side.

    Row i of a batch goes on where row i of the batch before it ended: what truncated
    back-propagation through time needs (Howard & Ruder 2018, section 3.2; Merity et al. 2018,
    section 4). Streams are as long as each other to within a token, and each ends with the token
    that the next begins with: every token of an epoch but its first is a target exactly once,
    whatever the batch size.

    A batch holds ``tokens``, ``segments`` (1 on tokens, 0 on filling) and ``targets`` (the next
    token, -1 on filling) int32 [b t]; ``continues`` float32 [b], 1 where a row goes on and 0 where
    its stream begins; ``mask`` float32 and ``index`` int64 [b].

    Args:
        store: The corpus as tokens.
        batch_size: Streams of a global batch.
        length: Tokens that are read of each stream at a step.
        seed: Of the documents' order.
        shuffle: A fresh order of documents every epoch.
        eos: The token written after every document, or None.
        backward: Whether each document is read from its last token to its first.
        host_index: Which block of every batch is read here, for several hosts.
        host_count: Into how many blocks a batch is cut.

    Raises:
        DataError: If the store has fewer than two tokens, or a number makes no sense.
    """

    _: dataclasses.KW_ONLY
    eos: int | None = None
    backward: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self._targets < 1:
            raise DataError(
                f"the corpus {self.store.name} has one token: there is no next one to predict"
            )

    @functools.cached_property
    def _documents(self) -> MarkedDocuments:
        return MarkedDocuments(self.store, after=self.eos, backward=self.backward)

    @functools.cached_property
    def _targets(self) -> int:
        return self._documents.total - 1

    @functools.cached_property
    def _counts(self) -> Int64[np.ndarray, " b"]:
        """Targets of each stream; the longer ones come first."""
        least, more = divmod(self._targets, self.batch_size)
        return least + (np.arange(self.batch_size) < more).astype(np.int64)

    @functools.cached_property
    def examples_per_epoch(self) -> int:
        """Counts the rows of an epoch, those that only fill a batch left out."""
        return int((-(-self._counts // self.length)).sum())

    @property
    def random(self) -> bool:
        """Whether the row of an index differs from epoch to epoch."""
        return self.shuffle

    @property
    def preparation(self) -> str:
        """How rows are made of the tokens, as text."""
        direction = "backward" if self.backward else "forward"
        return (
            f"{self.batch_size} streams of {self.length} tokens, {direction}, "
            f"after each document {self.eos}; {self.store.how}"
        )

    @property
    def targets_per_epoch(self) -> int:
        """Counts the tokens that an epoch predicts."""
        return self._targets

    def _order(self, epoch: int) -> None:
        """Rows come as they are cut."""

    def _lay(self, epoch: int) -> EndToEnd:
        return end_to_end(self._documents, self.seed, epoch, shuffle=self.shuffle)

    def _make(self, epoch: int, examples: Int64[np.ndarray, " e"]) -> Batch:
        part, stream = np.divmod(examples, self.batch_size)
        before = part * self.length
        begin = (np.cumsum(self._counts) - self._counts)[stream] + before
        count = np.minimum(self._counts[stream] - before, self.length)
        places = np.minimum(begin[:, None] + np.arange(self.length + 1), self._targets)
        read = self._keep("line", epoch, self._lay).read(places)
        real = np.arange(self.length) < count[:, None]
        return {
            "tokens": np.where(real, read[:, :-1], np.int32(self.store.pad)),
            "segments": real.astype(np.int32),
            "targets": np.where(real, read[:, 1:], np.int32(-1)),
            "continues": (part > 0).astype(np.float32),
        }
