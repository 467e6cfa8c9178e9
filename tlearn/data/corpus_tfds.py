"""A corpus out of TensorFlow Datasets, through its data sources: no TensorFlow."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlearn.data.corpus import Corpus, Document, add_text, digest_of
from tlearn.data.errors import DataError, closest
from tlearn.data.text_columns import Columns, find_columns
from tlearn.data.tfds_dataset import builder_at, prepared


class TfdsCorpus(Corpus):
    """The texts of a prepared dataset, one example a document, read one at a time."""

    def __init__(
        self,
        where: str,
        split: str = "train",
        *,
        text_field: str = "",
        data_dir: str | Path | None = None,
    ):
        """Finds the dataset; nothing is downloaded here, and no text is read yet.

        Args:
            where: A name (``imdb_reviews/plain_text``, ``wikipedia/20230601.en``) or a folder.
            split: A split, or several joined by ``+`` (``train+unsupervised``).
            text_field: The feature that is the text; the usual names if empty.
            data_dir: Where prepared datasets lie; TFDS's own default otherwise.

        Raises:
            DataError: If it is unknown, not prepared, stored as TFRecord, or has no such split or
                feature.
        """
        builder = prepared(where, data_dir)
        info = builder.info
        features = dict(sorted(info.features.items())) if hasattr(info.features, "items") else {}
        base = info.full_name.rpartition(":")[0] or info.name
        self.splits = tuple(part.strip() for part in split.split("+"))
        for part in self.splits:
            if part not in info.splits:
                raise DataError(
                    f"TFDS dataset {base!r} has no split {part!r}: {closest(part, info.splits)}"
                )
        columns = tuple(features)
        asked = Columns(text=text_field)
        places = find_columns(
            f"TFDS dataset {base!r}", columns, len(features), asked, labelled=False
        )
        self._fields = [columns[places.text]]
        if places.pair is not None:
            self._fields.append(columns[places.pair])
        self.name = f"{base}/{split}"
        self._folder = str(builder.data_dir)

    def __iter__(self) -> Iterator[Document]:
        """Reads the examples in their order.

        Raises:
            DataError: Naming the example whose text is no text.
        """
        builder = builder_at(self._folder)
        for split in self.splits:
            source: Any = builder.as_data_source(split)
            for index in range(len(source)):
                example, where = source[index], f"{split}/{index}"
                texts = [self._text(example[field], where, field) for field in self._fields]
                yield Document("\n".join(texts), where)

    def _text(self, value: Any, where: str, field: str) -> str:
        if not isinstance(value, bytes | str):
            raise DataError(
                f"{self.name}: example {where}: {field} is {type(value).__name__}, expected a text"
            )
        try:
            text = value.decode() if isinstance(value, bytes) else value
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.name}: example {where}: {field} is not UTF-8: {error}"
            ) from error
        if "\0" in text:
            raise DataError(f"{self.name}: example {where}: {field} holds a NUL character")
        return text

    @property
    def parts(self) -> dict[str, str]:
        """SHA-256 of the texts of all splits together."""
        code = hashlib.sha256()
        for document in self:
            add_text(code, document)
        return {self.name: code.hexdigest()}

    @property
    def digest(self) -> str:
        """SHA-256 of the texts, which are read through."""
        return digest_of("tfds", self.parts)
