"""Corpora in files of plain text, lines, JSON lines or WikiText, read by lines and checked."""

import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, cast

from tlearn.data.bad_bytes import bad_byte
from tlearn.data.corpus import Corpus, Document, digest_of
from tlearn.data.errors import DataError, closest, listing

Form = Literal["text", "lines", "blank", "jsonl", "wikitext"]
Errors = Literal["strict", "replace"]
_PLAIN = (".txt", ".text", ".md", ".rst", ".raw", ".tokens")
SUFFIXES: dict[str, tuple[str, ...]] = {
    "text": _PLAIN,
    "lines": _PLAIN,
    "blank": _PLAIN,
    "wikitext": _PLAIN,
    "jsonl": (".jsonl", ".ndjson", ".json"),
}
"""What files of a folder are read, by form; each also with ``.gz`` after it."""
_HEADING = re.compile(r" ?= (?![=\s])(?:.*[^=\s])? = ?")
_BLOCK = 1 << 20
_TOLD = 20
"""Lines that a message names; a file that is no text at all has millions."""
_BOM = b"\xef\xbb\xbf"


class FileCorpus(Corpus):
    """Documents in a file, or in the files of a folder by their names."""

    def __init__(
        self,
        path: str | Path,
        form: Form,
        *,
        text_field: str = "text",
        errors: Errors = "strict",
    ):
        """Lists the files; none is read yet.

        Args:
            path: A file, or a folder: its files with the form's endings, subfolders included.
                What ends in ``.gz`` is unpacked.
            form: ``text``, a file a document; ``lines``, a line a document; ``blank``, documents
                between blank lines; ``jsonl``, an object a line; ``wikitext``, articles under
                headings ``= Title =``.
            text_field: The field of a JSON object that is its text.
            errors: ``strict`` refuses what is no UTF-8 and NUL bytes; ``replace`` puts U+FFFD
                there.

        Raises:
            DataError: If there is no such file or folder, or the folder holds no such files.
        """
        self.path, self.form = Path(path).expanduser(), form
        self.text_field = text_field
        self.errors: Errors = errors
        # With its folder: many corpora have a train.txt.
        self.name = "/".join(self.path.resolve().parts[-2:]).lstrip("/")
        problems = []
        if form not in SUFFIXES:
            problems.append(f"form={form!r}: {closest(form, SUFFIXES)}")
        if errors not in ("strict", "replace"):
            problems.append(f"errors={errors!r} is none of 'strict', 'replace'")
        if problems:
            raise DataError(f"{self.path}: cannot be opened as a corpus:\n{listing(problems)}")
        self.files = _files(self.path, form)
        self._ids = (
            [file.relative_to(self.path).as_posix() for file in self.files]
            if self.path.is_dir()
            else [self.path.name]
        )

    def __iter__(self) -> Iterator[Document]:
        """Reads the documents, a line at a time.

        Raises:
            DataError: Naming every line of the first file that cannot be read.
        """
        read = _READERS[self.form]
        for file, name in zip(self.files, self._ids, strict=True):
            yield from read(self, file, name)

    @property
    def parts(self) -> dict[str, str]:
        """SHA-256 of each file as it is now."""
        return {name: _digest(file) for name, file in zip(self._ids, self.files, strict=True)}

    @property
    def digest(self) -> str:
        """SHA-256 of all files and of how they are read."""
        how = f"{self.form} {self.text_field if self.form == 'jsonl' else ''} {self.errors}"
        return digest_of(how, self.parts)

    def __str__(self) -> str:
        kind = {"text": "a file a document", "lines": "a line a document", "jsonl": "JSON lines"}
        kind |= {"blank": "documents between blank lines", "wikitext": "articles under headings"}
        return f"{self.name}: {len(self.files)} files, {kind[self.form]}"


def _files(path: Path, form: Form) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        parent = path.parent
        near = (
            closest(path.name, sorted(entry.name for entry in parent.iterdir()))
            if parent.is_dir()
            else f"and no folder {parent}"
        )
        raise DataError(f"{path}: no such file or folder; {near}")
    endings = (*SUFFIXES[form], *(f"{ending}.gz" for ending in SUFFIXES[form]))
    every = sorted((e for e in path.rglob("*") if e.is_file()), key=lambda file: file.as_posix())
    hidden = [any(part.startswith(".") for part in e.relative_to(path).parts) for e in every]
    found = [
        file
        for file, left in zip(every, hidden, strict=True)
        if not left and file.name.lower().endswith(endings)
    ]
    if not found:
        there = [file.relative_to(path).as_posix() for file in every]
        raise DataError(
            f"{path}: holds no texts: expected files that end in {', '.join(SUFFIXES[form])} "
            f"(perhaps .gz); there is\n{listing(there) or '  nothing'}"
        )
    return found


def _digest(file: Path) -> str:
    code = hashlib.sha256()
    try:
        with file.open("rb") as handle:
            while block := handle.read(_BLOCK):
                code.update(block)
    except FileNotFoundError:
        raise DataError(f"{file}: is gone; open the corpus again without it") from None
    return code.hexdigest()


def _open(file: Path) -> io.BufferedReader:
    packed = file.name.lower().endswith(".gz")
    return io.BufferedReader(cast(Any, gzip.open(file) if packed else file.open("rb")), _BLOCK)


