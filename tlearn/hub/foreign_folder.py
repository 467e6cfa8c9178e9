"""Our models as folders that transformers and timm load, and back again bit for bit."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tlearn.bodies.facts import ImageFacts
from tlearn.hub.carried_files import write_files
from tlearn.hub.descent import came_by
from tlearn.hub.errors import HubError, listed
from tlearn.hub.export import torch_family
from tlearn.hub.image_facts import (
    PREPROCESSOR,
    facts_from_preprocessor,
    preprocessor_from_facts,
)
from tlearn.hub.joint import JOINT, discriminator
from tlearn.hub.mapping import Table, expand, invert, lazily
from tlearn.hub.model_card import Training, model_card
from tlearn.hub.model_folder import read_run
from tlearn.hub.new_folder import new_folder, refuse_taken
from tlearn.hub.safetensors_file import write_safetensors
from tlearn.hub.sentence_files import true_files
from tlearn.hub.source import Source, tagged
from tlearn.hub.tables.folder_family import Described, FolderFamily
from tlearn.hub.tables.folders import all_families

_LIBRARIES = {"hf": "transformers", "timm": "timm"}
# What stands before the body's names in a checkpoint with a head, where it is not the model type.
_PREFIXES = {"gpt2": "transformer.", "openai-gpt": "transformer.", "t5": ""}


@dataclasses.dataclass(frozen=True, eq=False)
class Foreign:
    """A model as its foreign class has it.

    Attributes:
        family: The table it goes by.
        config: Its config.json.
        arrays: Its arrays by foreign name, in foreign layout.
        architecture: The class, as transformers or timm call it.
        pooling: How it would be read to make one vector of a text; None if it has no such choice.
    """

    family: str
    config: dict[str, Any]
    arrays: dict[str, np.ndarray]
    architecture: str
    pooling: str | None


def export_folder(
    source: Source | str | Path,
    folder: str | Path,
    format: Literal["hf", "timm"] = "hf",
    *,
    training: Training | None = None,
) -> Path:
    """Writes a model as a folder that transformers (``hf``) or timm loads.

    The folder gets config.json, model.safetensors, the tokenizer and preprocessor files and a
    README.md, whole or not at all. ``load("hf:FOLDER")`` gives the same arrays, body, head, label
    names and facts back; settings that only matter in training may come back as the foreign
    class's own. Of a model trained to find replaced tokens it is the discriminator that is written;
    `tlearn.hub.generator` takes the other part out.

    Args:
        source: The model, or the folder of a run that has one.
        folder: Where to write: absent or empty.
        format: Whose layout.
        training: What is on record of its training, for the model card.

    Returns:
        The folder.

    Raises:
        HubError: If no class there computes what this model does, with every reason; if the target
            holds something, or cannot be written.
    """
    if not isinstance(source, Source):
        source = read_run(str(source).removeprefix("run:"))
    if source.head is not None and source.head.get("family") == JOINT:
        source = discriminator(source)
    target = Path(folder).expanduser()
    refuse_taken(target)
    model = as_foreign(source, format)
    card = model_card(
        source, name=target.name, form=format, architecture=model.architecture, training=training
    )
    with new_folder(target) as fresh:
        text = json.dumps(model.config, indent=2, ensure_ascii=False) + "\n"
        (fresh / "config.json").write_text(text, encoding="utf-8")
        write_safetensors(fresh / "model.safetensors", model.arrays, {"format": "pt"})
        write_files(fresh, _files(source, format, model.pooling))
        (fresh / "README.md").write_text(card, encoding="utf-8")
    return target


def as_foreign(source: Source, format: Literal["hf", "timm"]) -> Foreign:
    """Puts a model in the names, layout and config of a foreign class, if there is one for it.

    Raises:
        HubError: Naming, for every family of such bodies, why it cannot hold this one.
    """
    reasons: list[str] = []
    for family, came in _candidates(source, format):
        try:
            described, config = _described(family, source, came)
            flat = tagged(source.params, source.collections)
            table = family.table(described)
            arrays = {**_counters(table), **invert(table, flat)}
            pooling = _check_return(family, config, arrays, flat)
        except HubError as error:
            reasons.append(str(error))
            continue
        named = config.get("architectures") or [config.get("architecture", "")]
        return Foreign(family.name, config, arrays, str(named[0]), pooling)
    if not reasons:
        bodies = sorted({family.body for family in all_families() if family.origin == format})
        reasons = [
            f"its body is of the family {source.body['family']!r}; there are classes for {bodies}"
        ]
    raise HubError(
        f"no class of {_LIBRARIES[format]} computes what this model does:\n{listed(reasons)}\n"
        f"export it as {' or '.join(map(repr, _ways_out(source, format)))} instead"
    )


def _ways_out(source: Source, format: str) -> list[str]:
    """Which other forms can hold a model; StableHLO can hold every one."""
    ways = []
    for other in ("hf", "timm"):
        if other != format and any(_holds(*pair, source) for pair in _candidates(source, other)):
            ways.append(other)
    if torch_family(source) is not None:
        ways.append("torch")
    return [*ways, "stablehlo"]


def _holds(family: FolderFamily, came: Mapping[str, Any], source: Source) -> bool:
    try:
        _described(family, source, came)
    except HubError:
        return False
    return True


def _candidates(source: Source, format: str) -> list[tuple[FolderFamily, Mapping[str, Any]]]:
    """Lists the families of a body, with what is known of the checkpoint it came by."""
    came = came_by(source.provenance)
    found = [f for f in all_families() if f.origin == format and f.body == source.body["family"]]
    # The table that the weights came by first: BERT's arrays may be ELECTRA's as well.
    found.sort(key=lambda family: family.name != came.get("table"))
    return [(f, came if came.get("table") == f.name else {}) for f in found]


def _described(
    family: FolderFamily, source: Source, came: Mapping[str, Any]
) -> tuple[Described, dict[str, Any]]:
    """Describes a model as a family would have read it, and writes its config.

    Raises:
        HubError: If the family has no such model.
    """
    extra = came.get("extra")
    extra = dict(extra) if isinstance(extra, Mapping) else {}
    # How normalisations were spelled in 2018 is nothing to hand on.
    extra.pop("old_names", None)
    if came is not source.provenance:
        # Trained since: what the head was for then says nothing about the head of now.
        extra.pop("problem_type", None)
    architecture = came.get("architecture")
    described = Described(
        body=dict(source.body),
        head=None if source.head is None else dict(source.head),
        label_names=source.label_names,
        facts=source.facts,
        architecture=architecture if isinstance(architecture, str) else "",
        extra=extra,
    )
    config = family.write(described)
    if family.origin == "hf" and source.head is not None:
        model_type = str(config["model_type"])
        prefix = _PREFIXES.get(model_type, f"{model_type}.")
        described = dataclasses.replace(described, prefix=prefix)
    return described, config


def _counters(table: Table) -> dict[str, np.ndarray]:
    """The counters of PyTorch's BatchNorm: nothing here, but missed there when they are absent."""
    return {
        pair.source: np.zeros((), np.int64)
        for pair in expand(table)
        if pair.source.endswith(".num_batches_tracked")
    }


def _check_return(
    family: FolderFamily,
    config: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    flat: Mapping[str, Any],
) -> str | None:
    """Makes sure that what is written would be read as what it is; tells the pooling read."""
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    described = family.describe(config, shapes)
    back = lazily(family.table(described), arrays)
    if {name: tuple(leaf.shape) for name, leaf in back.items()} != {
        name: tuple(array.shape) for name, array in flat.items()
    }:
        raise HubError(f"{family.name} would read these arrays as another model's")
    return described.body.get("pooling")


def _files(source: Source, format: str, pooling: str | None) -> dict[str, bytes]:
    """Files that lie beside the weights: as they came, unless they would no longer be true."""
    if format != "hf":
        return {}
    files = true_files(source.files, source.body, source.head is not None, pooling)
    if isinstance(source.facts, ImageFacts):
        held = files.get(PREPROCESSOR)
        if held is None or facts_from_preprocessor(held)[0] != source.facts:
            written = json.dumps(preprocessor_from_facts(source.facts), indent=2) + "\n"
            files[PREPROCESSOR] = written.encode()
    return files
