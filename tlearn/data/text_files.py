"""Texts with labels out of a table: CSV, TSV or lines of JSON, by column names or numbers."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tlearn.data.errors import DataError, listing
from tlearn.data.text_columns import Columns, find_columns
from tlearn.data.text_dataset import TextDataset, number, sorted_labels, unlabelled
from tlearn.data.text_rows import ABSENT, Table, open_table, read_table

LabelKind = Literal["auto", "class", "number"]
"""Whether labels are names of classes, or numbers to estimate; ``auto`` takes them as numbers where
all are numbers and one of them is not whole."""


def text_file(
    file: str | Path,
    *,
    text_column: str = "",
    pair_column: str = "",
    label_column: str = "",
    header: bool | None = None,
    labels: LabelKind = "auto",
    form: str = "",
    name: str = "",
    widths: tuple[int, ...] = (),
    skip_ragged: bool = False,
) -> TextDataset:
    """Reads a table of texts with labels.

    Args:
        file: The table; see `read_table` for its forms.
        text_column: Column of the text, by its name in the header or its number from 1; found by
            itself under the usual names (text, sentence, sentence1, question1, premise, ...).
        pair_column: Column of the second text where examples are pairs.
        label_column: Column of the label; found by itself as label, score, class, ...
        header: Whether the first line names the columns; told by what it says if None.
        labels: Names of classes (strings; ``1`` and ``01`` are two) or numbers.
        form: tsv, csv or jsonl; by the file's name if empty.
        name: What messages call the dataset.
        widths: See `read_table`.
        skip_ragged: See `read_table`.

    Raises:
        DataError: If the file cannot be read or its columns not be found, or naming every line
            whose text or label is missing or of another kind.
    """
    table = _read(
        Path(file),
        Columns(text_column, pair_column, label_column),
        header,
        form,
        widths,
        skip_ragged,
    )
    asked = Columns(text_column, pair_column, label_column)
    places = _places(table, asked, labelled=True)
    problems: list[str] = []
    texts = _texts(table, places.text, "text", problems)
    pairs = None if places.pair is None else _texts(table, places.pair, "second text", problems)
    spelt = _labels(table, places.label or 0, problems)
    if labels == "number":
        problems += [
            f"line {line}: label {label!r} is no finite number"
            for (line, _), label in zip(table.rows, spelt, strict=True)
            if label and number(label) is None
        ]
    if problems:
        raise DataError(f"{table.file}: these lines cannot be used:\n{listing(problems)}")
    found, names = coded(spelt, labels)
    return TextDataset(
        texts,
        found,
        names,
        pairs=pairs,
        name=name or table.file.name,
        ids=[f"{name or table.file.name}:{line}" for line, _ in table.rows],
        skipped=table.skipped,
    )


def read_texts(
    file: str | Path,
    *,
    text_column: str = "",
    pair_column: str = "",
    header: bool | None = None,
    form: str = "",
) -> TextDataset:
    """Reads a table of texts whose labels are asked for; a column of labels is passed over.

    A file that ends in ``.txt`` holds one text a line, unless columns are asked for.

    Raises:
        DataError: As `text_file`.
    """
    found = Texts(Path(file), text_column, pair_column, header=header, form=form)
    rows = list(found)
    pairs = None if found.places.pair is None else [pair or "" for _, pair in rows]
    return unlabelled([text for text, _ in rows], pairs, name=found.name)


class Texts:
    """Texts of a table, checked once and then read in turn: each with its second text or None."""

    def __init__(
        self,
        file: Path,
        text_column: str = "",
        pair_column: str = "",
        *,
        header: bool | None = None,
        form: str = "",
    ):
        """Reads the table through; see `read_texts`.

        Raises:
            DataError: As `text_file`.
        """
        asked = Columns(text_column, pair_column)
        lines = file.name.removesuffix(".gz").endswith(".txt") and not (form or asked.text)
        if lines:
            asked, header, form = Columns("1"), False, "tsv"
        self.name = file.name
        self._table = open_table(file.expanduser(), form=form, is_header=_header_of(asked, header))
        self.places = _places(self._table, asked, labelled=False)
        columns = ((self.places.text, "text"), (self.places.pair, "second text"))
        problems: list[str] = []
        for place, what in columns:
            if place is not None:
                problems += filter(None, _checked(self._table, place, what))
        if problems:
            raise DataError(f"{file}: these lines cannot be used:\n{listing(problems)}")

    def __iter__(self) -> Iterator[tuple[str, str | None]]:
        text, pair = self.places.text, self.places.pair
        for _, fields in self._table.rows:
            yield fields[text], None if pair is None else fields[pair]


def coded(spelt: Sequence[str], labels: LabelKind) -> tuple[np.ndarray, tuple[str, ...]]:
    """Numbers the labels: places in the sorted names, or the numbers themselves and no names."""
    if labels == "auto":
        values = [number(label) for label in spelt]
        every = all(value is not None for value in values)
        numbers = every and any(value != int(value) for value in values if value is not None)
    else:
        numbers = labels == "number"
    if numbers:
        return np.array([float(label) for label in spelt], np.float32), ()
    names = sorted_labels(set(spelt))
    code = {name: place for place, name in enumerate(names)}
    return np.array([code[label] for label in spelt], np.int32), names


def _read(
    file: Path,
    asked: Columns,
    header: bool | None,
    form: str,
    widths: tuple[int, ...],
    skip_ragged: bool,
) -> Table:
    return read_table(
        file.expanduser(),
        form=form,
        is_header=_header_of(asked, header),
        widths=widths,
        skip_ragged=skip_ragged,
    )


def _header_of(asked: Columns, header: bool | None) -> Callable[[tuple[str, ...]], bool]:
    return asked.is_header if header is None else lambda fields: bool(header)


def _places(table: Table, asked: Columns, *, labelled: bool) -> Any:
    return find_columns(
        str(table.file),
        table.header,
        table.width,
        asked,
        first=table.first,
        labelled=labelled,
    )


def _texts(table: Table, place: int, what: str, problems: list[str]) -> list[str]:
    problems += filter(None, _checked(table, place, what))
    return [fields[place] for _, fields in table.rows if isinstance(fields[place], str)]


def _checked(table: Table, place: int, what: str) -> Iterator[str | None]:
    """What is wrong with each text of a column; None if nothing is."""
    for line, fields in table.rows:
        value = fields[place]
        if not isinstance(value, str):
            yield f"line {line}: the {what} is {value!r}, expected a string"
        elif not value.strip():
            yield f"line {line}: the {what} is empty"
        elif "\0" in value:
            # Written as an escape in JSON: the file holds no such byte.
            yield f"line {line}: the {what} holds a NUL character"
        else:
            yield None


def _labels(table: Table, place: int, problems: list[str]) -> list[str]:
    labels = []
    for line, fields in table.rows:
        value = fields[place]
        if value is None or value is ABSENT or value == "":
            problems.append(f"line {line}: no label")
            labels.append("")
        elif isinstance(value, str):
            labels.append(value.strip())
            if not labels[-1]:
                problems.append(f"line {line}: no label")
        elif isinstance(value, bool | int | float):
            labels.append(json.dumps(value))
        else:
            problems.append(f"line {line}: label {value!r}, expected a string or a number")
            labels.append("")
    return labels
