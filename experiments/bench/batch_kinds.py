"""Every kind of batches the library makes of texts, over random tokens, by the step they are for.

The corpus is a memory-mapped array of random tokens of which the batches see the training part, as
in a run: tokens are gathered from where they lie. Documents are of uneven length, sentences of
about 25 tokens; labelled texts are as short as the sentences of SST-2.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

VOCABULARY, CLASSES = 8000, 2
SPECIAL = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4, "bos": 5, "eos": 6}
MEAN, TEXTS = 300, 20_000


def corpus(tokens: int, folder: Path) -> Any:
    """The training part of a store on disk."""
    import numpy as np

    from tlearn.data import TokenStore, split_store

    rng = np.random.default_rng(0)
    lengths = np.maximum(rng.lognormal(np.log(MEAN) - 0.5, 1.0, tokens // MEAN), 1).astype(int)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    total = int(starts[-1])
    sentences = np.unique(np.concatenate([starts[:-1], np.flatnonzero(rng.random(total) < 0.04)]))

    def mapped(name: str, values: Any) -> Any:
        values.tofile(folder / name)
        return np.memmap(folder / name, values.dtype, "r")

    store = TokenStore(
        name="random",
        tokens=mapped("tokens", rng.integers(7, VOCABULARY - 100, total).astype(np.uint16)),
        starts=mapped("starts", starts),
        sentences=mapped("sentences", sentences),
        word_starts=mapped("words", rng.random(total) < 0.7),
        ids=[str(i) for i in range(len(lengths))],
        vocab_size=VOCABULARY,
        special=SPECIAL,
        pad=0,
        digest="0",
        how="random",
    )
    return split_store(store, 0.05, 0)[0]


def labelled(length: int) -> Any:
    """Short texts with labels, as tokens in memory; cut at a length."""
    import numpy as np

    from tlearn.data import TextDataset, TokenDataset, Tokens

    rng = np.random.default_rng(1)
    lengths = rng.lognormal(np.log(20), 0.6, TEXTS).astype(int).clip(3, length)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = Tokens(
        ids=rng.integers(7, VOCABULARY, starts[-1]).astype(np.int32),
        types=np.zeros(starts[-1], np.int8),
        starts=starts,
        cut=lengths == length,
    )
    names = tuple(str(n) for n in range(CLASSES))
    texts = TextDataset([""] * TEXTS, rng.integers(0, CLASSES, TEXTS).astype(np.int32), names)
    return TokenDataset(texts, tokens, how="random")


def kinds(
    store: Any, batch: int, length: int, bptt: int
) -> dict[str, dict[str, Callable[[], Any]]]:
    """Makers of every kind of batches by name, under the name of the step that they are for."""
    from tlearn.data import (
        MaskedBatches,
        Masking,
        PackedBatches,
        PairBatches,
        SpanBatches,
        StreamBatches,
        TextBatches,
    )

    bos, eos = SPECIAL["bos"], SPECIAL["eos"]
    row = (store, batch, length)
    drawn: dict[str, Any] = {"seed": 0, "shuffle": True}
    streams = partial(StreamBatches, store, batch, bptt, eos=eos, **drawn)
    packed = partial(PackedBatches, *row, eos=eos, **drawn)
    masked = partial(MaskedBatches, *row, **drawn)
    pairs = partial(PairBatches, *row, **drawn)
    spans = partial(SpanBatches, *row, eos=eos, **drawn)
    ngrams = Masking(unit="ngram")
    sentinels = tuple(range(VOCABULARY - 1, VOCABULARY - 101, -1))
    return {
        "streams": {"streams": streams, "streams, backward": partial(streams, backward=True)},
        "packed": {"packed": partial(packed, bos=bos), "crossing": partial(packed, cross=True)},
        "masked_tokens": {
            "masked tokens": masked,
            "masked words": partial(masked, masking=Masking(unit="word")),
            "masked ngrams": partial(masked, masking=ngrams),
            "masked tokens, 10 fixed masks": partial(masked, masking=Masking(fixed=10)),
        },
        "pairs": {
            "next_sentence": pairs,
            "sentence_order, ngrams": partial(pairs, order="swap", masking=ngrams),
        },
        "replaced_tokens": {
            "replaced_tokens": partial(masked, masking=Masking(mask=0.85, random=0.0))
        },
        "span_corruption": {"span_corruption": partial(spans, sentinels=sentinels)},
        "prefix_lm": {"prefix_lm": partial(spans, objective="prefix")},
        "labels": {"labelled texts": lambda: TextBatches(labelled(length), batch, **drawn)},
    }
