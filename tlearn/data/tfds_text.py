"""Texts from TensorFlow Datasets through its data sources: no TensorFlow."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.data.errors import DataError, listing
from tlearn.data.text_columns import Columns, Places, find_columns
from tlearn.data.text_dataset import TextDataset
from tlearn.data.text_files import LabelKind, coded
from tlearn.data.tfds_dataset import builder_at, prepared


def tfds_text_splits(
    where: str,
    columns: Columns,
    *,
    labels: LabelKind = "auto",
    data_dir: str | Path | None = None,
) -> dict[str, Callable[[], TextDataset]]:
    """Opens a prepared dataset of texts by name or folder; a split is read whole.

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

    def opener(split: str) -> Callable[[], TextDataset]:
        return lambda: _read(folder, split, list(features), places, labels, f"{name}/{split}")

    return {split: opener(split) for split in info.splits}


def _read(
    folder: str, split: str, features: list[str], places: Places, labels: LabelKind, name: str
) -> TextDataset:
    builder = builder_at(folder)
    source: Any = builder.as_data_source(split)
    text, label = features[places.text], features[places.label or 0]
    pair = None if places.pair is None else features[places.pair]
    texts, pairs, found, problems = [], [], [], []
    for index in range(len(source)):
        example = source[index]
        texts.append(_text(example[text], index, text, problems))
        if pair is not None:
            pairs.append(_text(example[pair], index, pair, problems))
        found.append(example[label])
    if problems:
        raise DataError(f"{name}: these examples cannot be used:\n{listing(problems)}")
    given = None if pair is None else pairs
    kind = builder.info.features[label]
    if type(kind).__name__ == "ClassLabel" and labels != "number":
        numbers = np.array(found, np.int32)
        absent = int(np.sum(numbers < 0))
        if absent:
            raise DataError(
                f"{name}: {absent} of {len(numbers)} examples have no label (-1); use another split"
            )
        return TextDataset(texts, numbers, tuple(kind.names), pairs=given, name=name)
    if np.issubdtype(kind.np_dtype, np.floating) and labels == "auto":
        labels = "number"
    # float32 from its own digits: 3.8 rather than 3.7999999523.
    spelt = [x.decode() if isinstance(x, bytes) else str(np.asarray(x)[()]) for x in found]
    numbers, names = coded(spelt, labels)
    return TextDataset(texts, numbers, names, pairs=given, name=name)


def _text(value: Any, index: int, feature: str, problems: list[str]) -> str:
    if not isinstance(value, bytes | str):
        problems.append(f"example {index}: {feature} is {type(value).__name__}, expected a text")
        return ""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError as error:
        problems.append(f"example {index}: {feature} is not UTF-8: {error}")
        return ""
