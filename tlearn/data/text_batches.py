"""Padded batches of tokens as a pure function of (seed, step), close to the texts' own lengths.

Shapes: ``b`` rows of a batch, ``t`` tokens of a row.
"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int64

from tlearn.data.batches import Batch
from tlearn.data.blocks import block, check_blocks
from tlearn.data.buckets import check_widths, choose_widths
from tlearn.data.errors import DataError
from tlearn.data.streams import permutation
from tlearn.data.token_dataset import TokenDataset

_KEPT = 4
"""Epochs whose order is kept at hand: prefetching looks one ahead."""


@dataclasses.dataclass(frozen=True, eq=False)
class TextBatches:
    """Cuts texts of similar length into batches of few widths.

    Every epoch visits every example exactly once in the same number of batches. When shuffled, each
    bucket (the examples that one width fits best) is put in a random order and cut into whole
    batches; what is left over goes into the next wider bucket, so that only the widest may end in
    an incomplete batch; then the batches themselves are put in a random order. Without shuffling
    the examples come by length, and a batch is as wide as its longest row needs.

    A batch is a dictionary of new arrays: ``tokens``, ``segments`` (1 on tokens, 0 on padding) and
    ``types`` int32 [b t], ``label`` int32 or float32 [b], ``mask`` float32 [b], ``index`` int64 [b]
    (the example's place in the dataset). An incomplete batch is filled up with copies of its own
    first rows, whose ``mask`` is 0 and whose ``index`` is -1; nothing is dropped.

    Args:
        dataset: The tokens.
        batch_size: Rows of a global batch.
        seed: Of the order.
        shuffle: A fresh order every epoch; without it, by length.
        buckets: Widths of batches in rising order; chosen by the lengths if empty.
        host_index: Which block of every batch is read here, for several hosts.
        host_count: Into how many blocks a batch is cut.

    Raises:
        DataError: If the dataset is empty, an example is longer than the widest bucket, or a number
            makes no sense.
    """

    dataset: TokenDataset
    batch_size: int
    _: dataclasses.KW_ONLY
    seed: int
    shuffle: bool
    buckets: tuple[int, ...] = ()
    host_index: int = 0
    host_count: int = 1
    _orders: dict[int, tuple[np.ndarray, np.ndarray]] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )

    random = False

    def __post_init__(self) -> None:
        if not len(self.dataset):
            raise DataError("the dataset has no examples")
        check_blocks(self.batch_size, self.seed, self.host_index, self.host_count)
        lengths = self.dataset.tokens.lengths
        widths = check_widths(self.buckets, lengths) if self.buckets else choose_widths(lengths)
        object.__setattr__(self, "buckets", widths)

    @property
    def steps_per_epoch(self) -> int:
        """Counts the batches of an epoch, the filled-up one included."""
        return math.ceil(len(self.dataset) / self.batch_size)

    @property
    def preparation(self) -> str:
        """What is done to an example, as text; widths change no example's result."""
        return f"tokens {self.dataset.how}"

    def order(self, epoch: int) -> Int64[np.ndarray, " n"]:
        """Lists the examples in the order in which an epoch visits them."""
        return self._laid_out(epoch)[0]

    def width(self, step: int) -> int:
        """Tells how wide the batch of a step is."""
        epoch, position = divmod(step, self.steps_per_epoch)
        return int(self._laid_out(epoch)[1][position])

    @property
    def widths(self) -> tuple[int, ...]:
        """Lists the widths that occur: each costs a compilation."""
        return tuple(int(width) for width in np.unique(self._laid_out(0)[1]))

    @property
    def waste(self) -> float:
        """Share of the computed positions that hold no token of an example: padding and filling."""
        slots = int(self._laid_out(0)[1].sum()) * self.batch_size
        return 1 - len(self.dataset.tokens.ids) / slots

    def examples(self, step: int) -> int:
        """Counts the real examples of the global batch at a step."""
        return len(self._chosen(step))

    def rows(self, step: int) -> Int64[np.ndarray, " b"]:
        """Places of a batch's examples in the dataset, -1 where a row only fills it."""
        chosen, rows = self._chosen(step), self._block()
        return np.where(rows < len(chosen), chosen[rows % len(chosen)], -1).astype(np.int64)

    def at(self, step: int) -> Batch:
        """Makes the batch of a step (this host's block of it); the same one every time."""
        if step < 0:
            raise DataError(f"step {step} is negative")
        chosen, rows = self._chosen(step), self._block()
        present = rows < len(chosen)
        examples = chosen[rows % len(chosen)]
        shape = (len(rows), self.width(step))
        tokens = np.full(shape, self.dataset.pad, np.int32)
        segments, types = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        found = self.dataset.tokens
        for row, (start, stop) in enumerate(
            zip(found.starts[examples], found.starts[examples + 1], strict=True)
        ):
            count = stop - start
            tokens[row, :count] = found.ids[start:stop]
            types[row, :count] = found.types[start:stop]
            segments[row, :count] = 1
        return {
            "tokens": tokens,
            "segments": segments,
            "types": types,
            "label": self.dataset.labels[examples],
            "mask": present.astype(np.float32),
            "index": np.where(present, examples, -1).astype(np.int64),
        }

    def epoch(self, number: int = 0) -> Iterator[Batch]:
        """Makes the batches of one epoch, one after the other."""
        start = number * self.steps_per_epoch
        for step in range(start, start + self.steps_per_epoch):
            yield self.at(step)

    def _block(self) -> np.ndarray:
        """Rows of the global batch that are this host's."""
        return block(self.batch_size, self.host_index, self.host_count)

    def _chosen(self, step: int) -> np.ndarray:
        """Examples of the global batch of a step."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order, _ = self._laid_out(epoch)
        # The one incomplete batch may come anywhere; those behind it begin that much earlier.
        short = self.steps_per_epoch * self.batch_size - len(order)
        at = self._incomplete(epoch) if short else self.steps_per_epoch
        start = position * self.batch_size - (short if position > at else 0)
        return order[start : start + self.batch_size - (short if position == at else 0)]

    def _incomplete(self, epoch: int) -> int:
        """Place in an epoch of the batch that is cut last, from the widest bucket's end."""
        last = self.steps_per_epoch - 1
        if not self.shuffle:
            return last
        return int(np.flatnonzero(self._batch_order(epoch) == last)[0])

    def _batch_order(self, epoch: int) -> np.ndarray:
        return permutation(self.seed, "batches", self.steps_per_epoch, epoch)

    def _laid_out(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The order of an epoch's examples, and the width of each of its batches."""
        epoch = epoch if self.shuffle else 0
        known = self._orders.get(epoch)
        if known is None:
            known = self._lay_out(epoch)
            for array in known:
                array.flags.writeable = False
            # A new dictionary in the old one's place: other threads may be reading that.
            kept = dict(list(self._orders.items())[1 - _KEPT :])
            object.__setattr__(self, "_orders", {**kept, epoch: known})
        return known

    def _lay_out(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        lengths = self.dataset.tokens.lengths
        place = np.searchsorted(self.buckets, lengths)
        if not self.shuffle:
            order = np.argsort(lengths, kind="stable").astype(np.int64)
            ends = np.minimum(np.arange(1, self.steps_per_epoch + 1) * self.batch_size, len(order))
            return order, np.array(self.buckets)[place[order[ends - 1]]]
        batches: list[np.ndarray] = []
        widths: list[int] = []
        over = np.zeros(0, np.int64)
        widest = int(place.max())
        for number, width in enumerate(self.buckets[: widest + 1]):
            own = np.flatnonzero(place == number)
            own = own[permutation(self.seed, f"bucket {number}", len(own), epoch)]
            # What the narrower bucket left over comes first, so that it is not passed on again.
            own = np.concatenate([over, own])
            whole = len(own) // self.batch_size * self.batch_size
            whole = len(own) if number == widest else whole
            cut = [own[i : i + self.batch_size] for i in range(0, whole, self.batch_size)]
            batches += cut
            widths += [width] * len(cut)
            over = own[whole:]
        order = self._batch_order(epoch)
        return np.concatenate([batches[i] for i in order]), np.array(widths)[order]

    def __str__(self) -> str:
        order = f"shuffled by seed {self.seed}" if self.shuffle else "by length"
        return (
            f"{len(self.dataset)} examples, {order}, {self.steps_per_epoch} batches of "
            f"{self.batch_size} an epoch, {' '.join(map(str, self.widths))} tokens wide: "
            f"{self.waste:.1%} padding"
        )
