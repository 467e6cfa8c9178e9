"""One way in for corpora: what a corpus is called, and what it opens."""

import dataclasses
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import cast

from tlearn.data.corpus import Corpus, JoinedCorpus, TextCorpus
from tlearn.data.corpus_files import SUFFIXES, Errors, FileCorpus, Form, is_heading, read_lines
from tlearn.data.corpus_tfds import TfdsCorpus
from tlearn.data.embedded import EmbeddedCorpus
from tlearn.data.errors import DataError, closest
from tlearn.data.held_out import HeldOut, WithoutHeldOut
from tlearn.data.places import is_place, named_split, place_of
from tlearn.data.planned import is_planned, refuse_planned
from tlearn.data.splits import select_split
from tlearn.data.text_files import bare_table
from tlearn.data.text_opening import TextOptions, splits_in_turn
from tlearn.data.texts_in_turn import EndToEnd, Stretch

FORMS = """\
  text:FILE|DIR      a file a document
  lines:FILE|DIR     a line a document
  blank:FILE|DIR     documents between blank lines
  jsonl:FILE|DIR     an object a line, its text in one field
  wikitext:FILE|DIR  articles under headings = Title =
  tfds:NAME          the texts of a prepared TFDS dataset
  table:FILE         a row a document, its text in one column (TSV, CSV); labels are passed over
  dataset:DATASET    the texts of a labelled dataset, as in dataset:glue:DIR or dataset:a.tsv
  embedded:PACKAGE   the documentation of an installed package; embedded:stdlib is Python's own
tfds: and dataset: read the split train, or the one behind @, as in dataset:glue:DIR@test"""
_WITH_SPLITS = ("tfds", "dataset")
_SNIFFED = 10_000
"""Lines of a file that are looked at to tell what it holds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """What reading a corpus may be told.

    Attributes:
        text_field: Field of JSON lines, feature of a TFDS dataset or column of a table that is the
            text; empty for ``text`` and other usual names.
        errors: ``strict`` refuses bytes that are no UTF-8, and NUL bytes; ``replace`` puts U+FFFD
            there.
        split: The split of datasets that name none behind ``@``; empty for ``train``, or for all
            where there is one split: test texts stay out unless they are named.
        data_dir: Where prepared TFDS datasets lie; TFDS's own default if empty.
    """

    text_field: str = ""
    errors: Errors = "strict"
    split: str = ""
    data_dir: str = ""


def open_corpus(
    spec: str | Path, options: CorpusOptions | None = None, *, held_out: HeldOut | None = None
) -> Corpus:
    """Opens a corpus by its name.

    Args:
        spec: ``text:FILE|DIR``, ``lines:...``, ``blank:...``, ``jsonl:...``, ``wikitext:...``,
            ``tfds:NAME``, ``table:FILE``, ``dataset:DATASET``, ``embedded:PACKAGE``, or the path
            of a file or folder; several joined by ``+``. A split of ``tfds:`` and ``dataset:``
            stands behind ``@``, as in ``tfds:NAME@test``.
        options: How they are read.
        held_out: Test texts; what holds one of them is left out of the corpus.

    Raises:
        DataError: Naming every part that is unknown (with the nearest names) or cannot be opened,
            and splits that are not there or of what has none.

    Example:
        >>> corpus = open_corpus("embedded:stdlib+wikitext:wiki.train.raw")  # doctest: +SKIP
    """
    asked = options or CorpusOptions()
    corpora, problems = [], []
    kinds = set()
    for one in _parts(str(spec)):
        try:
            kind, corpus = _open(one, asked, held_out)
            kinds.add(kind)
            corpora.append(corpus)
        except DataError as error:
            problems.append(str(error))
    if asked.split and not problems and not kinds & {*_WITH_SPLITS}:
        problems.append(_no_split(str(spec), asked.split))
    if problems:
        raise DataError("\n".join(problems))
    return corpora[0] if len(corpora) == 1 else JoinedCorpus(corpora)


def _parts(spec: str) -> list[str]:
    """Cuts a name at ``+``, which may also be part of a path."""
    if place_of(named_split(spec)[0]) is not None:
        return [spec]
    return [part.strip() for part in spec.split("+")]


def _open(spec: str, asked: CorpusOptions, held_out: HeldOut | None) -> tuple[str, Corpus]:
    """Opens one corpus; gives its kind too."""
    if is_planned(spec):
        refuse_planned(spec)
    name, split = named_split(spec)
    kind, colon, where = name.partition(":")
    if not colon or (kind not in _OPENERS and is_place(name)):
        kind, where = _sniff(name), name
    if kind not in _OPENERS:
        raise DataError(
            f"{spec!r}: no such kind of corpus: {closest(kind, _OPENERS)}; expected one of\n{FORMS}"
        )
    if not where:
        raise DataError(f"{spec!r} names no place; expected\n{FORMS}")
    if split and kind not in _WITH_SPLITS:
        raise DataError(_no_split(name, split))
    asked = dataclasses.replace(asked, split=split or asked.split)
    corpus = _OPENERS[kind](where, asked, held_out)
    if held_out is None or isinstance(corpus, EmbeddedCorpus):
        return kind, corpus
    return kind, WithoutHeldOut(corpus, held_out)


def _no_split(name: str, split: str) -> str:
    return (
        f"{name!r} has no splits, and {split!r} of it is asked for: leave the split out, or name "
        "the file that holds it; a folder of train and test tables is dataset:text:DIR"
    )


def _file_opener(form: str) -> Callable[[str, CorpusOptions, HeldOut | None], Corpus]:
    def opener(where: str, asked: CorpusOptions, held_out: HeldOut | None) -> Corpus:
        field = asked.text_field or "text"
        return FileCorpus(where, cast(Form, form), text_field=field, errors=asked.errors)

    return opener


def _tfds(where: str, asked: CorpusOptions, held_out: HeldOut | None) -> Corpus:
    return TfdsCorpus(
        where, asked.split or "train", text_field=asked.text_field, data_dir=asked.data_dir or None
    )


def _dataset(where: str, asked: CorpusOptions, held_out: HeldOut | None) -> Corpus:
    options = TextOptions(text_column=asked.text_field, data_dir=asked.data_dir)
    splits = splits_in_turn(where, asked.split or None, options)
    # A file is one split, whatever its name.
    split = asked.split or (None if len(splits) == 1 else "train")
    return TextCorpus(select_split(splits, split, what=where, join=EndToEnd, cut=Stretch))


def _table(where: str, asked: CorpusOptions, held_out: HeldOut | None) -> Corpus:
    return TextCorpus(bare_table(Path(where), asked.text_field))


def _embedded(where: str, asked: CorpusOptions, held_out: HeldOut | None) -> Corpus:
    return EmbeddedCorpus(where, held_out=held_out)


_OPENERS: dict[str, Callable[[str, CorpusOptions, HeldOut | None], Corpus]] = {
    **{form: _file_opener(form) for form in SUFFIXES},
    "tfds": _tfds,
    "table": _table,
    "dataset": _dataset,
    "embedded": _embedded,
}


def _sniff(text: str) -> str:
    """Tells what kind of corpus lies at a path."""
    path = Path(text).expanduser()
    if not path.exists():
        raise DataError(
            f"{text!r} is no corpus and no path: {closest(text.partition(':')[0], _OPENERS)}; "
            f"expected one of\n{FORMS}"
        )
    if path.is_dir():
        if any(path.glob("dataset_info.json")) or any(path.glob("*/*/dataset_info.json")):
            return "tfds"
        names = {Path(entry.name.lower().removesuffix(".gz")).suffix for entry in path.rglob("*")}
        lines, plain = names & set(SUFFIXES["jsonl"]), names & set(SUFFIXES["text"])
        if lines and plain:
            raise DataError(
                f"{path}: holds files of several kinds ({', '.join(sorted(lines | plain))}); say "
                f"which are meant, as in jsonl:{path} or text:{path}"
            )
        return "jsonl" if lines else "text"
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix in SUFFIXES["jsonl"]:
        return "jsonl"
    if suffix in (".tsv", ".csv"):
        return "table"
    if suffix not in SUFFIXES["text"]:
        raise DataError(f"{path}: cannot tell what this file is; expected one of\n{FORMS}")
    lines = [line for _, line in islice(read_lines(path, "replace"), _SNIFFED)]
    written = [place for place, line in enumerate(lines) if line.strip()]
    if written and is_heading(lines[written[0]]):
        return "wikitext"
    # A blank line between two that are written on.
    inside = lines[written[0] : written[-1]] if written else []
    return "blank" if any(not line.strip() for line in inside) else "lines"
