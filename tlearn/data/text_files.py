"""Texts with labels out of a table: CSV, TSV or lines of JSON, by column names or numbers."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tlearn.data.errors import DataError, listing
from tlearn.data.text_columns import Columns, find_columns
from tlearn.data.text_dataset import TextDataset, number, sorted_labels, unlabelled
from tlearn.data.text_rows import ABSENT, open_table
from tlearn.data.texts_in_turn import NamedText, TextsInTurn

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
        file: The table; see `open_table` for its forms.
        text_column: Column of the text, by its name in the header or its number from 1; found by
            itself under the usual names (text, sentence, sentence1, question1, premise, ...).
        pair_column: Column of the second text where examples are pairs.
        label_column: Column of the label; found by itself as label, score, class, ...
        header: Whether the first line names the columns; told by what it says if None.
        labels: Names of classes (strings; ``1`` and ``01`` are two) or numbers.
        form: tsv, csv or jsonl; by the file's name if empty.
        name: What messages call the dataset.
        widths: See `open_table`.
        skip_ragged: See `open_table`.

    Raises:
        DataError: If the file cannot be read or its columns not be found, or naming every line
            whose text or label is missing or of another kind.
    """
    columns = Columns(text_column, pair_column, label_column)
    return TableTexts(
        Path(file),
        columns,
        labels=labels,
        header=header,
        form=form,
        name=name,
        widths=widths,
        skip_ragged=skip_ragged,
    ).whole()


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
    return bare_table(Path(file), text_column, pair_column, header=header, form=form).whole()


def bare_table(
    file: Path,
    text_column: str = "",
    pair_column: str = "",
    *,
    header: bool | None = None,
    form: str = "",
) -> "TableTexts":
    """Opens a table as `read_texts` reads it.

    Raises:
        DataError: If the file cannot be read or its columns not be found.
    """
    asked = Columns(text_column, pair_column)
    if file.name.removesuffix(".gz").endswith(".txt") and not (form or asked.text):
        asked, header, form = Columns("1"), False, "tsv"
    return TableTexts(file, asked, labels=None, header=header, form=form)


class TableTexts(TextsInTurn):
    """Texts of a table with their labels, checked as they are read."""

    def __init__(
        self,
        file: Path,
        columns: Columns,
        *,
        labels: LabelKind | None = "auto",
        header: bool | None = None,
        form: str = "",
        name: str = "",
        widths: tuple[int, ...] = (),
        skip_ragged: bool = False,
    ):
        """Finds the columns; see `text_file`.

        Args:
            file: The table.
            columns: The columns that are asked for.
            labels: What labels are; None where a column of labels is passed over.
            header: Whether the first line names the columns; told by what it says if None.
            form: tsv, csv or jsonl; by the file's name if empty.
            name: What messages call the texts.
            widths: See `open_table`.
            skip_ragged: See `open_table`.

        Raises:
            DataError: If the file cannot be read or its columns not be found.
        """
        self._table = open_table(
            file.expanduser(),
            form=form,
            is_header=columns.is_header if header is None else lambda fields: bool(header),
            widths=widths,
            skip_ragged=skip_ragged,
        )
        self._places = find_columns(
            str(self._table.file),
            self._table.header,
            self._table.width,
            columns,
            first=self._table.first,
            labelled=labels is not None,
        )
        self._labels: LabelKind | None = labels
        self.name = name or file.name

    def __iter__(self) -> Iterator[NamedText]:
        for text, _ in self._rows():
            yield text

    def whole(self) -> TextDataset:
        """Reads all into memory.

        Raises:
            DataError: Naming every line whose text or label is missing or of another kind.
        """
        texts, pairs, ids, spelt = [], [], [], []
        for (text, pair, name), label in self._rows():
            texts.append(text)
            pairs.append(pair)
            ids.append(name)
            spelt.append(label)
        given = None if self._places.pair is None else pairs
        if self._labels is None:
            return unlabelled(texts, given, name=self.name)
        found, names = coded(spelt, self._labels)
        return TextDataset(
            texts, found, names, pairs=given, name=self.name, ids=ids, skipped=self._table.skipped
        )

    def _rows(self) -> Iterator[tuple[NamedText, str]]:
        """Reads every example and how its label is spelt; refuses all that is wrong at the end."""
        places, labelled = self._places, self._labels is not None
        of_text, of_pair, of_label = [], [], []
        for place, (line, fields) in enumerate(self._table.rows):
            text, pair, label = fields[places.text], None, ""
            wrong = _text_problem(text, line, "text", of_text)
            if places.pair is not None:
                pair = fields[places.pair]
                wrong |= _text_problem(pair, line, "second text", of_pair)
            if places.label is not None:
                label, problem = _label(fields[places.label], self._labels)
                wrong |= bool(problem)
                of_label += [f"line {line}: {problem}"] if problem else []
            if not wrong:
                name = f"{self.name}:{line}" if labelled else f"{self.name}/{place}"
                yield NamedText(text, pair, name), label
        if problems := [*of_text, *of_pair, *of_label]:
            raise DataError(f"{self._table.file}: these lines cannot be used:\n{listing(problems)}")


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


def _text_problem(value: Any, line: int, what: str, problems: list[str]) -> bool:
    """Whether a field is no text; says what is wrong with it."""
    if not isinstance(value, str):
        problems.append(f"line {line}: the {what} is {value!r}, expected a string")
    elif not value.strip():
        problems.append(f"line {line}: the {what} is empty")
    elif "\0" in value:
        # Written as an escape in JSON: the file holds no such byte.
        problems.append(f"line {line}: the {what} holds a NUL character")
    else:
        return False
    return True


def _label(value: Any, kind: LabelKind | None) -> tuple[str, str]:
    """How a label is spelt, and what is wrong with it; empty if nothing is."""
    if value is None or value is ABSENT or (isinstance(value, str) and not value.strip()):
        return "", "no label"
    if not isinstance(value, str | bool | int | float):
        return "", f"label {value!r}, expected a string or a number"
    spelt = value.strip() if isinstance(value, str) else json.dumps(value)
    if kind == "number" and number(spelt) is None:
        return spelt, f"label {spelt!r} is no finite number"
    return spelt, ""
