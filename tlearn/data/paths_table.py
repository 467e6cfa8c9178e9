"""A table (CSV or TSV) of picture paths and labels."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

from tlearn.data.errors import DataError, closest, listing
from tlearn.data.files import PictureFiles, Progress


def csv_splits(
    file: Path,
    *,
    path_column: str = "path",
    label_column: str = "label",
    split_column: str | None = None,
    root: str | Path | None = None,
    delimiter: str | None = None,
    label_names: Sequence[str] | None = None,
    skip_unreadable: bool = False,
    check: str = "quick",
    channels: int = 3,
    progress: Progress | None = None,
) -> dict[str, Callable[[], PictureFiles]]:
    """Reads a table with a header line: one picture a line, its path and its label.

    Args:
        file: The table, UTF-8; a byte-order mark is passed over.
        path_column: The column of paths, below ``root`` unless they are absolute.
        label_column: The column of labels. They are strings: "01" is not "1".
        split_column: The column that names each line's split. Without it all lines are the split
            ``all``.
        root: Where relative paths start; by default the table's own folder.
        delimiter: What separates columns; by default a tab in ``.tsv`` files and a comma in others.
        label_names: The classes, in order; by default the sorted labels of the whole table.
        skip_unreadable: Leave out files that are no pictures, and list them in `skipped`.
        check: How closely to look at the files, see `PictureFiles`.
        channels: 3 or 1, see `decode_image`.
        progress: Called while checking.

    Raises:
        DataError: If a column is missing (with the nearest one), or naming every line whose file
            does not exist, whose fields are empty or whose label is not in ``label_names``.
    """
    if not file.is_file():
        raise DataError(f"{file}: no such file")
    lines = _lines(file, delimiter, [path_column, label_column, split_column])
    base = file.parent if root is None else Path(root)
    names = tuple(label_names or sorted({label for _, _, label, _ in lines}))
    problems, first = [], {}
    for number, path, label, split in lines:
        empty = [
            what
            for what, field in (("path", path), ("label", label), ("split", split))
            if not field
        ]
        if empty:
            problems.append(f"line {number}: empty {' and '.join(empty)}")
            continue
        if not (base / path).is_file():
            problems.append(f"line {number}: {path} does not exist below {base}")
        if label not in names:
            problems.append(f"line {number}: label {label!r}: {closest(label, names)}")
        if first.setdefault(path, (label, number))[0] != label:
            problems.append(
                f"line {number}: {path} is labelled {label!r}, but {first[path][0]!r} in line "
                f"{first[path][1]}"
            )
    if problems:
        raise DataError(f"{file}: these lines cannot be used:\n{listing(problems)}")

    def opener(split: str) -> Callable[[], PictureFiles]:
        def read() -> PictureFiles:
            chosen = [line for line in lines if line[3] == split]
            return PictureFiles(
                [base / path for _, path, _, _ in chosen],
                [names.index(label) for _, _, label, _ in chosen],
                names,
                ids=[path for _, path, _, _ in chosen],
                name=file.name if split_column is None else f"{file.name}/{split}",
                channels=channels,
                check=check,
                skip_unreadable=skip_unreadable,
                progress=progress,
            )

        return read

    return {split: opener(split) for split in sorted({line[3] for line in lines})}


def _lines(
    file: Path, delimiter: str | None, columns: Sequence[str | None]
) -> list[tuple[int, str, str, str]]:
    """Reads the wanted columns: line number, path, label, split."""
    mark = delimiter or ("\t" if file.suffix == ".tsv" else ",")
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, delimiter=mark, strict=True)
            rows = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: not a UTF-8 table separated by {mark!r}: {error}") from error
    if len(rows) < 2:
        raise DataError(f"{file}: expected a header line and at least one picture")
    header = [field.strip() for field in rows[0][1]]
    missing = [
        f"{column!r}: {closest(column, header)}"
        for column in columns
        if column is not None and column not in header
    ]
    if missing:
        raise DataError(
            f"{file}: columns missing from the header; name the right ones with path_column=, "
            f"label_column=, split_column=:\n{listing(missing)}"
        )
    ragged = [
        f"line {number}: {len(row)} fields" for number, row in rows[1:] if len(row) != len(header)
    ]
    if ragged:
        raise DataError(f"{file}: the header has {len(header)} fields, but\n{listing(ragged)}")
    path, label, split = (None if column is None else header.index(column) for column in columns)
    return [
        (
            number,
            row[path or 0].strip(),
            row[label or 0].strip(),
            "all" if split is None else row[split].strip(),
        )
        for number, row in rows[1:]
    ]
