"""From a TensorFlow checkpoint to a source, where its names are those of a known model."""

import dataclasses
from pathlib import Path

from tlearn.hub.checkpoint_folder import CheckpointFolder, carried_files
from tlearn.hub.errors import HubError, quoted
from tlearn.hub.folder_source import source_of
from tlearn.hub.json_file import read_json
from tlearn.hub.raw import RawFile
from tlearn.hub.source import Source
from tlearn.hub.tables import keras_sequential, tf_bert
from tlearn.hub.tables.folders import hf_family
from tlearn.hub.tf_checkpoint import find_checkpoint, read_tensorflow

_CONFIG = "bert_config.json"


def tensorflow_source(
    spec: str, place: str | Path, *, read: bool = True, pooling: str | None = None
) -> Source:
    """Makes a source of a SavedModel or a checkpoint of TensorFlow.

    Known are BERTs by the names of Google's TensorFlow 1 checkpoints (with ``bert_config.json`` and
    ``vocab.txt`` beside), and Keras Sequential models: a plain row of layers. Of all others, the
    BERTs of TensorFlow 2 among them, `tlearn.hub.read_tensorflow` gives the arrays by name.

    Args:
        spec: What was asked for, for provenance.
        place: As `tlearn.hub.tf_checkpoint.find_checkpoint` takes it.
        read: False leaves the weights unread: no digests in the provenance.
        pooling: How a text body shall make one vector of a row; None for the checkpoint's way.

    Raises:
        HubError: If the files are unsound, or hold no model known here.
    """
    prefix = find_checkpoint(place)
    raw = read_tensorflow(prefix)
    folder = prefix.parent.parent if _is_saved_model(prefix) else prefix.parent
    found = CheckpointFolder(
        path=folder,
        config={},
        arrays=raw.arrays,
        weights=_weights(prefix),
        format="tensorflow",
        aside=raw.aside,
        files=carried_files(folder),
    )
    try:
        if tf_bert.SIGNATURE in raw.arrays:
            if not (folder / _CONFIG).is_file():
                raise HubError(f"it is a BERT, but {_CONFIG} is not beside it: copy it there")
            config, arrays = tf_bert.as_hugging_face(read_json(folder / _CONFIG), raw.arrays)
            family = hf_family("bert")
        elif _is_saved_model(prefix):
            content = (folder / "saved_model.pb").read_bytes()
            config, arrays = keras_sequential.described(content), dict(raw.arrays)
            family = keras_sequential.FAMILY
        else:
            raise HubError(_unknown(raw))
    except (HubError, OSError) as error:
        raise HubError(f"{folder} cannot be loaded: {error}") from error
    found = dataclasses.replace(found, config=config, arrays=arrays)
    return source_of(spec, found, family, read=read, pooling=pooling)


def _is_saved_model(prefix: Path) -> bool:
    return prefix.name == "variables" and (prefix.parent.parent / "saved_model.pb").is_file()


def _weights(prefix: Path) -> tuple[Path, ...]:
    files = sorted(prefix.parent.glob(f"{prefix.name}.data-*-of-*"))
    return (*files, prefix.with_name(f"{prefix.name}.index"))


def _unknown(raw: RawFile) -> str:
    if any("standardized_conv2d" in name for name in raw.arrays):
        return (
            "it is a BiT ResNet-v2 (weight standardisation, GroupNorm, pre-activation), which the "
            "resnet body does not compute; take a timm or torchvision ResNet as the source"
        )
    shown = ", ".join(quoted(name) for name in list(raw.arrays)[:5])
    return (
        f"its {len(raw.arrays)} arrays are those of no model known here ({shown}...); "
        "tlearn.hub.read_tensorflow gives them by name"
    )
