"""Tables of text as files hold them: CSV, TSV and lines of JSON, perhaps compressed."""

import codecs
import csv
import dataclasses
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from tlearn.data.bad_bytes import bad_byte
from tlearn.data.errors import DataError, closest, listing

TABLE = re.compile(r"(?P<stem>.+)\.(?P<form>tsv|csv|jsonl|json|txt)(?P<packed>\.gz)?")
"""Names of files that may hold texts."""
Row = tuple[int, tuple[Any, ...]]
"""A line's number and its fields; a field that a line of JSON lacks is `ABSENT`."""


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


ABSENT = _Absent()


@dataclasses.dataclass(frozen=True)
class Table:
    """The rows of a file.

    Attributes:
        file: The file.
        header: Names of the columns; None where there is no header line.
        rows: Every other row with the number of the line it begins in, from 1; read in turn each
            time.
        skipped: What was left out because it did not fit, where that is allowed.
    """

    file: Path
    header: tuple[str, ...] | None
    rows: Iterable[Row]
    skipped: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Counts the columns."""
        return len(self.header) if self.header is not None else len(self.first)

    @property
    def first(self) -> tuple[Any, ...]:
        """The first row's fields."""
        return next(iter(self.rows))[1]


def form_of(file: Path) -> str:
    """Tells by its name what a file holds: tsv, csv or jsonl.

    Raises:
        DataError: If the name does not say.
    """
    match = TABLE.fullmatch(file.name)
    if match is None:
        raise DataError(
            f"{file}: cannot tell what this file is; expected a name that ends in .tsv, .csv, "
            ".jsonl (or these with .gz), or say which, as in tsv:FILE"
        )
    return {"txt": "tsv", "json": "jsonl"}.get(match["form"], match["form"])


