"""A corpus that every installation has: the documentation of Python and of installed packages."""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

from tlearn.data.corpus import Corpus, Document, digest_of
from tlearn.data.docstrings import (
    STDLIB,
    Described,
    described,
    help_topics,
    source_files,
    topics_file,
)
from tlearn.data.held_out import HeldOut

RULES = 3
"""Raised when the same source files make other documents or tasks."""
_REPEATED = 5
"""Words of a line that is read only once. Packages say the same of a parameter wherever it is: a
seventh of scipy's words. A model that learns such lines by heart looks better than it reads."""


class EmbeddedCorpus(Corpus):
    """Docstrings, a document a module; of the standard library also the pages of ``help()``.

    Source files are parsed, never imported.
    """

    def __init__(self, package: str, *, held_out: HeldOut | None = None):
        """Finds the source files; none is read yet.

        Args:
            package: ``stdlib``, or an installed package or part of one: ``scipy``, ``scipy.stats``.
            held_out: Test texts: what is said of one function is left out if it holds one of them.

        Raises:
            DataError: If the package is not installed or has no source files.
        """
        self.name = f"embedded:{package}"
        self.package, self.held_out = package, held_out
        self._files = source_files(package)
        self._topics = topics_file() if package == STDLIB else None

    def __iter__(self) -> Iterator[Document]:
        """Parses a file at a time; what is there again word for word is read once.

        That goes for docstrings, and for all but the shortest lines of the others.
        """
        seen: set[bytes] = set()
        self._left = 0
        if self._topics is not None:
            for page in help_topics(self._topics):
                yield from self._document([page], page.id, seen)
        for module, file in self._files:
            yield from self._document(described(module, file), module, seen)
        self.left_out = None if self.held_out is None else self._left

    def _document(
        self, entries: list[Described], name: str, seen: set[bytes]
    ) -> Iterator[Document]:
        texts = []
        for entry in entries:
            if _known(entry.text, seen):
                continue
            if self.held_out is not None and self.held_out.within(entry.text):
                self._left += 1
                continue
            lines = entry.text.split("\n")
            kept = [x for x in lines if len(x.split()) < _REPEATED or not _known(f"{x}\n", seen)]
            if any(kept):
                texts.append("\n".join(kept))
        if texts:
            yield Document("\n\n".join(texts), name)

    @property
    def parts(self) -> dict[str, str]:
        """SHA-256 of each source file, by module, and of what is held out."""
        found = {module: _digest(file) for module, file in self._files}
        if self._topics is not None:
            found["pydoc_data.topics"] = _digest(self._topics)
        if self.held_out is not None:
            found["texts held out"] = self.held_out.digest
        return found

    @property
    def digest(self) -> str:
        """SHA-256 of all source files and of what is held out."""
        # Another Python may parse a file that this one cannot.
        return digest_of(f"embedded {RULES} {sys.version_info[:2]}", self.parts)


def _known(text: str, seen: set[bytes]) -> bool:
    """Whether a text was there before; from now on it was."""
    code = hashlib.sha256(text.encode("utf-8", "replace")).digest()[:16]
    known = code in seen
    seen.add(code)
    return known


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
