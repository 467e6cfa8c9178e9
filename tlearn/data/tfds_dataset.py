"""TensorFlow Datasets through its data sources: random access, no TensorFlow."""

import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.data.dataset import ImageDataset, Pixels
from tlearn.data.errors import DataError, closest, listing

_REBUILD = "tfds.builder({name!r}, data_dir=..., file_format='array_record').download_and_prepare()"


class TfdsDataset(ImageDataset):
    """One split of a prepared TFDS dataset; pictures are decoded when asked for."""

    encoded = True

    def __init__(self, folder: str, split: str, image_key: str, label_key: str, name: str):
        """Opens one split of a prepared folder and reads its labels."""
        self.folder, self.split = folder, split
        self.image_key, self.label_key = image_key, label_key
        self.name = name
        self.label_names = tuple(builder_at(folder).info.features[label_key].names)
        self.labels = np.array(
            [self._raw[index][label_key] for index in range(len(self._raw))], dtype=np.int32
        )
        unlabelled = int(np.sum(self.labels < 0))
        if unlabelled:
            raise DataError(
                f"{name}: {unlabelled} of {len(self.labels)} examples have no label (-1); "
                "use another split"
            )

    @functools.cached_property
    def _decoded(self) -> Any:
        return builder_at(self.folder).as_data_source(self.split)

    @functools.cached_property
    def _raw(self) -> Any:
        import tensorflow_datasets as tfds

        skip: Any = {self.image_key: tfds.decode.SkipDecoding()}
        return builder_at(self.folder).as_data_source(self.split, decoders=skip)

    def __getstate__(self) -> dict[str, Any]:
        # Open files stay behind: another process opens its own.
        return {k: v for k, v in self.__dict__.items() if k not in ("_decoded", "_raw")}

    def image(self, index: int) -> Pixels:
        """Decodes one picture.

        Raises:
            DataError: Naming the example, if it cannot be decoded.
        """
        try:
            pixels = np.array(self._decoded[index][self.image_key])
        except Exception as error:
            raise DataError(f"{self.id(index)}: cannot be decoded: {error}") from error
        if pixels.ndim != 3 or pixels.dtype not in (np.uint8, np.float32):
            raise DataError(
                f"{self.id(index)}: {pixels.dtype} of shape {pixels.shape}, expected uint8 or "
                "float32 [h w c]"
            )
        return pixels

    def fingerprint(self, index: int) -> bytes:
        """Hashes one picture as it is stored."""
        return hashlib.sha256(self._raw[index][self.image_key]).digest()


def tfds_splits(
    where: str,
    *,
    data_dir: str | Path | None = None,
    image_key: str | None = None,
    label_key: str | None = None,
) -> dict[str, Callable[[], TfdsDataset]]:
    """Opens a prepared dataset by name, or by the folder that holds its ``dataset_info.json``.

    Nothing is downloaded here: prepare the dataset first, in the array_record format.

    Args:
        where: A name (``mnist``, ``name/config:1.0.0``) or a folder.
        data_dir: Where prepared datasets lie; TFDS's own default otherwise.
        image_key: The feature with the picture; by default the only image feature.
        label_key: The feature with the label; by default the only class label.

    Raises:
        DataError: If it is unknown, not prepared, stored as TFRecord, or has no such features.
    """
    builder = prepared(where, data_dir)
    info = builder.info
    name = info.name
    image_key = one_feature(info, image_key, "Image", "image_key")
    label_key = one_feature(info, label_key, "ClassLabel", "label_key")
    folder = str(builder.data_dir)

    def opener(split: str) -> Callable[[], TfdsDataset]:
        return lambda: TfdsDataset(folder, split, image_key, label_key, f"{name}/{split}")

    return {split: opener(split) for split in info.splits}


def prepared(where: str, data_dir: str | Path | None) -> Any:
    """Finds a dataset that is prepared in a form with random access.

    Raises:
        DataError: If it is unknown, not prepared or stored as TFRecord.
    """
    builder = find_builder(where, data_dir)
    info, name = builder.info, builder.info.name
    if not info.splits:
        raise DataError(
            f"TFDS dataset {name!r} is not prepared in {builder.data_dir}; prepare it once with "
            + _REBUILD.format(name=name)
        )
    if builder.info.file_format.value not in ("array_record", "parquet"):
        raise DataError(
            f"TFDS dataset {name!r} in {builder.data_dir} is stored as "
            f"{builder.info.file_format.value}, which needs TensorFlow and has no random access; "
            "store it again with " + _REBUILD.format(name=name)
        )
    return builder


def builder_at(folder: str) -> Any:
    """Opens a prepared dataset."""
    import tensorflow_datasets as tfds

    return tfds.builder_from_directory(folder)


def find_builder(where: str, data_dir: str | Path | None) -> Any:
    """Finds a dataset by name, or by a folder at or below which it was prepared.

    Raises:
        DataError: If there is none.
    """
    import tensorflow_datasets as tfds

    path = Path(where).expanduser()
    if path.is_dir():
        infos = sorted(path.glob("dataset_info.json")) or sorted(path.glob("*/dataset_info.json"))
        infos = infos or sorted(path.glob("*/*/dataset_info.json"))
        if len(infos) != 1:
            found = [str(info.parent) for info in infos]
            raise DataError(
                f"{path}: expected one prepared TFDS dataset (a folder with dataset_info.json) at "
                f"or below it, found {len(infos)}\n{listing(found)}"
            )
        return builder_at(str(infos[0].parent))
    if where.startswith((".", "/", "~")):
        raise DataError(f"{path}: no such folder")
    try:
        return tfds.builder(where, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        near = closest(where.partition("/")[0], tfds.list_builders(with_community_datasets=False))
        raise DataError(f"TFDS knows no dataset {where!r}: {near}") from error
    except (ValueError, AssertionError, KeyError) as error:
        raise DataError(f"TFDS cannot open {where!r}: {error}") from error


def one_feature(info: Any, key: str | None, kind: str, option: str) -> str:
    """Finds the one feature of a kind, or checks the one that was named."""
    # TFDS keeps features in no fixed order.
    features = dict(sorted(info.features.items())) if hasattr(info.features, "items") else {}
    of_kind = [name for name, feature in features.items() if type(feature).__name__ == kind]
    if key is not None and key in of_kind:
        return key
    if key is not None:
        raise DataError(f"{info.name}: {option}={key!r} is no {kind}: {closest(key, of_kind)}")
    supervised: Sequence[Any] = info.supervised_keys or ()
    chosen = [name for name in of_kind if name in supervised] or of_kind
    if len(chosen) != 1:
        raise DataError(
            f"{info.name}: expected one {kind} feature, found {chosen or 'none'} among "
            f"{', '.join(features) or 'no named features'}; choose with {option}="
        )
    return chosen[0]
