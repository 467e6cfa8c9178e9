"""Documents of a token store with marks before and after, alone or end to end in some order.

Shapes: ``n`` documents; ``q`` some of them; ``...`` any shape of what is asked for.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64

from tlearn.data import scratch
from tlearn.data.long_orders import long_permutation
from tlearn.data.row_cutting import check_token, read_tokens
from tlearn.data.scratch import chunks
from tlearn.data.token_store import TokenStore


class Documents:
    """Where the documents of a store lie that are not empty, told from the store's own array.

    Args:
        store: The corpus as tokens.
    """

    def __init__(self, store: TokenStore):
        """Looks for empty documents; keeps nothing where there are none."""
        self._starts = scratch.array_of(store.starts, store.scratch)
        count = len(store)

        def full() -> Iterator[np.ndarray]:
            for begin, end in chunks(count):
                line = self._starts[begin : end + 1]
                yield begin + np.flatnonzero(line[1:] > line[:-1])

        self._numbers = None
        if sum(len(part) for part in full()) < count:
            self._numbers = scratch.filled(full(), store.scratch)
        self._count = count if self._numbers is None else len(self._numbers)

    def __len__(self) -> int:
        return self._count

    def numbers(self, documents: Int64[np.ndarray, "..."]) -> Int64[np.ndarray, "..."]:
        """Tells which documents of the store they are."""
        return documents if self._numbers is None else self._numbers[documents]

    def places(self, numbers: Int64[np.ndarray, "..."]) -> Int64[np.ndarray, "..."]:
        """Tells which of these some documents of the store are."""
        return numbers if self._numbers is None else np.searchsorted(self._numbers, numbers)

    def begins(self, documents: Int64[np.ndarray, "..."]) -> Int64[np.ndarray, "..."]:
        """Tells where documents begin in the tokens."""
        return self._starts[self.numbers(documents)]

    def stops(self, documents: Int64[np.ndarray, "..."]) -> Int64[np.ndarray, "..."]:
        """Tells where documents end in the tokens."""
        return self._starts[self.numbers(documents) + 1]


class Lengths:
    """How long documents are with so many tokens more, read by slices and arrays of places."""

    def __init__(self, documents: Documents, more: int = 0):
        """Adds nothing up."""
        self._documents, self._more = documents, more

    def __len__(self) -> int:
        return len(self._documents)

    def __getitem__(self, where: Any) -> Int64[np.ndarray, "..."]:
        places = np.arange(*where.indices(len(self))) if isinstance(where, slice) else where
        numbers = self._documents
        return numbers.stops(places) - numbers.begins(places) + self._more


class MarkedDocuments:
    """Documents that are not empty, each with its marks; tokens are read where they are asked for.

    Args:
        store: The corpus as tokens.
        before: A token that begins every document, or None.
        after: A token that ends every document, or None.
        backward: Whether a document's own tokens are read from its last to its first.
    """

    def __init__(
        self,
        store: TokenStore,
        *,
        before: int | None = None,
        after: int | None = None,
        backward: bool = False,
    ):
        """Notes where documents lie; reads none."""
        check_token(store, "the mark before documents", before)
        check_token(store, "the mark after documents", after)
        self._before, self._after, self._backward = before, after, backward
        self.store, self.documents = store, Documents(store)
        self.marks = (before is not None) + (after is not None)
        """Marks of a document."""
        self.lengths = Lengths(self.documents, self.marks)
        """Tokens of each document, marks included."""
        self.total = len(store.tokens) + self.marks * len(self.documents)
        """Tokens of all documents, marks included."""

    def __len__(self) -> int:
        return len(self.documents)

    def read(
        self, documents: Int64[np.ndarray, "..."], places: Int64[np.ndarray, "..."]
    ) -> Int32[np.ndarray, "..."]:
        """Reads tokens by their documents and their places in them."""
        begins = self.documents.begins(documents)
        count = self.documents.stops(documents) - begins
        inside = places - (self._before is not None)
        at = count - 1 - inside if self._backward else inside
        out = read_tokens(self.store, begins + at)
        if self._before is not None:
            out[places == 0] = self._before
        if self._after is not None:
            out[inside == count] = self._after
        return out


class EndToEnd:
    """Documents one after the other in some order, read by place without being joined.

    Args:
        documents: The documents.
        order: The order they are read in; None as they come.
    """

    def __init__(self, documents: MarkedDocuments, order: Int64[np.ndarray, " n"] | None):
        """Adds up lengths."""
        self._documents, self._order = documents, order
        parts = chunks(len(documents))
        lengths = (
            documents.lengths[slice(a, b) if order is None else order[a:b]] for a, b in parts
        )
        self._starts = scratch.ends(lengths, documents.store.scratch)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, places: Int64[np.ndarray, "..."]) -> Int32[np.ndarray, "..."]:
        """Reads tokens by their places in the whole."""
        slot = np.searchsorted(self._starts[1:], places, side="right")
        document = slot if self._order is None else self._order[slot]
        return self._documents.read(document, places - self._starts[slot])


def end_to_end(documents: MarkedDocuments, seed: int, epoch: int, *, shuffle: bool) -> EndToEnd:
    """Lays documents end to end, in an order that is fresh every epoch or as they come."""
    count, near = len(documents), documents.store.scratch
    order = long_permutation(seed, "documents", count, epoch, near=near) if shuffle else None
    return EndToEnd(documents, order)
