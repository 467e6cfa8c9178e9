"""Which columns of a table are the text, its pair and the label."""

import dataclasses
from collections.abc import Sequence

from tlearn.data.dataset import shortened
from tlearn.data.errors import DataError, closest, listing

_PAIRS = (
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("premise", "hypothesis"),
    ("#1 string", "#2 string"),
    ("text1", "text2"),
    ("text_a", "text_b"),
)
_TEXTS = ("text", "sentence", "review")
_LABELS = ("label", "gold_label", "quality", "is_duplicate", "score", "class", "category")
KNOWN = frozenset([*_TEXTS, *_LABELS, *(name for pair in _PAIRS for name in pair)])
"""Names of columns, in small letters, that are found without being told."""


@dataclasses.dataclass(frozen=True)
class Columns:
    """Columns by name, or by number from 1; empty for what the header tells.

    Attributes:
        text: The text, or the first of two.
        pair: The second text of a pair.
        label: The label.
    """

    text: str = ""
    pair: str = ""
    label: str = ""

    @property
    def named(self) -> tuple[str, ...]:
        """The columns that are given by name."""
        given = (self.text, self.pair, self.label)
        return tuple(column for column in given if column and not column.isdecimal())

    def is_header(self, fields: Sequence[str]) -> bool:
        """Tells whether a first row names the columns: some name in it is asked for or known."""
        names = {field.strip().lower() for field in fields}
        return bool(self.named) or bool(names & KNOWN)


@dataclasses.dataclass(frozen=True)
class Places:
    """Where in a row things are; None for what there is not."""

    text: int
    pair: int | None
    label: int | None


def find_columns(
    what: str,
    header: Sequence[str] | None,
    width: int,
    asked: Columns,
    *,
    first: Sequence[object] = (),
    labelled: bool = True,
) -> Places:
    """Finds the columns that are asked for, or the ones whose names are well known.

    A pair is guessed only where no text column is asked for.

    Args:
        what: What messages call the table.
        header: Names of the columns, if they have any.
        width: Number of columns.
        asked: What is asked for.
        first: The first row, shown where the columns cannot be told.
        labelled: Whether there must be a label.

    Raises:
        DataError: Naming every column there is not, with the nearest one, or saying what to give
            where the columns cannot be told.
    """
    problems: list[str] = []
    options = ("text_column", "pair_column", "label_column")
    given = (asked.text, asked.pair, asked.label)
    text, pair, label = (
        _place(option, column, header, width, problems) if column else None
        for option, column in zip(options, given, strict=True)
    )
    lowered = [name.strip().lower() for name in header or ()]
    if not asked.text:
        text, guessed = _guess(lowered)
        pair = pair if asked.pair else guessed
    if labelled and not asked.label:
        label = next((lowered.index(name) for name in _LABELS if name in lowered), None)
    if text is None and not asked.text:
        problems.append("which column is the text: give text_column (and pair_column)")
    if labelled and label is None and not asked.label:
        problems.append(
            "which column is the label: give label_column (GLUE's test files come without labels)"
        )
    if problems:
        there = f"columns: {', '.join(header)}" if header is not None else "no header line"
        if header is None and first:
            there += f", first row: {' | '.join(shortened(str(f), 40) for f in first)}"
        raise DataError(f"{what}: cannot find the columns ({there}):\n{listing(problems)}")
    chosen = [place for place in (text, pair, label) if place is not None]
    if text is None or len(set(chosen)) < len(chosen):
        raise DataError(f"{what}: one column is asked for twice: text, pair and label differ")
    return Places(text, pair, label)


def _place(
    option: str, column: str, header: Sequence[str] | None, width: int, problems: list[str]
) -> int | None:
    names = [] if header is None else list(header)
    if names.count(column) > 1:
        problems.append(f"{option}={column!r}: {names.count(column)} columns have this name")
        return None
    if column in names:
        return names.index(column)
    if column.isdecimal():
        if 1 <= int(column) <= width:
            return int(column) - 1
        problems.append(f"{option}={column}: columns are counted from 1 to {width}")
    elif header is None:
        problems.append(f"{option}={column!r}: without a header line give its number, from 1")
    else:
        problems.append(f"{option}={column!r}: {closest(column, names)}")
    return None


def _guess(lowered: list[str]) -> tuple[int | None, int | None]:
    for one, other in _PAIRS:
        if one in lowered and other in lowered:
            return lowered.index(one), lowered.index(other)
    return next((lowered.index(name) for name in _TEXTS if name in lowered), None), None
