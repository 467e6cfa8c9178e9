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
from collections.abc import Callable
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
        rows: Every other row with the number of the line it begins in, from 1.
        skipped: What was left out because it did not fit, where that is allowed.
    """

    file: Path
    header: tuple[str, ...] | None
    rows: list[Row]
    skipped: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Counts the columns."""
        return len(self.header) if self.header is not None else len(self.rows[0][1])


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


def read_table(
    file: Path,
    *,
    form: str = "",
    is_header: Callable[[tuple[str, ...]], bool] = lambda fields: True,
    widths: tuple[int, ...] = (),
    skip_ragged: bool = False,
) -> Table:
    """Reads a file whole.

    Args:
        file: UTF-8, with or without a byte-order mark; unpacked if its name ends in ``.gz``.
        form: ``tsv`` (quotes are letters like any other, as in the files of GLUE), ``csv`` (fields
            may be quoted) or ``jsonl`` (an object a line, or one list of objects); by the name
            where it is empty.
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
    text = _decoded(file, _unpacked(file))
    if form == "jsonl":
        return _objects(file, text)
    rows = _quoted(file, text) if form == "csv" else _plain(text)
    if not rows:
        raise DataError(f"{file}: holds no line")
    header = None
    if is_header(rows[0][1]):
        header = tuple(field.strip() for field in rows[0][1])
        rows = rows[1:]
        if not rows:
            raise DataError(f"{file}: holds a header line and nothing else")
    allowed = (len(header),) if header is not None else widths or (len(rows[0][1]),)
    fits = [row for row in rows if len(row[1]) in allowed]
    ragged = [f"line {n}: {len(f)} fields" for n, f in rows if len(f) not in allowed]
    if ragged and not (skip_ragged and fits):
        whose = "the header has" if header is not None else "the first row has"
        whose = "expected" if widths and header is None else whose
        tab = "" if form == "csv" else "; a tab within a text must be written as a space"
        raise DataError(
            f"{file}: {whose} {' or '.join(map(str, allowed))} fields, but{tab}\n{listing(ragged)}"
        )
    return Table(file, header, fits, tuple(ragged))


def _unpacked(file: Path) -> bytes:
    data = file.read_bytes()
    if file.suffix != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: cannot be unpacked, it is damaged or cut off: {error}") from error


def _decoded(file: Path, data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{file}: is UTF-16; store it as UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" not in text:
        return text
    found = ((number, bad_byte(line)) for number, line in enumerate(data.split(b"\n"), 1))
    problems = [f"line {number}: {problem}" for number, problem in found if problem]
    raise DataError(
        f"{file}: is not UTF-8 text; store it as UTF-8 again, from what it is (latin-1?), without "
        f"NUL bytes:\n{listing(problems)}"
    )


def _plain(text: str) -> list[Row]:
    # Lines end where editors see them end; str.splitlines would also cut at rarer separators.
    lines = text.split("\n")
    return [
        (number, tuple(line.removesuffix("\r").split("\t")))
        for number, line in enumerate(lines, 1)
        if line.strip("\r")
    ]


def _quoted(file: Path, text: str) -> list[Row]:
    limit = csv.field_size_limit(sys.maxsize)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        rows: list[Row] = []
        begins = 1
        for row in reader:
            if row:
                rows.append((begins, tuple(row)))
            begins = reader.line_num + 1
        return rows
    except csv.Error as error:
        raise DataError(f"{file}: no comma-separated table at line {begins}: {error}") from error
    finally:
        csv.field_size_limit(limit)


def _objects(file: Path, text: str) -> Table:
    """Reads lines of JSON, or one list; the columns are all keys, in the order they come."""
    problems: list[str] = []
    found: list[tuple[int, Any]] = []
    if text.lstrip().startswith("["):
        try:
            found = list(enumerate(json.loads(text), 1))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file}: no JSON: {error}") from error
        what = "entry"
    else:
        what = "line"
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            try:
                found.append((number, json.loads(line)))
            except (ValueError, RecursionError) as error:
                problems.append(f"line {number}: no JSON: {error}")
    problems += [
        f"{what} {number}: {type(value).__name__}, expected an object"
        for number, value in found
        if not isinstance(value, dict)
    ]
    if problems:
        raise DataError(f"{file}: expected an object a line:\n{listing(problems)}")
    if not found:
        raise DataError(f"{file}: holds no line")
    header = tuple(dict.fromkeys(key for _, value in found for key in value))
    rows = [(n, tuple(value.get(key, ABSENT) for key in header)) for n, value in found]
    return Table(file, header, rows)
