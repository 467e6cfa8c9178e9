"""Token stores in memory: small corpora whose every token is known, and large random ones."""

import numpy as np

from tlearn.data.token_store import TokenStore

SPECIAL = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4, "bos": 5, "eos": 6}
FIRST = 7
"""The first token that is not special."""


def store(documents, *, sentences=(), words=None, vocab_size=100, name="memory") -> TokenStore:
    """A store of the documents' tokens; sentences begin where documents do, and where told."""
    lengths = np.array([len(document) for document in documents], np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    begins = np.concatenate([starts[:-1][lengths > 0], list(sentences)]).astype(np.int64)
    return TokenStore(
        name=name,
        tokens=np.concatenate([np.asarray(document, np.uint16) for document in documents]),
        starts=starts,
        sentences=np.unique(begins),
        word_starts=None if words is None else np.asarray(words, bool),
        ids=[str(i) for i in range(len(documents))],
        vocab_size=vocab_size,
        special=dict(SPECIAL),
        pad=0,
        digest="0",
        how="made up",
    )


def numbered(lengths, **options) -> TokenStore:
    """Documents of these lengths in which no token occurs twice."""
    ends = FIRST + np.cumsum(lengths)
    documents = [np.arange(end - count, end) for end, count in zip(ends, lengths, strict=True)]
    return store(documents, vocab_size=int(ends[-1]) + 1, **options)


def random(count=200, longest=60, seed=0, vocab_size=100, words=False) -> TokenStore:
    """Documents of random tokens, sentences of about ten tokens, words of about 1.5."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, count)
    documents = [rng.integers(FIRST, vocab_size, length) for length in lengths]
    total = int(lengths.sum())
    sentences = np.flatnonzero(rng.random(total) < 0.1)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    begins = rng.random(total) < 2 / 3
    begins[starts] = True
    return store(
        documents,
        sentences=sentences,
        words=begins if words else None,
        vocab_size=vocab_size,
        name=f"random {seed}",
    )