def read_lines(file: Path, errors: Errors = "strict") -> Iterator[tuple[int, str]]:
    """Reads the lines of a file with their numbers from 1, ends of lines taken off.

    Raises:
        DataError: Naming every line that is not UTF-8 or holds a NUL byte, unless such bytes are
            to be replaced; if the file is UTF-16, or a packed one is damaged.
    """
    try:
        with _open(file) as handle:
            for number, raw in enumerate(handle, 1):
                if number == 1:
                    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
                        raise DataError(f"{file}: is UTF-16; store it as UTF-8")
                    raw = raw.removeprefix(_BOM)
                line = _decoded(raw, errors)
                if line is None:
                    raise _bad_bytes(file, number, raw, handle)
                yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{file}: cannot be unpacked, it is damaged or cut off: {error}") from error


def _decoded(raw: bytes, errors: Errors) -> str | None:
    raw = raw.removesuffix(b"\n").removesuffix(b"\r")
    if errors == "replace":
        return raw.decode("utf-8", "replace").replace("\0", "\ufffd")
    if b"\0" in raw:
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _bad_bytes(file: Path, number: int, raw: bytes, rest: io.BufferedReader) -> DataError:
    """Names this line and every later one that cannot be read."""
    problems, count = [], 0
    lines = ((later, line) for later, line in enumerate(rest, number + 1))
    for n, line in _chain((number, raw), lines):
        if (problem := bad_byte(line)) is None:
            continue
        count += 1
        if len(problems) < _TOLD:
            problems.append(f"line {n}: {problem}")
    if count > len(problems):
        problems.append(f"... and {count - len(problems)} more lines")
    return DataError(
        f"{file}: cannot be read as UTF-8; store it as UTF-8 again, from what it is (latin-1?), or "
        "read it with errors='replace' (--errors replace):\n"
        + "\n".join(f"  {problem}" for problem in problems)
    )


def _chain(
    first: tuple[int, bytes], rest: Iterator[tuple[int, bytes]]
) -> Iterator[tuple[int, bytes]]:
    yield first
    yield from rest


def _whole(corpus: FileCorpus, file: Path, name: str) -> Iterator[Document]:
    yield Document("\n".join(line for _, line in read_lines(file, corpus.errors)).strip(), name)


def _each_line(corpus: FileCorpus, file: Path, name: str) -> Iterator[Document]:
    for number, line in read_lines(file, corpus.errors):
        # A blank line says nothing; it is no document without text.
        if text := line.strip():
            yield Document(text, f"{name}:{number}")


def _between(
    corpus: FileCorpus, file: Path, name: str, begins: Callable[[str], bool]
) -> Iterator[Document]:
    """Documents of many lines; a new one begins where a line says so."""
    begin, held = 1, []
    for number, line in read_lines(file, corpus.errors):
        if begins(line) and held:
            yield Document("\n".join(held), f"{name}:{begin}")
            held = []
        if text := line.strip():
            begin = begin if held else number
            held.append(text)
    if held:
        yield Document("\n".join(held), f"{name}:{begin}")


def _blank(corpus: FileCorpus, file: Path, name: str) -> Iterator[Document]:
    return _between(corpus, file, name, lambda line: not line.strip())


def _articles(corpus: FileCorpus, file: Path, name: str) -> Iterator[Document]:
    return _between(corpus, file, name, is_heading)


def is_heading(line: str) -> bool:
    """Tells the line above an article of WikiText, ``= Title =``, from those within it."""
    return _HEADING.fullmatch(line) is not None


def _objects(corpus: FileCorpus, file: Path, name: str) -> Iterator[Document]:
    lines = read_lines(file, corpus.errors)
    for number, line in lines:
        if not line.strip():
            continue
        text, problem = _field(line, corpus.text_field)
        if text is not None and corpus.errors == "replace":
            text = text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
        elif text is not None and problem is None:
            problem = _bad_text(text)
        if text is None or problem is not None:
            problems = [f"line {number}: {problem}"]
            for later, other in lines:
                found, problem = _field(other, corpus.text_field) if other.strip() else ("", None)
                if len(problems) < _TOLD and (problem := problem or _bad_text(found or "")):
                    problems.append(f"line {later}: {problem}")
            raise DataError(
                f"{file}: expected an object a line with a text in the field "
                f"{corpus.text_field!r} (text_field names it):\n{listing(problems)}"
            )
        yield Document(text, f"{name}:{number}")


def _field(line: str, field: str) -> tuple[str | None, str | None]:
    """The text of a line of JSON, or what is wrong with it."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return None, f"no JSON: {error}"
    if not isinstance(value, dict):
        return None, f"{type(value).__name__}, expected an object"
    if field not in value:
        return None, f"no field {field!r}: {closest(field, value)}"
    text = value[field]
    if not isinstance(text, str):
        return None, f"the field {field!r} is {type(text).__name__}, expected a string"
    return text, None


def _bad_text(text: str) -> str | None:
    """What a text holds that no file of text may, written as an escape in JSON."""
    if "\0" in text:
        return "a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half a surrogate pair"
    return None


_READERS: dict[str, Callable[[FileCorpus, Path, str], Iterator[Document]]] = {
    "text": _whole,
    "lines": _each_line,
    "blank": _blank,
    "jsonl": _objects,
    "wikitext": _articles,
}
