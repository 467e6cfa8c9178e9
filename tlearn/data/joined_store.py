"""Two token stores as one, in proportions: what is adapted to, and what must not be forgotten."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from tlearn.data.errors import DataError
from tlearn.data.spliced import Spliced
from tlearn.data.streams import permutation
from tlearn.data.token_store import TokenStore


def with_replay(store: TokenStore, other: TokenStore, share: float, seed: int) -> TokenStore:
    """Adds documents of another store, drawn by the seed, until they make a share of all tokens.

    Batches shuffle documents or rows, so the two are mixed everywhere.

    Args:
        store: Kept whole.
        other: What some documents are taken of; all, if they make less than the share.
        share: Share of the tokens, above 0 and below 1.
        seed: Of the documents drawn.

    Raises:
        DataError: If the share is none, or the two stores were made by different tokenizers.

    Reference: Rolnick et al. 2019 (experience replay).
    """
    if not 0 < share < 1:
        raise DataError(f"replay share {share}; expected above 0 and below 1")
    if store.how != other.how:
        raise DataError(
            f"{store.name} and {other.name} were made tokens by different tokenizers, and cannot "
            "be read together"
        )
    wanted = share / (1 - share) * len(store.tokens)
    order = permutation(seed, "replay", len(other))
    reached = np.cumsum(np.diff(np.asarray(other.starts))[order])
    count = min(int(np.searchsorted(reached, wanted)) + 1, len(other))
    return joined([store, other.part(np.sort(order[:count]))])


def joined(stores: Sequence[TokenStore]) -> TokenStore:
    """Reads stores of one tokenizer end to end; nothing is copied."""
    first = stores[0]
    lengths = np.array([len(store.tokens) for store in stores], np.int64)
    sentences = np.array([len(store.sentences) for store in stores], np.int64)
    before = np.concatenate([[0], np.cumsum(lengths)])
    which, begins = np.arange(len(stores)), np.zeros(len(stores), np.int64)
    starts = [np.asarray(s.starts[:-1]) + b for s, b in zip(stores, before[:-1], strict=True)]
    words = [store.word_starts for store in stores]
    code = hashlib.sha256(b"joined " + " ".join(s.digest for s in stores).encode())
    return dataclasses.replace(
        first,
        name=" + ".join(store.name for store in stores),
        tokens=Spliced([s.tokens for s in stores], begins, lengths, which),
        starts=np.concatenate([*starts, before[-1:]]).astype(np.int64),
        sentences=Spliced(
            [s.sentences for s in stores], begins, sentences, which, shifts=before[:-1]
        ),
        word_starts=None if words[0] is None else Spliced(words, begins, lengths, which),
        ids=[name for store in stores for name in store.ids],
        digest=code.hexdigest(),
        folder=None,
        empty=sum(store.empty for store in stores),
        left_out=None,
    )
