"""Somebody's weights by one line of text: ``load("torch:resnet20.th")``."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.bodies.facts import ImageFacts
from tlearn.hub.errors import HubError, quoted
from tlearn.hub.mapping import apply
from tlearn.hub.model_folder import read_run
from tlearn.hub.npz_file import read_npz
from tlearn.hub.raw import RawFile, file_sha256
from tlearn.hub.recognise import recognise
from tlearn.hub.safetensors_file import read_safetensors
from tlearn.hub.source import Source, facts_from_json, labels_from_json, untagged
from tlearn.hub.state_dict import strip_wrapper
from tlearn.hub.torch_file import read_torch
from tlearn.hub.verify import check_shapes, full_configs
from tlearn.params import nearest

_READERS = ("torch", "safetensors", "npz", "run")
EXPORT_KEY = "tlearn"
"""Where an exported file keeps what names and shapes cannot say."""


def load(
    spec: str,
    *,
    key: str | None = None,
    family: str | None = None,
    label_names: tuple[str, ...] | None = None,
    facts: ImageFacts | None = None,
    licence: str | None = None,
) -> Source:
    """Loads weights to start from.

    Args:
        spec: ``torch:FILE``, ``safetensors:FILE``, ``npz:FILE`` or ``run:FOLDER``.
        key: Which of several state dicts of a torch file.
        family: Which mapping table, where names leave a doubt or the head is absent.
        label_names: Names of the head's outputs, in their order; replace those that are known.
        facts: How pictures were prepared; replace those that are known.
        licence: The weights' licence, if the file does not say.

    Returns:
        Float32 arrays under our names. Narrower and wider floats are cast; ``provenance["casts"]``
        names each.

    Raises:
        HubError: If the file is unsound, or is not exactly one known model.
    """
    kind, colon, place = spec.partition(":")
    if not colon or kind not in _READERS or not place:
        close = nearest(kind, _READERS, 1) or list(_READERS)
        if Path(spec).expanduser().is_dir():
            close, place = ["run"], spec
        raise HubError(
            f"{quoted(spec)} names no weights: write KIND:PATH with a kind of {list(_READERS)}, "
            f"as in '{close[0]}:{place or (spec if not colon else 'PATH')}'"
        )
    if kind != "torch" and key is not None:
        raise HubError(f"key={key!r} chooses within torch files, not within {kind}")
    if kind == "run":
        if family is not None:
            raise HubError("family=... is for foreign names; a run says what it is")
        return _override(read_run(place), label_names, facts, licence)
    if kind == "torch":
        raw = read_torch(place, key)
    else:
        raw = read_safetensors(place) if kind == "safetensors" else read_npz(place)
    source = _foreign(spec, Path(place).expanduser(), raw, family)
    return _override(source, label_names, facts, licence)


def _foreign(spec: str, path: Path, raw: RawFile, family: str | None) -> Source:
    prefix = strip_wrapper(list(raw.arrays))
    arrays = {name.removeprefix(prefix): array for name, array in raw.arrays.items()}
    _refuse_own_names(path, arrays)
    try:
        chosen, known = recognise({n: tuple(a.shape) for n, a in arrays.items()}, family)
        checked = full_configs(known.body, _linear(known.classes), len(arrays))
        mapped = apply(chosen.table(checked.body, known.classes), arrays)
        params, collections = untagged(mapped)
        casts = {**_to_float32(params), **_to_float32(collections)}
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
            "sha256": file_sha256(path),
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


def _to_float32(arrays: dict[str, np.ndarray]) -> dict[str, str]:
    """Casts floats to float32 in place of the old arrays; says from what."""
    casts: dict[str, str] = {}
    for path, array in arrays.items():
        if array.dtype == np.float32:
            continue
        name = array.dtype.name
        if name not in ("float16", "bfloat16", "float64"):
            raise HubError(
                f"{path!r} has the type {name}: parameters are float16, 32, 64 or bfloat16"
            )
        with np.errstate(over="ignore"):
            arrays[path] = array.astype(np.float32)
        casts[path] = name
    return casts


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
    facts: ImageFacts | None,
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
