"""One way in for texts: what a dataset of texts is called, and what it opens."""

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from tlearn.data.dataset import Examples
from tlearn.data.embedded_task import embedded_splits
from tlearn.data.errors import DataError, closest, listing
from tlearn.data.glue import GlueTask, glue_task, need_glue_task
from tlearn.data.places import is_place, nearest_place
from tlearn.data.planned import is_planned, refuse_planned
from tlearn.data.reading_once import read_once, splits_once
from tlearn.data.splits import parse_split, select_split
from tlearn.data.text_columns import Columns
from tlearn.data.text_dataset import joined_texts
from tlearn.data.text_files import LabelKind, TableTexts
from tlearn.data.text_rows import TABLE
from tlearn.data.texts_in_turn import HeldTexts, TextsInTurn
from tlearn.data.tfds_text import TfdsTexts, tfds_text_splits

Splits = Mapping[str, Callable[[], Examples]]
_FORMS = """\
  tsv:FILE      a line an example, fields between tabs, quotes are letters like any other
  csv:FILE      a table with commas and quoted fields
  jsonl:FILE    an object a line, or a list of objects
  text:DIR      a folder of such files called train, dev (or validation) and test
  glue:DIR      the same in the layout of a GLUE task, which names the folder (CoLA, SST-2, ...)
  tfds:NAME     a prepared TFDS dataset, as in tfds:glue/sst2 or tfds:imdb_reviews
  embedded:A,B  which of these modules a function's description comes from; embedded:scipy"""
