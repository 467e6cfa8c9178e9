"""A dataset of texts turned into tokens, once and in memory."""

import dataclasses
import hashlib
from typing import TypedDict

import numpy as np
from jaxtyping import Int8, Int32

from tlearn.data import dataset as base
from tlearn.data.dataset import Dataset, Examples, place
from tlearn.data.text_dataset import texts_of
from tlearn.data.tokenizer import Progress, Tokenizer, Tokens


class TokenExample(TypedDict):
    """One example's tokens and token types [t], label and id."""

    tokens: Int32[np.ndarray, " t"]
    types: Int8[np.ndarray, " t"]
    label: np.int32 | np.float32
    id: str


class TokenDataset(Examples):
    """The examples of a dataset of texts as tokens; labels, ids and order are the texts' own."""

    def __init__(self, texts: Dataset, tokens: Tokens, *, how: str, pad: int = 0):
        """Joins tokens to the texts they were made of.

        Args:
            texts: The texts.
            tokens: The tokens of each.
            how: A hash of how they were made.
            pad: The token to pad with.
        """
        self.name = str(getattr(texts, "name", type(texts).__name__))
        self.texts, self.tokens, self.how, self.pad = texts, tokens, how, pad
        self.labels = base.labels_of(texts)
        self.label_names = tuple(texts.label_names)

    def __getitem__(self, index: int) -> TokenExample:
        index = place(index, len(self))
        inside = slice(self.tokens.starts[index], self.tokens.starts[index + 1])
        return {
            "tokens": self.tokens.ids[inside].copy(),
            "types": self.tokens.types[inside].copy(),
            "label": self.labels[index],
            "id": self.id(index),
        }

    def id(self, index: int) -> str:
        """Names one example as the texts do."""
        return base.id_of(self.texts, index)

    def fingerprint(self, index: int) -> bytes:
        """Hashes the tokens and types of one example."""
        example = self[index]
        code = hashlib.sha256(example["tokens"].astype("<i4").tobytes())
        code.update(example["types"].tobytes())
        return code.digest()


def tokenise(
    texts: Dataset,
    tokenizer: Tokenizer,
    *,
    max_length: int | None = None,
    types: bool = True,
    backward: bool = False,
    progress: Progress | None = None,
) -> TokenDataset:
    """Turns a dataset of texts into tokens.

    Args:
        texts: The texts.
        tokenizer: What makes tokens of them.
        max_length: Where longer examples are cut; None cuts nothing.
        types: Whether the body tells the second text of a pair by token types; all are 0 if not.
        backward: Whether texts are read from their last token to their first.
        progress: Called with (texts done, texts in all).

    Raises:
        DataError: If examples have no text, or the greatest length leaves no room for any.
    """
    first, second = texts_of(texts)
    tokens = tokenizer.encode(first, second, max_length=max_length, progress=progress)
    if not types:
        tokens.types[:] = 0
    if backward:
        # An example's place from its end: what was cut off was cut off at the end.
        turned = np.repeat(tokens.starts[:-1] + tokens.starts[1:] - 1, tokens.lengths)
        turned -= np.arange(len(tokens.ids))
        tokens = dataclasses.replace(tokens, ids=tokens.ids[turned], types=tokens.types[turned])
    how = f"{tokenizer.digest} max_length={max_length} types={types} backward={backward}"
    return TokenDataset(texts, tokens, how=how, pad=tokenizer.pad)
