"""Our models as folders that transformers and timm load, and back again bit for bit."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tlearn.bodies.facts import ImageFacts
from tlearn.hub.carried_files import write_files
from tlearn.hub.errors import HubError, listed
from tlearn.hub.foreign_classes import candidates, described_as, options_of_a_run, ways_out
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
from tlearn.hub.tables.folder_family import FolderFamily
from tlearn.hub.tables.folders import all_families

_LIBRARIES = {"hf": "transformers", "timm": "timm"}


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
    for family, came in candidates(source, format):
        try:
            described, config = described_as(family, source, came)
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
    remade = options_of_a_run(source) if format == "hf" else ""
    this = f"a run made with {remade} goes out as 'hf'; export this one" if remade else "export it"
    raise HubError(
        f"no class of {_LIBRARIES[format]} computes what this model does:\n{listed(reasons)}\n"
        f"{this} as {' or '.join(map(repr, ways_out(source, format)))} instead"
    )


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
