"""What a corpus is: documents of plain text in a fixed order, read one at a time."""

import abc
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tlearn.data.dataset import Dataset
from tlearn.data.errors import DataError
from tlearn.data.texts_in_turn import HeldTexts, TextsInTurn


class Document(NamedTuple):
    """One text of a corpus.

    Attributes:
        text: The text; may be empty.
        id: What messages call it: a file and where in it, or a name.
    """

    text: str
    id: str


class Corpus(abc.ABC):
    """Documents in a fixed order; reading them holds one in memory at a time."""

    # A base class rather than a protocol: asked whether an object keeps to a protocol, Python 3.11
    # reads its properties, and these read files.
    name: str
    """What messages and stores call the corpus."""
    left_out: int | None = None
    """Documents, or docstrings, left out for a held-out text, known after all were read; None
    where nothing is held out."""

    @abc.abstractmethod
    def __iter__(self) -> Iterator[Document]:
        """Reads the documents from the beginning."""

    @property
    @abc.abstractmethod
    def digest(self) -> str:
        """SHA-256 of what it holds now: its files are read through at every call."""

    @property
    @abc.abstractmethod
    def parts(self) -> Mapping[str, str]:
        """Digest of each file or part by name, so that a message can say which one changed."""


class JoinedCorpus(Corpus):
    """Several corpora end to end."""

    def __init__(self, corpora: Sequence[Corpus]):
        """Joins corpora in their order.

        Raises:
            DataError: If there are none.
        """
        if not corpora:
            raise DataError("a joined corpus needs at least one corpus")
        self.corpora = tuple(corpora)
        self.name = "+".join(corpus.name for corpus in self.corpora)

    def __iter__(self) -> Iterator[Document]:
        for corpus in self.corpora:
            yield from corpus
        counts = [corpus.left_out for corpus in self.corpora if corpus.left_out is not None]
        self.left_out = sum(counts) if counts else None

    @property
    def parts(self) -> dict[str, str]:
        """Digest of each part, by the corpus's number from 1, its name and the part."""
        return {
            f"{number}. {corpus.name}: {part}": digest
            for number, corpus in enumerate(self.corpora, 1)
            for part, digest in corpus.parts.items()
        }

    @property
    def digest(self) -> str:
        """SHA-256 of all corpora in their order."""
        numbered = enumerate(self.corpora, 1)
        return digest_of("joined", {f"{n}. {corpus.name}": corpus.digest for n, corpus in numbered})


class TextCorpus(Corpus):
    """The texts of a dataset, labels left aside; a pair is one document of two lines.

    Texts in turn are read anew each time, and none is held; a dataset may hold its own in memory.
    """

    def __init__(self, texts: TextsInTurn | Dataset):
        """Reads the texts through.

        Raises:
            DataError: Naming every text that cannot be used, or the first example that has none.
        """
        self._texts = texts if isinstance(texts, TextsInTurn) else HeldTexts(texts)
        self.name = self._texts.name
        len(self._texts)

    def __iter__(self) -> Iterator[Document]:
        for text, pair, name in self._texts:
            yield Document(text if pair is None else f"{text}\n{pair}", name)

    @property
    def parts(self) -> dict[str, str]:
        """The texts' digest under their name."""
        code = hashlib.sha256()
        for document in self:
            add_text(code, document)
        return {self.name: code.hexdigest()}

    @property
    def digest(self) -> str:
        """SHA-256 of the texts and ids."""
        return digest_of("texts", self.parts)


def add_text(code: "hashlib._Hash", document: Document) -> None:
    """Adds a document to a hash so that no two lists of documents read the same."""
    for text in document:
        data = text.encode("utf-8", "surrogatepass")
        code.update(len(data).to_bytes(8, "little"))
        code.update(data)


def digest_of(kind: str, parts: Mapping[str, str]) -> str:
    """SHA-256 of named digests in their order, and of what kind of corpus they are."""
    return hashlib.sha256(json.dumps([kind, list(parts.items())]).encode()).hexdigest()
