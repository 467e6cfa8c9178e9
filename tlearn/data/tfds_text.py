"""Texts from TensorFlow Datasets through its data sources: no TensorFlow."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.data.errors import DataError, listing
from tlearn.data.text_columns import Columns, Places, find_columns
from tlearn.data.text_dataset import TextDataset
from tlearn.data.text_files import LabelKind, coded
from tlearn.data.texts_in_turn import NamedText, TextsInTurn
from tlearn.data.tfds_dataset import builder_at, prepared


def tfds_text_splits(
    where: str,
    columns: Columns,
    *,
    labels: LabelKind = "auto",
    data_dir: str | Path | None = None,
) -> "dict[str, Callable[[], TfdsTexts]]":
    """Opens a prepared dataset of texts by name or folder; each split as its texts in turn.

    Nothing is downloaded here: prepare the dataset first, in the array_record format.

    Args:
        where: A name (``glue/sst2``, ``imdb_reviews/plain_text:1.0.0``) or a folder.
        columns: Features that are the text, its pair and the label; the usual names if empty.
        labels: Whether labels are names of classes or numbers.
        data_dir: Where prepared datasets lie; TFDS's own default otherwise.

    Raises:
        DataError: If it is unknown, not prepared, stored as TFRecord, or has no such features;
            while reading, if examples have no label.
    """
    if where.startswith("glue"):
        # TFDS registers it only when its module is imported.
        importlib.import_module("tensorflow_datasets.text.glue")
    builder = prepared(where, data_dir)
    info = builder.info
    # TFDS keeps features in no fixed order.
    features = dict(sorted(info.features.items())) if hasattr(info.features, "items") else {}
    name = info.full_name.rpartition(":")[0] or info.name
    places = find_columns(
        f"TFDS dataset {name!r}", tuple(features), len(features), columns, labelled=True
    )
    folder = str(builder.data_dir)

    def opener(split: str) -> "Callable[[], TfdsTexts]":
        return lambda: TfdsTexts(folder, split, list(features), places, labels, f"{name}/{split}")

    return {split: opener(split) for split in info.splits}


class TfdsTexts(TextsInTurn):
    """Texts of a split with their labels, checked as they are read."""

    def __init__(
        self,
        folder: str,
        split: str,
        features: Sequence[str],
        places: Places,
        labels: LabelKind,
        name: str,
    ):
        """Says what is read; nothing is yet."""
        self._folder, self._split, self.name = folder, split, name
        self._labels: LabelKind = labels
        self._text, self._label = features[places.text], features[places.label or 0]
        self._pair = None if places.pair is None else features[places.pair]

    def __iter__(self) -> Iterator[NamedText]:
        for text, _ in self._examples():
            yield text

    def whole(self) -> TextDataset:
        """Reads all into memory.

        Raises:
            DataError: Naming every example whose text is no text, or if some have no label.
        """
        texts, pairs, found = [], [], []
        for (text, pair, _), label in self._examples():
            texts.append(text)
            pairs.append(pair)
            found.append(label)
        given = None if self._pair is None else pairs
        kind = builder_at(self._folder).info.features[self._label]
        if self._named(kind):
            names = tuple(kind.names)
            return TextDataset(texts, np.array(found, np.int32), names, pairs=given, name=self.name)
        labels: LabelKind = self._labels
        if np.issubdtype(kind.np_dtype, np.floating) and labels == "auto":
            labels = "number"
        # float32 from its own digits: 3.8 rather than 3.7999999523.
        spelt = [x.decode() if isinstance(x, bytes) else str(np.asarray(x)[()]) for x in found]
        numbers, names = coded(spelt, labels)
        return TextDataset(texts, numbers, names, pairs=given, name=self.name)

    def _named(self, kind: Any) -> bool:
        """Whether labels are places in names that the dataset has."""
        return type(kind).__name__ == "ClassLabel" and self._labels != "number"

    def _examples(self) -> Iterator[tuple[NamedText, Any]]:
        """Reads every example and its label; refuses all that is wrong at the end."""
        builder = builder_at(self._folder)
        source: Any = builder.as_data_source(self._split)
        named = self._named(builder.info.features[self._label])
        problems: list[str] = []
        absent = 0
        for index in range(len(source)):
            example = source[index]
            text, pair = _text(example[self._text], index, self._text, problems), None
            if self._pair is not None:
                pair = _text(example[self._pair], index, self._pair, problems)
            absent += bool(named and example[self._label] < 0)
            yield NamedText(text, pair, f"{self.name}/{index}"), example[self._label]
        if problems:
            raise DataError(f"{self.name}: these examples cannot be used:\n{listing(problems)}")
        if absent:
            raise DataError(
                f"{self.name}: {absent} of {len(source)} examples have no label (-1); use another "
                "split"
            )


def _text(value: Any, index: int, feature: str, problems: list[str]) -> str:
    if not isinstance(value, bytes | str):
        problems.append(f"example {index}: {feature} is {type(value).__name__}, expected a text")
        return ""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError as error:
        problems.append(f"example {index}: {feature} is not UTF-8: {error}")
        return ""