_KINDS = ("tsv", "csv", "jsonl", "text", "glue", "tfds", "embedded")
_SPLIT = re.compile(
    r"(?:.*[-_.])?(?P<split>(?:train|dev|val|valid|validation|test)(?:[-_](?:mis)?matched)?)", re.I
)
_BARE_TFDS = re.compile(r"(glue/\w+|imdb_reviews)\b.*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextOptions:
    """What reading texts may be told.

    Attributes:
        text_column: Column of the text, by name or number from 1; empty for the usual names.
        pair_column: Column of the second text, where examples are pairs.
        label_column: Column of the label.
        header: Whether the first line of a file names the columns; told by what it says if None.
        labels: Whether labels are names of classes or numbers; told by what they are if ``auto``.
        data_dir: Where prepared TFDS datasets lie; TFDS's own default if empty.
    """

    text_column: str = ""
    pair_column: str = ""
    label_column: str = ""
    header: bool | None = None
    labels: LabelKind = "auto"
    data_dir: str = ""

    @property
    def columns(self) -> Columns:
        """The columns that are asked for."""
        return Columns(self.text_column, self.pair_column, self.label_column)


def open_texts(
    spec: str | Path, split: str | None = None, options: TextOptions | None = None
) -> Examples:
    """Opens a dataset of texts by its name.

    Args:
        spec: ``tsv:FILE``, ``csv:FILE``, ``jsonl:FILE``, ``text:DIR``, ``glue:DIR``, ``tfds:NAME``,
            ``embedded:MODULE,MODULE``, or the path of a file or folder.
        split: A split expression such as ``train[:10%]``. May be left out where there is one split.
        options: Columns and kinds.

    Raises:
        DataError: If the name or split is unknown (with the nearest ones), or whatever is wrong
            with the dataset itself.
    """
    key = ("texts", str(spec), repr(options))

    def read() -> Examples:
        splits = splits_once(key, text_splits(spec, split, options))
        return select_split(splits, split, what=str(spec), join=joined_texts)

    return read_once((*key, split), read)


def text_splits(
    spec: str | Path, split: str | None = None, options: TextOptions | None = None
) -> Splits:
    """Finds the splits of a dataset of texts; each is a function that reads it.

    Raises:
        DataError: As `open_texts`; a ``split`` that cannot be read is found before any file is.
    """
    kind, where = _kind_and_place(spec, split)
    if kind == "embedded":
        return embedded_splits(where)

    def whole(opened: Callable[[], TableTexts | TfdsTexts]) -> Callable[[], Examples]:
        return lambda: opened().whole()

    found = _labelled(kind, where, options or TextOptions())
    return {name: whole(opened) for name, opened in found.items()}


def splits_in_turn(
    spec: str | Path, split: str | None = None, options: TextOptions | None = None
) -> Mapping[str, Callable[[], TextsInTurn]]:
    """Finds the splits of a dataset of texts; each is a function that opens its texts in turn.

    Those of ``embedded:`` are worked out together, and held; a list in one JSON value is too.

    Raises:
        DataError: As `text_splits`.
    """
    kind, where = _kind_and_place(spec, split)
    if kind != "embedded":
        return _labelled(kind, where, options or TextOptions())

    def held(read: Callable[[], Examples]) -> Callable[[], TextsInTurn]:
        return lambda: HeldTexts(read())

    return {name: held(read) for name, read in embedded_splits(where).items()}


def _kind_and_place(spec: str | Path, split: str | None) -> tuple[str, str]:
    """What kind of dataset a name is of, and where that lies."""
    if is_planned(spec):
        refuse_planned(spec)
    if split is not None:
        parse_split(split)
    text = str(spec)
    kind, colon, where = text.partition(":")
    exists = is_place(text)
    if not exists and kind != "tfds" and _BARE_TFDS.fullmatch(text):
        kind, where = "tfds", text
    elif not colon or (kind not in _KINDS and exists):
        kind, where = _sniff(text), text
    if kind not in _KINDS:
        raise DataError(
            f"{text!r}: no such kind of texts: {closest(kind, _KINDS)}; expected one of\n{_FORMS}"
        )
    if not where:
        raise DataError(f"{text!r} names no place; expected {kind}:PATH")
    return kind, where


def _labelled(
    kind: str, where: str, asked: TextOptions
) -> Mapping[str, Callable[[], TableTexts | TfdsTexts]]:
    """Finds the splits of a dataset that is read in turn."""
    if kind == "tfds":
        return tfds_text_splits(
            where, asked.columns, labels=asked.labels, data_dir=asked.data_dir or None
        )
    path = Path(where).expanduser()
    if kind in ("tsv", "csv", "jsonl"):
        return {"all": _reader(path, asked, kind, path.name, None)}
    if not path.is_dir():
        raise DataError(f"{path}: no such folder; {kind}: takes a folder of train and test files")
    task = need_glue_task(path) if kind == "glue" else None
    return {
        name: _reader(file, asked, "", f"{path.name}/{name}", task)
        for name, file in _split_files(path).items()
    }


def _reader(
    file: Path, asked: TextOptions, form: str, name: str, task: GlueTask | None
) -> Callable[[], TableTexts]:
    def read() -> TableTexts:
        columns, header = asked.columns, asked.header
        widths = ()
        if task is not None and task.columns is not None and columns == Columns():
            if header is None and not _has_header(file, columns):
                columns = Columns(*task.columns)
                header, widths = False, task.widths
        kind: LabelKind = asked.labels
        if task is not None and kind == "auto":
            kind = "number" if task.name == "stsb" else "class"
        return TableTexts(
            file,
            columns,
            labels=kind,
            header=header,
            form=form,
            name=name,
            widths=widths,
            skip_ragged=task is not None and task.skip_ragged,
        )

    return read


def _has_header(file: Path, columns: Columns) -> bool:
    """Tells whether a table of GLUE names its columns."""
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        return columns.is_header(lines.readline().rstrip("\r\n").split("\t"))


def _split_files(folder: Path) -> dict[str, Path]:
    """Finds the files of a folder that are named after a split."""
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        match = TABLE.fullmatch(file.name)
        split = match and _SPLIT.fullmatch(match["stem"])
        if match and split and file.is_file():
            found.setdefault(split["split"].lower(), []).append(file)
    double = [
        f"{name}: {', '.join(file.name for file in files)}"
        for name, files in found.items()
        if len(files) > 1
    ]
    if double:
        raise DataError(
            f"{folder}: several files could be one split; name one, as in tsv:FILE\n"
            f"{listing(double)}"
        )
    if not found:
        there = sorted(entry.name for entry in folder.iterdir())
        raise DataError(
            f"{folder}: holds no files called train, dev or test (.tsv, .csv, .jsonl, perhaps .gz)"
            f"; there is\n{listing(there)}"
        )
    # Training first, as everywhere; then in the order of the names.
    order = sorted(found, key=lambda name: (name != "train", name))
    return {name: found[name][0] for name in order}


def _sniff(text: str) -> str:
    """Tells what kind of dataset lies at a path."""
    path = Path(text).expanduser()
    if not path.exists():
        kinds = difflib.get_close_matches(text.partition(":")[0], _KINDS, n=1)
        near = nearest_place(text) or (f"{kinds[0]}:..." if kinds else "")
        guess = f": did you mean {near!r}?" if near else "."
        raise DataError(f"{text!r} is no dataset and no path{guess} Expected one of\n{_FORMS}")
    if path.is_file():
        match = TABLE.fullmatch(path.name)
        form = {"json": "jsonl"}.get(match["form"], match["form"]) if match else ""
        if form not in ("tsv", "csv", "jsonl"):
            raise DataError(f"{path}: cannot tell what this file is; expected one of\n{_FORMS}")
        return form
    infos = (path.glob(f"{depth}dataset_info.json") for depth in ("", "*/", "*/*/"))
    if any(found for some in infos for found in some):
        return "tfds"
    return "text" if glue_task(path) is None else "glue"
