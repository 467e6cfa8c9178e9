"""One way in: what a dataset is called on the command line, and what it opens."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tlearn.data.archive import ARCHIVE, tar_splits
from tlearn.data.dataset import Examples
from tlearn.data.digits import digits_splits
from tlearn.data.errors import DataError, closest, listing
from tlearn.data.folder import folder_splits
from tlearn.data.idx import idx_splits
from tlearn.data.paths_table import csv_splits
from tlearn.data.places import is_place, nearest_place
from tlearn.data.planned import is_planned, refuse_planned
from tlearn.data.reading_once import read_once, splits_once
from tlearn.data.splits import parse_split, select_split
from tlearn.data.tfds_dataset import tfds_splits

_FORMS = """\
  digits        the 8 x 8 digits that come with scikit-learn (splits train, test)
  mnist:DIR     MNIST's four IDX files (splits train, test)
  idx:DIR       any <split>-images-idx3-ubyte[.gz] with its labels file
  folder:DIR    DIR/<split>/<class>/<picture> or DIR/<class>/<picture>
  csv:FILE      a table of picture paths and labels
  tar:FILE      an archive of class folders, or a folder of archives, one a split
  tfds:NAME     a prepared TFDS dataset, by name or folder"""


def _mnist(folder: Path) -> Mapping[str, Callable[[], Examples]]:
    return idx_splits(folder, label_names=[str(number) for number in range(10)])


_OPENERS: dict[str, Callable[..., Mapping[str, Callable[[], Examples]]]] = {
    "mnist": _mnist,
    "idx": idx_splits,
    "folder": folder_splits,
    "csv": csv_splits,
    "tar": tar_splits,
    "tfds": tfds_splits,
}


def open_dataset(spec: str | Path, split: str | None = None, **options: Any) -> Examples:
    """Opens a dataset by its name.

    Args:
        spec: ``digits``, ``mnist:DIR``, ``idx:DIR``, ``folder:DIR``, ``csv:FILE``, ``tar:FILE`` or
            ``tfds:NAME``; or the path of a folder or file, when only one of these fits it.
        split: A split expression such as ``train[:10%]``. May be left out where there is one split.
        options: What the kind of dataset takes: for folders ``exclude``, ``skip_unreadable``,
            ``check``, ``channels``; for tables ``path_column``, ``label_column``, ``split_column``,
            ``root``; see `folder_splits`, `csv_splits`, `tar_splits`, `tfds_splits`, `idx_splits`.

    Raises:
        DataError: If the name, the split or an option is unknown (with the nearest ones), if a path
            could be several things, or whatever is wrong with the dataset itself.

    Example:
        >>> open_dataset("digits", "train[:10%]")
        <View digits/train[:10%]: 130 examples, 10 classes>
    """
    key = ("pictures", str(spec), repr(sorted(options.items())))

    def read() -> Examples:
        splits = splits_once(key, open_splits(spec, split, **options))
        return select_split(splits, split, what=str(spec))

    return read_once((*key, split), read)


def open_splits(
    spec: str | Path, split: str | None = None, **options: Any
) -> Mapping[str, Callable[[], Examples]]:
    """Finds the splits of a dataset; each is a function that reads it.

    Raises:
        DataError: As `open_dataset`; a ``split`` that cannot be read is found before any file is.
    """
    if is_planned(spec):
        refuse_planned(spec)
    if split is not None:
        parse_split(split)
    text = str(spec)
    kind, colon, where = text.partition(":")
    if text == "digits":
        _check_options("digits", digits_splits, options)
        return digits_splits()
    if not colon or (kind not in _OPENERS and is_place(text)):
        kind, where = _sniff(text), text
    if kind not in _OPENERS:
        raise DataError(
            f"{text!r}: no such kind of dataset: {closest(kind, ['digits', *_OPENERS])}\n{_FORMS}"
        )
    if not where:
        raise DataError(f"{text!r} names no place; expected {kind}:PATH")
    opener = _OPENERS[kind]
    _check_options(kind, opener, options)
    if kind == "tfds":
        return opener(where, **options)
    path = Path(where).expanduser()
    if kind in ("mnist", "idx") and not path.is_dir():
        raise DataError(f"{path}: no such folder; {kind}: takes the folder of the IDX files")
    return opener(path, **options)


def _check_options(kind: str, opener: Callable[..., Any], options: Mapping[str, Any]) -> None:
    known = [
        name
        for name, parameter in inspect.signature(opener).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    wrong = [f"{name!r}: {closest(name, known)}" for name in options if name not in known]
    if wrong:
        raise DataError(f"options that {kind} datasets do not take:\n{listing(wrong)}")


def _sniff(text: str) -> str:
    """Tells what kind of dataset lies at a path, when exactly one kind fits."""
    path = Path(text).expanduser()
    if not path.exists():
        names = difflib.get_close_matches(text, ["digits", *_OPENERS], n=1)
        near = names[0] if names else nearest_place(text)
        guess = f": did you mean {near!r}?" if near else "."
        raise DataError(f"{text!r} is no dataset and no path{guess} Expected one of\n{_FORMS}")
    if path.is_file():
        if path.suffix in (".csv", ".tsv"):
            return "csv"
        if ARCHIVE.fullmatch(path.name):
            return "tar"
        raise DataError(f"{path}: cannot tell what this file is; expected one of\n{_FORMS}")
    entries = list(path.iterdir())
    fits = {
        "idx": any("-idx3-ubyte" in entry.name for entry in entries),
        "tar": any(ARCHIVE.fullmatch(entry.name) for entry in entries),
        "tfds": any(
            found
            for depth in ("", "*/", "*/*/")
            for found in path.glob(f"{depth}dataset_info.json")
        ),
    }
    # What TFDS prepares lies in folders too, but in no class folders.
    fits["folder"] = not fits["tfds"] and any(entry.is_dir() for entry in entries)
    found = [kind for kind, fit in fits.items() if fit]
    if len(found) != 1:
        what = f"could be {' or '.join(found)}" if found else "looks like no dataset"
        raise DataError(
            f"{path}: {what}; say which, as in {(found or ['folder'])[0]}:{path}\n{_FORMS}"
        )
    return found[0]