def open_table(
    file: Path,
    *,
    form: str = "",
    is_header: Callable[[tuple[str, ...]], bool] = lambda fields: True,
    widths: tuple[int, ...] = (),
    skip_ragged: bool = False,
) -> Table:
    """Checks a file, whose rows are then read in turn each time they are asked for.

    Args:
        file: UTF-8, with or without a byte-order mark; unpacked if its name ends in ``.gz``.
        form: ``tsv`` (quotes are letters like any other, as in the files of GLUE), ``csv`` (fields
            may be quoted) or ``jsonl`` (an object a line, or one list of objects, which is read
            whole); by the name where it is empty.
        is_header: Told the first row of a TSV or CSV; says whether it names the columns.
        widths: Numbers of fields a row may have where there is no header; the first row's if empty.
        skip_ragged: Leave out rows with another number of fields, and tell of them, instead of
            refusing them.

    Raises:
        DataError: If the file cannot be read, naming every line that is not UTF-8, holds a NUL
            byte, is no JSON, or has another number of fields than the others.
    """
    if not file.is_file():
        near = (
            closest(file.name, [e.name for e in file.parent.iterdir()])
            if (file.parent.is_dir())
            else f"and no folder {file.parent}"
        )
        raise DataError(f"{file}: no such file; {near}")
    form = form or form_of(file)
    _check_bytes(file)
    if form == "jsonl":
        return _objects(file)
    every = _Rows(file, _quoted if form == "csv" else _plain)
    first = next(iter(every), None)
    if first is None:
        raise DataError(f"{file}: holds no line")
    header = tuple(field.strip() for field in first[1]) if is_header(first[1]) else None
    below = dataclasses.replace(every, skip=0 if header is None else 1)
    first = next(iter(below), None)
    if first is None:
        raise DataError(f"{file}: holds a header line and nothing else")
    allowed = (len(header),) if header is not None else widths or (len(first[1]),)
    ragged = [f"line {n}: {len(f)} fields" for n, f in below if len(f) not in allowed]
    fits = dataclasses.replace(below, widths=allowed)
    if ragged and not (skip_ragged and next(iter(fits), None)):
        whose = "the header has" if header is not None else "the first row has"
        whose = "expected" if widths and header is None else whose
        tab = "" if form == "csv" else "; a tab within a text must be written as a space"
        raise DataError(
            f"{file}: {whose} {' or '.join(map(str, allowed))} fields, but{tab}\n{listing(ragged)}"
        )
    return Table(file, header, fits, tuple(ragged))


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Rows of a file in their order, read anew each time."""

    file: Path
    read: Callable[[Path], Iterator[Row]]
    skip: int = 0
    widths: tuple[int, ...] = ()

    def __iter__(self) -> Iterator[Row]:
        for row in islice(self.read(self.file), self.skip, None):
            if not self.widths or len(row[1]) in self.widths:
                yield row


def _opened(file: Path) -> Any:
    return gzip.open(file) if file.suffix == ".gz" else file.open("rb")


def _lines(file: Path, newline: str) -> Iterator[str]:
    # What is no UTF-8 was told before; what somebody writes in the meantime is told by the digest.
    with io.TextIOWrapper(_opened(file), "utf-8-sig", "replace", newline) as handle:
        yield from handle


def _check_bytes(file: Path) -> None:
    problems = []
    try:
        with _opened(file) as handle:
            for number, line in enumerate(handle, 1):
                if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise DataError(f"{file}: is UTF-16; store it as UTF-8")
                raw = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if problem := bad_byte(raw.removesuffix(b"\n")):
                    problems.append(f"line {number}: {problem}")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{file}: cannot be unpacked, it is damaged or cut off: {error}") from error
    if problems:
        raise DataError(
            f"{file}: is not UTF-8 text; store it as UTF-8 again, from what it is (latin-1?), "
            f"without NUL bytes:\n{listing(problems)}"
        )


def _plain(file: Path) -> Iterator[Row]:
    # Lines end where editors see them end; str.splitlines would also cut at rarer separators.
    for number, text in enumerate(_lines(file, "\n"), 1):
        line = text.removesuffix("\n")
        if line.strip("\r"):
            yield number, tuple(line.removesuffix("\r").split("\t"))


def _quoted(file: Path) -> Iterator[Row]:
    reader = csv.reader(_lines(file, ""), strict=True)
    begins = 1
    while True:
        limit = csv.field_size_limit(sys.maxsize)
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"{file}: no comma-separated table at line {begins}: {error}"
            ) from error
        finally:
            csv.field_size_limit(limit)
        if row is None:
            return
        if row:
            yield begins, tuple(row)
        begins = reader.line_num + 1


def _objects(file: Path) -> Table:
    """Opens lines of JSON, or one list; the columns are all keys, in the order they come."""
    first = next((line for line in _lines(file, "\n") if line.strip()), "")
    what, listed = "line", None
    if first.lstrip().startswith("["):
        try:
            listed = list(enumerate(json.loads("".join(_lines(file, "\n"))), 1))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file}: no JSON: {error}") from error
        what = "entry"
    unread: list[str] = []
    others: list[str] = []
    columns: dict[str, None] = {}
    found = 0
    for number, value in _values(file, unread) if listed is None else listed:
        found += 1
        if isinstance(value, dict):
            columns.update(dict.fromkeys(value))
        else:
            others.append(f"{what} {number}: {type(value).__name__}, expected an object")
    if unread or others:
        raise DataError(f"{file}: expected an object a line:\n{listing([*unread, *others])}")
    if not found:
        raise DataError(f"{file}: holds no line")
    header = tuple(columns)

    def rows(file: Path) -> Iterator[Row]:
        problems: list[str] = []
        for number, value in _values(file, problems) if listed is None else listed:
            yield number, tuple(value.get(key, ABSENT) for key in header)

    return Table(file, header, _Rows(file, rows))


def _values(file: Path, problems: list[str]) -> Iterator[tuple[int, Any]]:
    """Values of lines of JSON with their numbers; what is none is added to the problems."""
    for number, line in enumerate(_lines(file, "\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.append(f"line {number}: no JSON: {error}")
            continue
        yield number, value
