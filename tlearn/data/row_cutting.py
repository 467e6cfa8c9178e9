"""What batches of pre-training share: a corpus of tokens cut into rows, each read once an epoch.

Shapes: ``b`` rows of a batch, ``t`` tokens of a row.
"""

import abc
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Int32, Int64

from tlearn.data.batches import Batch
from tlearn.data.blocks import block, check_blocks
from tlearn.data.errors import DataError, closest
from tlearn.data.long_orders import long_permutation
from tlearn.data.token_store import TokenStore

_KEPT = 8
"""Things kept at hand, two of an epoch at most: prefetching looks one ahead."""

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, eq=False)
class RowBatches(abc.ABC):
    """Batches of rows cut from a token store; kinds of batches say how.

    Every epoch has the same number of rows and reads each once. Rows that only fill the last batch
    hold padding: their segments are 0, their targets and ``index`` -1 and their ``mask`` 0.

    Args:
        store: The corpus as tokens.
        batch_size: Rows of a global batch.
        length: Tokens of a row.
        seed: Of the order and of everything random.
        shuffle: A fresh order every epoch. Without it every epoch is the same: rows as they were
            cut, and whatever is random drawn as in the first epoch.
        host_index: Which block of every batch is read here, for several hosts.
        host_count: Into how many blocks a batch is cut.

    Raises:
        DataError: If nothing in the store can be learned from, or a number makes no sense.
    """

    store: TokenStore
    batch_size: int
    length: int
    _: dataclasses.KW_ONLY
    seed: int
    shuffle: bool
    host_index: int = 0
    host_count: int = 1
    _held: dict[tuple[str, int], Any] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        check_blocks(self.batch_size, self.seed, self.host_index, self.host_count)
        if self.length < self.shortest:
            raise DataError(f"length {self.length} of a row; expected at least {self.shortest}")
        if not len(self.store.tokens):
            raise DataError(f"the corpus {self.store.name} has no tokens")

    shortest = 1
    """Fewest tokens that a row makes sense with."""

    @property
    def dataset(self) -> Any:
        """The token store."""
        return self.store

    @property
    @abc.abstractmethod
    def examples_per_epoch(self) -> int:
        """Counts the rows of an epoch, those that only fill a batch left out."""

    @property
    @abc.abstractmethod
    def preparation(self) -> str:
        """How rows are made of the tokens, as text."""

    @property
    def random(self) -> bool:
        """Whether the row of an index differs from epoch to epoch."""
        return False

    @property
    def steps_per_epoch(self) -> int:
        """Counts the batches of an epoch, the filled-up one included."""
        return -(-self.examples_per_epoch // self.batch_size)

    def visits(self, epoch: int) -> Int64[np.ndarray, " e"]:
        """Lists the rows' numbers in the order in which an epoch visits them."""
        order = self._order(epoch)
        return np.arange(self.examples_per_epoch) if order is None else order

    def _order(self, epoch: int) -> Int64[np.ndarray, " e"] | None:
        """The order of an epoch's rows; None as they come."""
        if not self.shuffle:
            return None
        count, near = self.examples_per_epoch, self.store.scratch
        return self._keep(
            "order", epoch, lambda n: long_permutation(self.seed, "order", count, n, near=near)
        )

    def rows(self, step: int) -> Int64[np.ndarray, " b"]:
        """Numbers of a batch's rows within their epoch's, -1 where a row only fills it."""
        epoch, position = divmod(step, self.steps_per_epoch)
        begin = position * self.batch_size
        end = min(begin + self.batch_size, self.examples_per_epoch)
        order = self._order(epoch)
        chosen = np.arange(begin, end) if order is None else order[begin:end]
        here = block(self.batch_size, self.host_index, self.host_count)
        return np.where(here < len(chosen), chosen[here % len(chosen)], -1).astype(np.int64)

    def at(self, step: int) -> Batch:
        """Makes the batch of a step (this host's block of it); the same one every time."""
        if step < 0:
            raise DataError(f"step {step} is negative")
        index = self.rows(step)
        real = index[index >= 0]
        epoch = step // self.steps_per_epoch if self.shuffle else 0
        # A block of filling alone still needs its arrays' shapes: a row is made and left out.
        made = self._make(epoch, real if len(real) else np.zeros(1, np.int64))
        batch = {name: self._filled(name, x[: len(real)], len(index)) for name, x in made.items()}
        return {**batch, "mask": (index >= 0).astype(np.float32), "index": index}

    def epoch(self, number: int = 0) -> Iterator[Batch]:
        """Makes the batches of one epoch, one after the other."""
        start = number * self.steps_per_epoch
        for step in range(start, start + self.steps_per_epoch):
            yield self.at(step)

    def blank(self) -> Batch:
        """Makes one row that holds nothing, without ``mask`` and ``index``."""
        made = self._make(0, np.zeros(1, np.int64))
        return {name: self._filled(name, x[:0], 1) for name, x in made.items()}

    @abc.abstractmethod
    def _make(self, epoch: int, examples: Int64[np.ndarray, " e"]) -> Batch:
        """Makes the rows of some numbers, without ``mask`` and ``index``."""

    def _filled(self, name: str, made: np.ndarray, size: int) -> np.ndarray:
        """Adds rows that hold nothing."""
        if len(made) == size:
            return made
        empty = {"tokens": self.store.pad, "decoder_tokens": self.store.pad, "targets": -1}
        out = np.full((size, *made.shape[1:]), empty.get(name, 0), made.dtype)
        out[: len(made)] = made
        return out

    def _keep(self, what: str, epoch: int, make: Callable[[int], T]) -> T:
        """Makes something of an epoch, once while that epoch is being read."""
        key = (what, epoch if self.shuffle else 0)
        held = self._held.get(key)
        if held is None:
            held = make(key[1])
            # A new dictionary in the old one's place: other threads may be reading that.
            kept = dict(list(self._held.items())[1 - _KEPT :])
            object.__setattr__(self, "_held", {**kept, key: held})
        return held

    def __getstate__(self) -> dict[str, Any]:
        # What was worked out is worked out again where it is needed, rather than sent there.
        named = {field.name: self.__dict__[field.name] for field in dataclasses.fields(self)}
        return {**named, "_held": {}}

    def __str__(self) -> str:
        order = f"shuffled by seed {self.seed}" if self.shuffle else "in order"
        return (
            f"{self.store.name}: {self.examples_per_epoch} rows of {self.length} tokens, {order}, "
            f"{self.steps_per_epoch} batches of {self.batch_size} an epoch: {self.preparation}"
        )


def read_tokens(
    store: TokenStore, places: Int64[np.ndarray, "*shape"]
) -> Int32[np.ndarray, "*shape"]:
    """Reads tokens by their places in the store; a place outside it reads its first or last one.

    A mark's place is just outside its document, so that it can be read like others and then be
    written over.
    """
    found = store.tokens[np.clip(places, 0, len(store.tokens) - 1)]
    return np.asarray(found).astype(np.int32)


def check_token(store: TokenStore, what: str, token: int | None) -> None:
    """Checks a special token that rows are given; None is none.

    Raises:
        DataError: If the vocabulary has no such number.
    """
    if token is not None and not 0 <= token < store.vocab_size:
        raise DataError(
            f"{what} {token} is not in the vocabulary of {store.vocab_size} tokens of {store.name}"
        )


def special_token(store: TokenStore, purpose: str) -> int:
    """Looks up a special token that rows cannot be made without.

    Raises:
        DataError: If the tokenizer has none for the purpose.
    """
    found = store.special.get(purpose)
    if found is None:
        raise DataError(
            f"the tokenizer of {store.name} has no {purpose!r} token: "
            f"{closest(purpose, store.special)}; train one that has it"
        )
    check_token(store, purpose, found)
    return int(found)
