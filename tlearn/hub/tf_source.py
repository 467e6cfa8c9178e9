"""From a TensorFlow checkpoint to a source, where its names are those of a known model."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.hub.checkpoint_folder import CheckpointFolder, carried_files
from tlearn.hub.errors import HubError, quoted
from tlearn.hub.folder_source import source_of
from tlearn.hub.json_file import read_json
from tlearn.hub.raw import RawFile
from tlearn.hub.saved_model import GRAPH_FILE, keras_descriptions
from tlearn.hub.source import Source
from tlearn.hub.tables import bit_google, keras_sequential, tf_bert, tf_encoder
from tlearn.hub.tables.folder_family import FolderFamily
from tlearn.hub.tables.folders import hf_family
from tlearn.hub.tf_checkpoint import find_checkpoint, read_tensorflow
from tlearn.hub.tf_encoder_config import encoder_config

_CONFIG = "bert_config.json"
_TOKENIZER = "tokenizer_config.json"


def tensorflow_source(
    spec: str, place: str | Path, *, read: bool = True, pooling: str | None = None
) -> Source:
    """Makes a source of a SavedModel or a checkpoint of TensorFlow.

    Known are BERTs by the names of Google's TensorFlow 1 checkpoints (with ``bert_config.json`` and
    ``vocab.txt`` beside); the encoders of TensorFlow 2's Model Garden and TensorFlow Hub (BERT,
    ALBERT, ELECTRA: `tlearn.hub.tables.tf_encoder`); BiTs by the names of their publication
    (`tlearn.hub.tables.bit_google`); and Keras Sequential models: a plain row of layers. Of all
    others `tlearn.hub.read_tensorflow` gives the arrays by name.

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
        files=_files(folder, raw.arrays),
    )
    try:
        found, family, assumed = _recognised(found, _is_saved_model(prefix), raw)
    except (HubError, OSError) as error:
        raise HubError(f"{folder} cannot be loaded: {error}") from error
    source = source_of(spec, found, family, read=read, pooling=pooling)
    told = [*source.provenance["assumed"], *assumed]
    return dataclasses.replace(source, provenance={**source.provenance, "assumed": told})


def _recognised(
    found: CheckpointFolder, saved_model: bool, raw: RawFile
) -> tuple[CheckpointFolder, FolderFamily, list[str]]:
    """The checkpoint as its family names it, the family, and what was assumed."""
    folder = found.path
    kind = tf_encoder.encoder_of(raw.arrays)
    if tf_bert.SIGNATURE in raw.arrays:
        if not (folder / _CONFIG).is_file():
            raise HubError(f"it is a BERT, but {_CONFIG} is not beside it: copy it there")
        config, arrays = tf_bert.as_hugging_face(read_json(folder / _CONFIG), raw.arrays)
        return _renamed(found, config, arrays), hf_family("bert"), []
    if kind is not None:
        said, assumed = encoder_config(folder, saved_model)
        config, arrays, left = tf_encoder.as_hugging_face(kind, said, raw.arrays)
        skipped = sorted([*found.aside.get("skipped", ()), *left])
        found = dataclasses.replace(found, aside={**found.aside, "skipped": skipped})
        return _renamed(found, config, arrays), hf_family(kind), assumed
    stems = [name for name in raw.arrays if name.endswith(bit_google.STEM)]
    if len(stems) == 1:
        prefix = stems[0].removesuffix(bit_google.STEM)
        named = {f"resnet/{name.removeprefix(prefix)}": a for name, a in raw.arrays.items()}
        return _renamed(found, {}, named), bit_google.FOLDER_FAMILY, []
    if saved_model:
        config = keras_sequential.described(next(keras_descriptions(folder), None))
        return _renamed(found, config, dict(raw.arrays)), keras_sequential.FAMILY, []
    raise HubError(_unknown(raw))


def _renamed(
    found: CheckpointFolder, config: dict[str, Any], arrays: Mapping[str, np.ndarray]
) -> CheckpointFolder:
    return dataclasses.replace(found, config=config, arrays=arrays)


def _files(folder: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """Tokenizer files beside the weights, or among a SavedModel's assets."""
    files = carried_files(folder)
    assets = folder / "assets"
    if assets.is_dir():
        files = {**carried_files(assets), **files}
        models = sorted(assets.glob("*.model"))
        if len(models) == 1 and not any(name.endswith(".model") for name in files):
            files["spiece.model"] = models[0].read_bytes()
    lowercase = arrays.get(tf_encoder.LOWERCASE)
    if lowercase is not None and lowercase.size == 1 and _TOKENIZER not in files:
        said = {tf_encoder.LOWERCASE: bool(lowercase.item())}
        files[_TOKENIZER] = (json.dumps(said) + "\n").encode()
    return files


def _is_saved_model(prefix: Path) -> bool:
    return prefix.name == "variables" and (prefix.parent.parent / GRAPH_FILE).is_file()


def _weights(prefix: Path) -> tuple[Path, ...]:
    files = sorted(prefix.parent.glob(f"{prefix.name}.data-*-of-*"))
    return (*files, prefix.with_name(f"{prefix.name}.index"))


def _unknown(raw: RawFile) -> str:
    shown = ", ".join(quoted(name) for name in list(raw.arrays)[:5])
    return (
        f"its {len(raw.arrays)} arrays are those of no model known here ({shown}...); "
        "tlearn.hub.read_tensorflow gives them by name"
    )
