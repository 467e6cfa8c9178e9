"""Somebody's weights by one line of text: ``load("torch:resnet20.th")``."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlearn.bodies.facts import ImageFacts, TextFacts
from tlearn.hub.casts import to_float32
from tlearn.hub.checkpoint_folder import CONFIG, is_checkpoint_folder
from tlearn.hub.errors import HubError, quoted
from tlearn.hub.folder_source import folder_source
from tlearn.hub.hub_cache import hub_folder, kaggle_folder
from tlearn.hub.mapping import lazily
from tlearn.hub.model_folder import read_run
from tlearn.hub.npz_file import read_npz
from tlearn.hub.pooled import pooled
from tlearn.hub.raw import RawFile, file_sha256
from tlearn.hub.recognise import recognise
from tlearn.hub.safetensors_file import read_safetensors
from tlearn.hub.source import Source, facts_from_json, labels_from_json, untagged
from tlearn.hub.state_dict import strip_wrapper
from tlearn.hub.tf_source import tensorflow_source
from tlearn.hub.torch_file import read_torch
from tlearn.hub.vectors_source import vectors_source
from tlearn.hub.verify import check_shapes, full_configs
from tlearn.params import nearest

_FILES = ("torch", "safetensors", "npz")
_FOLDERS = ("hf", "timm")
_TENSORFLOW = ("tf", "tfhub", "kaggle")
_VECTORS = ("glove", "word2vec")
_KINDS = (*_FILES, "run", *_FOLDERS, *_TENSORFLOW, *_VECTORS)
EXPORT_KEY = "tlearn"
"""Where an exported file keeps what names and shapes cannot say."""


def load(
    spec: str,
    *,
    key: str | None = None,
    family: str | None = None,
    label_names: tuple[str, ...] | None = None,
    facts: ImageFacts | TextFacts | None = None,
    licence: str | None = None,
    pooling: str | None = None,
    read: bool = True,
) -> Source:
    """Loads weights to start from.

    Args:
        spec: ``torch:FILE``, ``safetensors:FILE``, ``npz:FILE``; ``run:FOLDER``; ``hf:FOLDER`` (or
            just a folder with a ``config.json``) or ``hf:org/name[@revision]``; ``timm:FOLDER`` or
            ``timm:name.tag``; ``tf:`` and a SavedModel folder or a checkpoint, of a model that
            `tlearn.hub.tf_source` knows; ``tfhub:`` (or ``kaggle:``) and such a folder or a handle
            ``owner/model/framework/variation``; ``glove:FILE`` and ``word2vec:FILE`` for words.
        key: Which of several state dicts of a torch file.
        family: Which mapping table, where names leave a doubt or the head is absent.
        label_names: Names of the head's outputs, in their order; replace those that are known.
        facts: How pictures or texts were prepared; replace those that are known.
        licence: The weights' licence, if the file does not say.
        pooling: How the body makes one vector of a text, where that is another than the folder's
            class would: ``mean`` for a sentence encoder. A pooler that is not read is left behind;
            one that is missing is not made up: `reconcile` asks for it by name.
        read: False leaves the numbers in their files, so that no digest is known: for a look at
            names and shapes.

    Returns:
        Float32 arrays under our names, read from the file when they are looked at. Narrower and
        wider floats are cast; ``provenance["casts"]`` names each.

    Raises:
        HubError: If the file is unsound, or is not exactly one known model.
    """
    kind, colon, place = spec.partition(":")
    if is_checkpoint_folder(Path(spec).expanduser()):
        kind, colon, place = "hf", ":", spec
    if not colon or kind not in _KINDS or not place:
        close = nearest(kind, _KINDS, 1) or list(_KINDS)
        if Path(spec).expanduser().is_dir():
            close, place = ["run"], spec
        raise HubError(
            f"{quoted(spec)} names no weights: write KIND:PATH with a kind of {list(_KINDS)}, "
            f"as in '{close[0]}:{place or (spec if not colon else 'PATH')}'"
        )
    if kind != "torch" and key is not None:
        raise HubError(f"key={key!r} chooses within torch files, not within {kind}")
    if kind not in _FILES and family is not None:
        raise HubError(f"family=... is for files of foreign names; {kind}: says what it is")
    if kind not in ("run", *_FOLDERS, *_TENSORFLOW) and pooling is not None:
        raise HubError(f"pooling={pooling!r} is for folders and runs, not for {kind}")
    if kind == "run":
        source = read_run(place, read=read)
        source = source if pooling is None else pooled(source, pooling)
    elif kind in _VECTORS:
        source = vectors_source(spec, place, read=read)
    elif kind in _FOLDERS:
        folder = hub_folder(place, "timm" if kind == "timm" else "")
        source = folder_source(spec, folder, read=read, pooling=pooling)
    elif kind in _TENSORFLOW:
        found = place if kind == "tf" else kaggle_folder(place)
        source = tensorflow_source(spec, found, read=read, pooling=pooling)
    else:
        readers = {"torch": lambda: read_torch(place, key), "npz": lambda: read_npz(place)}
        raw = readers.get(kind, lambda: read_safetensors(place))()
        source = _foreign(spec, Path(place).expanduser(), raw, family, read)
    return _override(source, label_names, facts, licence)


def _foreign(spec: str, path: Path, raw: RawFile, family: str | None, read: bool) -> Source:
    prefix = strip_wrapper(list(raw.arrays))
    arrays = {name.removeprefix(prefix): array for name, array in raw.arrays.items()}
    _refuse_own_names(path, arrays)
    try:
        shapes = {n: tuple(a.shape) for n, a in arrays.items()}
        chosen, known = recognise(shapes, family, advice=_folder_advice(path.parent))
        head = _linear(known.classes) if known.head is None else dict(known.head)
        checked = full_configs(known.body, head, len(arrays))
        mapped = lazily(known.table or chosen.table(checked.body, known.classes), arrays)
        params, collections = untagged(mapped)
        casts = {**to_float32(params), **to_float32(collections)}
        check_shapes(checked, params, collections)
        extra = _exported(raw.aside)
    except HubError as error:
        raise HubError(f"{path} cannot be loaded: {error}") from error
    labels = extra.get("label_names", known.label_names)
    return Source(
        params=params,
        collections=collections,
        body=checked.body,
        head=checked.head,
        label_names=labels,
        facts=extra.get("facts", known.facts),
        provenance={
            "spec": spec,
            "file": path.name,
            "format": raw.format,
            "sha256": file_sha256(path) if read else None,
            "bytes": path.stat().st_size,
            "table": chosen.name,
            "licence": next((raw.aside[k] for k in ("licence", "license") if k in raw.aside), None),
            "licence_beside": [p.name for p in sorted(path.parent.glob("LICEN[CS]E*"))][:3],
            "casts": casts,
            "stripped_prefix": prefix,
            "aside": {k: v for k, v in raw.aside.items() if k != EXPORT_KEY},
            "known_labels": {str(i): name for i, name in known.known_labels.items()},
            "assumed": [] if extra else list(known.assumed),
        },
    )


def _linear(classes: int | None) -> dict[str, Any] | None:
    return None if classes is None else {"family": "linear", "classes": classes}


def _refuse_own_names(path: Path, arrays: Mapping[str, Any]) -> None:
    if arrays and all(name.startswith(("params/", "batch_stats/")) for name in arrays):
        raise HubError(
            f"{path} holds a tlearn model's arrays, but its description lies beside it: "
            f"load it with 'run:{path.parent}'"
        )


def _folder_advice(folder: Path) -> str:
    """Says how the one file of a checkpoint folder is read: by its folder."""
    if is_checkpoint_folder(folder):
        return f"{CONFIG} lies beside it: load the folder: 'hf:{folder}'"
    lacks = "is missing beside it"
    if (folder / CONFIG).is_file():
        lacks = f"in {folder} names neither model_type nor architecture"
    return (
        f"a model of transformers or timm is read with its {CONFIG}, which {lacks}: "
        f"put the model's own there and load the folder: 'hf:{folder}'"
    )


def _exported(aside: Mapping[str, Any]) -> dict[str, Any]:
    """Reads what our own export put beside foreign names."""
    text = aside.get(EXPORT_KEY)
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise HubError(f"its metadata {EXPORT_KEY!r} is no JSON") from error
    if not isinstance(found, dict) or set(found) != {"label_names", "facts"}:
        raise HubError(f"its metadata {EXPORT_KEY!r} needs exactly label_names and facts")
    return {
        "label_names": labels_from_json(found["label_names"]),
        "facts": facts_from_json(found["facts"]),
    }


def _override(
    source: Source,
    label_names: tuple[str, ...] | None,
    facts: ImageFacts | TextFacts | None,
    licence: str | None,
) -> Source:
    changes: dict[str, Any] = {}
    if label_names is not None:
        changes["label_names"] = tuple(label_names)
    if facts is not None:
        changes["facts"] = facts
    if licence is not None:
        changes["provenance"] = {**source.provenance, "licence": licence}
    return dataclasses.replace(source, **changes) if changes else source
