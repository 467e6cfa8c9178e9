"""Our models under the names PyTorch code expects, and back again bit for bit."""

import json
import os
import tempfile
from pathlib import Path

import numpy as np

from tlearn.hub.errors import HubError
from tlearn.hub.loader import EXPORT_KEY
from tlearn.hub.mapping import invert
from tlearn.hub.model_folder import read_run
from tlearn.hub.recognise import families
from tlearn.hub.safetensors_file import write_safetensors
from tlearn.hub.source import Source, facts_to_json, tagged
from tlearn.hub.tables.family import Family


def export_torch_names(source: Source | str | Path, file: str | Path) -> Path:
    """Writes a model as a safetensors or NumPy file with PyTorch's names and layouts.

    ``load("safetensors:FILE")`` gives the same arrays, body, head, label names and facts back, and
    so does ``load("npz:FILE")`` of a file whose name ends in ``.npz``.
    Settings that only matter in training (drop-path, momentum, dtype) do not travel.

    Args:
        source: The model, or the folder of a run that has one.
        file: Where to write; replaced as a whole if it exists.

    Returns:
        The file.

    Raises:
        HubError: If PyTorch code of these names would compute something else: another stem,
            padding, epsilon, normalisation or head; or if the file cannot be written.
    """
    if not isinstance(source, Source):
        source = read_run(str(source).removeprefix("run:"))
    reasons: list[str] = []
    family = torch_family(source, reasons)
    if family is None:
        raise HubError(
            f"no PyTorch naming fits this {source.body['family']} body: "
            + ("; ".join(reasons) or "its family has no table")
        )
    if family.written is None:
        table = family.table(source.body, source.head["classes"] if source.head else None)
    else:
        table = family.written(source.body, source.head)
    arrays = invert(table, tagged(source.params, source.collections))
    return _write(Path(file).expanduser(), arrays, source, family.name)


def torch_family(source: Source, reasons: list[str] | None = None) -> Family | None:
    """Finds the PyTorch naming that a model fits, if there is one.

    Args:
        source: The model.
        reasons: Filled with why the namings of such bodies don't fit.
    """
    said = [] if reasons is None else reasons
    for family in families().values():
        if family.body != source.body["family"]:
            continue
        unfit = family.unfit(source.body)
        if unfit:
            said.append(f"{family.name} cannot hold {unfit}")
        elif source.head is not None and (
            source.head["family"] not in family.heads
            or (source.head["family"] == "linear" and not source.head.get("use_bias", True))
        ):
            said.append(
                f"the head {source.head['family']!r} has no name in {family.name}: "
                f"only {' and '.join(family.heads)} heads can be exported"
            )
        else:
            return family
    return None


def _write(file: Path, arrays: dict[str, np.ndarray], source: Source, table: str) -> Path:
    labels = list(source.label_names) if source.label_names is not None else None
    carried = {"label_names": labels, "facts": facts_to_json(source.facts)}
    metadata = {"format": "pt", "table": table, EXPORT_KEY: json.dumps(carried)}
    licence = source.provenance.get("licence")
    if isinstance(licence, str):
        metadata["licence"] = licence
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, fresh = tempfile.mkstemp(prefix=".export-", suffix=".tmp", dir=file.parent)
    except OSError as error:
        raise HubError(f"cannot write {file}: {error}") from error
    os.close(handle)
    try:
        if file.suffix == ".npz":
            told = {EXPORT_KEY: np.array(metadata[EXPORT_KEY])}
            with Path(fresh).open("wb") as stream:
                np.savez(stream, allow_pickle=False, **told, **arrays)
        else:
            write_safetensors(fresh, arrays, metadata)
        # mkstemp is for secrets; weights to hand on are not.
        os.chmod(fresh, 0o644)
        os.replace(fresh, file)
    except OSError as error:
        raise HubError(f"cannot write {file}: {error}") from error
    finally:
        Path(fresh).unlink(missing_ok=True)
    return file
