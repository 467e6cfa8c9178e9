"""Test texts that no corpus may hold: how they are told, and how a corpus leaves them out.

Broder 1997, "On the resemblance and containment of documents": runs of words, and of each text
the smallest hashes of them.
"""

import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import UInt64

from tlearn.data.corpus import Corpus, Document, digest_of
from tlearn.data.dataset import Dataset
from tlearn.data.errors import DataError
from tlearn.data.text_dataset import texts_of

RUN = 5
"""Words of a run: texts that share one were hardly written apart."""
_KEPT = 32
"""Runs of a text that are looked for."""
_WORD = re.compile(r"\w+")


class HeldOut:
    """Texts that must not be trained on, in a few numbers each.

    A document holds such a text if it holds half of its runs of five words, wherever they are;
    letters small or capital and signs between words do not count. A text of fewer words is found
    where it is the whole document.
    """

    def __init__(self, texts: Iterable[str], *, share: float = 0.5):
        """Keeps the smallest hashes of each text's runs.

        Args:
            texts: The texts.
            share: Of a text's runs, how many a document must hold to be left out.

        Raises:
            DataError: If the share is outside 0..1.
        """
        if not 0 < share <= 1:
            raise DataError(f"share {share} of a text; expected more than 0 and at most 1")
        hashes, owners, counts = [], [], []
        for number, text in enumerate(texts):
            kept = np.unique(runs(text))[:_KEPT]
            hashes.append(kept)
            owners.append(np.full(len(kept), number, np.int64))
            counts.append(len(kept))
        none = [np.empty(0, np.uint64)]
        flat = np.concatenate(hashes or none)
        order = np.argsort(flat, kind="stable")
        self._hashes = flat[order]
        self._owners = np.concatenate(owners or [np.empty(0, np.int64)])[order]
        self._need = np.ceil(share * np.array(counts, np.int64)).astype(np.int64)

    @classmethod
    def of(cls, *datasets: Dataset, share: float = 0.5) -> "HeldOut":
        """Holds out the texts of datasets, whole ones where parts are masked; of pairs each text.

        Raises:
            DataError: If examples have no text.
        """
        texts: list[str] = []
        for dataset in datasets:
            first, second = texts_of(dataset)
            wholes = (dataset[index].get("whole") for index in range(len(dataset)))
            texts += [whole or text for whole, text in zip(wholes, first, strict=True)]
            texts += second or ()
        return cls(texts, share=share)

    def __len__(self) -> int:
        """The number of texts."""
        return len(self._need)

    @property
    def digest(self) -> str:
        """SHA-256 of what is looked for."""
        code = hashlib.sha256(self._hashes.astype("<u8").tobytes())
        code.update(self._owners.astype("<i8").tobytes() + self._need.astype("<i8").tobytes())
        return code.hexdigest()

    def within(self, text: str) -> bool:
        """Tells whether a document holds one of the texts."""
        found = np.unique(runs(text))
        begins = np.searchsorted(self._hashes, found, side="left")
        ends = np.searchsorted(self._hashes, found, side="right")
        hit = np.flatnonzero(ends > begins)
        if not len(hit):
            return False
        owners = np.concatenate([self._owners[begins[i] : ends[i]] for i in hit])
        numbers, counts = np.unique(owners, return_counts=True)
        return bool(np.any(counts >= self._need[numbers]))


class WithoutHeldOut(Corpus):
    """A corpus less the documents that hold a test text."""

    def __init__(self, corpus: Corpus, held_out: HeldOut):
        """Says what is left out; nothing is read yet."""
        self.corpus, self.held_out = corpus, held_out
        self.name = corpus.name

    def __iter__(self) -> Iterator[Document]:
        left = 0
        for document in self.corpus:
            if self.held_out.within(document.text):
                left += 1
            else:
                yield document
        self.left_out = left

    @property
    def parts(self) -> dict[str, str]:
        """The corpus's parts, and what is held out."""
        return {**self.corpus.parts, "texts held out": self.held_out.digest}

    @property
    def digest(self) -> str:
        """SHA-256 of the corpus and of what is held out."""
        corpus = {"corpus": self.corpus.digest, "texts held out": self.held_out.digest}
        return digest_of("without", corpus)


def runs(text: str, length: int = RUN) -> UInt64[np.ndarray, " n"]:
    """Hashes every run of words of a text; of a shorter text, the whole as one run."""
    words = _WORD.findall(text.casefold())
    if not words:
        return np.empty(0, np.uint64)
    codes = np.array([zlib.crc32(word.encode("utf-8", "replace")) for word in words], np.uint64)
    if len(words) < length:
        # Marked by its length, so that only a document of just these words has it.
        codes = np.append(codes, np.uint64(len(words)))
        length = len(codes)
    count = len(codes) - length + 1
    mixed = np.zeros(count, np.uint64)
    for place in range(length):
        # A polynomial modulo 2^64, whose low bits are stirred so that the smallest are any.
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + codes[place : place + count]
        mixed ^= mixed >> np.uint64(29)
    return mixed * np.uint64(0xBF58476D1CE4E5B9)
