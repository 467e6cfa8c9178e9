"""Documents of a token store with marks before and after, alone or end to end in some order.

Shapes: ``n`` documents; ``...`` any shape of what is asked for.
"""

import numpy as np
from jaxtyping import Int32, Int64

from tlearn.data.row_cutting import check_token, extents, read_tokens
from tlearn.data.token_store import TokenStore


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
        begins, stops = extents(store)
        full = stops > begins
        self._begins, self._counts = begins[full], (stops - begins)[full]
        check_token(store, "the mark before documents", before)
        check_token(store, "the mark after documents", after)
        self._before, self._after, self._backward = before, after, backward
        self._store = store
        marks = (before is not None) + (after is not None)
        self.lengths: Int64[np.ndarray, " n"] = self._counts + marks
        """Tokens of each document, marks included."""

    def read(
        self, documents: Int64[np.ndarray, "..."], places: Int64[np.ndarray, "..."]
    ) -> Int32[np.ndarray, "..."]:
        """Reads tokens by their documents and their places in them."""
        count = self._counts[documents]
        inside = places - (self._before is not None)
        at = count - 1 - inside if self._backward else inside
        out = read_tokens(self._store, self._begins[documents] + at)
        if self._before is not None:
            out[places == 0] = self._before
        if self._after is not None:
            out[inside == count] = self._after
        return out


class EndToEnd:
    """Documents one after the other in some order, read by place without being joined.

    Args:
        documents: The documents.
        order: The order they are read in.
    """

    def __init__(self, documents: MarkedDocuments, order: Int64[np.ndarray, " n"]):
        """Adds up lengths."""
        self._documents, self._order = documents, order
        lengths = documents.lengths[order]
        self._ends = np.cumsum(lengths)
        self._begins = self._ends - lengths

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, places: Int64[np.ndarray, "..."]) -> Int32[np.ndarray, "..."]:
        """Reads tokens by their places in the whole."""
        slot = np.searchsorted(self._ends, places, side="right")
        return self._documents.read(self._order[slot], places - self._begins[slot])
