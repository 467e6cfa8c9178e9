"""Models on disk: ``model/model.safetensors`` and ``model/model.json``, whole or not at all."""

import contextlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.data.whole_folder import to_disk
from tlearn.hub.carried_files import read_files, write_files
from tlearn.hub.errors import HubError, quoted
from tlearn.hub.json_file import read_json
from tlearn.hub.leaf import Leaf
from tlearn.hub.raw import file_sha256
from tlearn.hub.safetensors_file import read_safetensors, write_safetensors
from tlearn.hub.source import (
    Source,
    facts_from_json,
    facts_to_json,
    labels_from_json,
    tagged,
    untagged,
)
from tlearn.hub.verify import check_shapes, full_configs
from tlearn.params import nearest

_FORMAT = 1
_WEIGHTS, _FACTS = "model.safetensors", "model.json"
_PREVIOUS, _NEW = ".model-previous", ".model-new-"
_FILES = "files"
_KEYS = ("format", "body", "head", "label_names", "facts", "provenance", "files", "weights_sha256")
# What models saved by earlier versions lack.
_OPTIONAL = ("files", "weights_sha256")


def save_model(folder: str | Path, source: Source) -> Path:
    """Writes a source into a run folder, as ``folder/model/``.

    Everything is written beside it and renamed at the end: an error, a full disk or a kill leaves
    the model that was there before.

    Args:
        folder: The run folder; made if it is absent.
        source: What to write.

    Returns:
        The model folder.

    Raises:
        HubError: If it cannot be written; the folder is as it was.
    """
    folder = Path(folder).expanduser()
    target, previous = folder / "model", folder / _PREVIOUS
    fresh: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # What a killed save left; a run folder has one writer.
        for leftover in folder.glob(f"{_NEW}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix=_NEW, dir=folder))
        # mkdtemp is for secrets; a model is as readable as its folder.
        fresh.chmod(folder.stat().st_mode & 0o777)
        _write(fresh, source)
        if target.exists():
            if previous.exists():
                shutil.rmtree(previous)
            target.rename(previous)
        fresh.rename(target)
        # The new model is in place: a folder that cannot be synced is no reason to lose it.
        with contextlib.suppress(OSError):
            to_disk(folder)
        shutil.rmtree(previous, ignore_errors=True)
    except (OSError, TypeError, ValueError) as error:
        raise HubError(
            f"the model could not be written to {target}: {error}; what was there before is intact"
        ) from error
    finally:
        if previous.exists() and not target.exists():
            previous.rename(target)
        if fresh is not None and fresh.exists():
            shutil.rmtree(fresh, ignore_errors=True)
    return target


def _write(fresh: Path, source: Source) -> None:
    weights = fresh / _WEIGHTS
    arrays = {n: np.asarray(a) for n, a in tagged(source.params, source.collections).items()}
    write_safetensors(weights, arrays, {"format": "tlearn"})
    facts = {
        "format": _FORMAT,
        "body": source.body,
        "head": source.head,
        "label_names": source.label_names,
        "facts": facts_to_json(source.facts),
        "provenance": source.provenance,
        "files": write_files(fresh / _FILES, source.files),
        "weights_sha256": file_sha256(weights),
    }
    (fresh / _FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    for path in (weights, fresh / _FACTS, fresh):
        to_disk(path)


def read_run(folder: str | Path, *, read: bool = True) -> Source:
    """Reads the model of a run folder, or of its ``model`` folder.

    Args:
        folder: The folder.
        read: False leaves the weights in their file, unread and unchecked against their digest.

    Raises:
        HubError: If there is none, if a file is torn or altered, or if the arrays are not those of
            the body and head it describes.
    """
    place = _find(Path(folder).expanduser())
    described = _read_description(place / _FACTS)
    raw = read_safetensors(place / _WEIGHTS)
    stored = file_sha256(place / _WEIGHTS) if read else None
    claimed = described.get("weights_sha256")
    if read and claimed is not None and claimed != stored:
        raise HubError(
            f"{place / _WEIGHTS} is not the file that was saved: its SHA-256 is {stored}, "
            f"{_FACTS} says {quoted(claimed)}; restore it from a copy"
        )
    try:
        params, collections = untagged({name: Leaf(a) for name, a in raw.arrays.items()})
        checked = full_configs(described["body"], described["head"], len(raw.arrays))
        check_shapes(checked, params, collections)
        origin = described["provenance"]
        if not isinstance(origin, dict):
            raise HubError("provenance must be a dictionary")
        return Source(
            params=params,
            collections=collections,
            body=checked.body,
            head=checked.head,
            label_names=labels_from_json(described["label_names"]),
            facts=facts_from_json(described["facts"]),
            files=read_files(place / _FILES, described.get("files", {})),
            provenance={
                "spec": f"run:{folder}",
                "file": _WEIGHTS,
                "format": "tlearn",
                "sha256": stored,
                "licence": origin.get("licence"),
                "known_labels": _known_labels(origin.get("known_labels", {})),
                "origin": origin,
            },
        )
    except HubError as error:
        raise HubError(f"{place} holds no sound model: {error}") from error


def _find(folder: Path) -> Path:
    # The third is where a kill between two renames leaves the model that was good.
    for place in (folder / "model", folder, folder / _PREVIOUS):
        if (place / _FACTS).is_file() and (place / _WEIGHTS).is_file():
            return place
    if not folder.is_dir():
        beside = sorted(p.name for p in folder.parent.iterdir()) if folder.parent.is_dir() else []
        close = nearest(folder.name, beside)
        raise HubError(
            f"there is no run folder {folder}" + (f"; nearest: {', '.join(close)}" if close else "")
        )
    held = sorted(p.name for p in folder.iterdir())[:10]
    raise HubError(
        f"{folder} is no run folder with a model: it needs model/{_WEIGHTS} and model/{_FACTS}, "
        f"it holds {held}"
    )


def _read_description(path: Path) -> dict[str, Any]:
    described = read_json(path)
    if described.get("format") != _FORMAT:
        raise HubError(
            f"{path} has the format {quoted(described.get('format'))}; this version reads {_FORMAT}"
        )
    unknown = [key for key in described if key not in _KEYS]
    missing = [key for key in _KEYS if key not in described and key not in _OPTIONAL]
    if unknown or missing:
        hints = [f"{key!r} (nearest: {nearest(key, _KEYS, 1)})" for key in unknown[:10]]
        raise HubError(f"{path} has unknown keys {hints} and misses {missing}")
    return described


def _known_labels(value: Any) -> dict[str, str]:
    sound = isinstance(value, dict) and all(
        isinstance(name, str) and number.isdecimal() and len(number) < 10
        for number, name in value.items()
    )
    if not sound:
        raise HubError("known_labels must map numbers to names")
    return value
