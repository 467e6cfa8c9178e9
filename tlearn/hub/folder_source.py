"""From a checkpoint folder to a source: config described, names mapped, nothing read yet."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlearn.bodies.facts import ImageFacts, TextFacts
from tlearn.hub.casts import casts_of
from tlearn.hub.checkpoint_folder import CheckpointFolder, read_folder
from tlearn.hub.errors import HubError, listed, quoted
from tlearn.hub.image_facts import PREPROCESSOR, facts_from_preprocessor
from tlearn.hub.mapping import Table, matched
from tlearn.hub.pooled import pooled
from tlearn.hub.raw import file_sha256
from tlearn.hub.sentence_files import POOLING, pooling_said
from tlearn.hub.source import Source, untagged
from tlearn.hub.state_dict import strip_wrapper
from tlearn.hub.tables.folder_family import Described, FolderFamily
from tlearn.hub.tables.folders import hf_family, plain_family, timm_family
from tlearn.hub.text_facts import check_text
from tlearn.hub.verify import MISSING, Checked, full_configs, shape_problems


def folder_source(
    spec: str, folder: str | Path, *, read: bool = True, pooling: str | None = None
) -> Source:
    """Makes a source of a folder in the layout of Hugging Face or timm.

    Args:
        spec: What was asked for, for provenance.
        folder: Where it lies.
        read: False leaves the weight files untouched: no digests in the provenance.
        pooling: How the body shall make one vector of a row; None for what the folder says. A
            pooler that is not there is not made up: `reconcile` asks for it by name.

    Raises:
        HubError: If the folder is unsound, or is not exactly one known model; text models also if
            config and tokenizer contradict each other.
    """
    found = read_folder(folder)
    try:
        family = _family(found)
    except HubError as error:
        raise HubError(f"{found.path} cannot be loaded: {error}") from error
    return source_of(spec, found, family, read=read, pooling=pooling)


def source_of(
    spec: str,
    found: CheckpointFolder,
    family: FolderFamily,
    *,
    read: bool = True,
    pooling: str | None = None,
) -> Source:
    """Makes a source of a checkpoint whose family is known.

    Args:
        spec: What was asked for, for provenance.
        found: The checkpoint: config and arrays as the family names them.
        family: Its family.
        read: As `folder_source` takes it.
        pooling: As `folder_source` takes it.

    Raises:
        HubError: As `folder_source` does.
    """
    prefix = strip_wrapper(list(found.arrays))
    arrays = {name.removeprefix(prefix): array for name, array in found.arrays.items()}
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    try:
        described = _described(family, found, shapes)
        chosen = pooling
        if pooling is None and described.head is None and "pooling" in described.body:
            chosen = pooling_said(found.files)
        missing = chosen == "pooler" and not _has_pooler(family, described, arrays)
        if chosen is not None and not missing:
            described = _pooled(described, chosen)
        checked = full_configs(described.body, described.head, len(arrays))
        described = dataclasses.replace(described, body=checked.body, head=checked.head)
        params, collections, casts, problems = _mapped(family.table(described), checked, arrays)
        facts, assumed = described.facts, list(described.assumed)
        if chosen is not None and pooling is None:
            assumed.append(f"pools by {chosen!r}, as {POOLING} says")
        try:
            facts, more = _facts(found, checked, facts)
            assumed += more
        except HubError as error:
            problems.append(str(error))
        if problems:
            raise HubError(f"it is no sound {family.name}:\n{listed(problems)}")
    except HubError as error:
        raise HubError(f"{found.path} cannot be loaded: {error}") from error
    hashes = [file_sha256(file) if read else None for file in found.weights]
    source = Source(
        params=params,
        collections=collections,
        body=checked.body,
        head=checked.head,
        label_names=described.label_names,
        facts=facts,
        files=dict(found.files),
        provenance={
            "spec": spec,
            "file": found.weights[0].name,
            "format": found.format,
            "sha256": hashes[0] if len(hashes) == 1 else None,
            "weights": [
                {"file": file.name, "bytes": file.stat().st_size, "sha256": stored}
                for file, stored in zip(found.weights, hashes, strict=True)
            ],
            "bytes": sum(file.stat().st_size for file in found.weights),
            "table": family.name,
            "architecture": described.architecture,
            "prefix": described.prefix,
            "extra": dict(described.extra),
            "licence": _licence(found),
            "licence_beside": [p.name for p in sorted(found.path.glob("LICEN[CS]E*"))][:3],
            "casts": casts,
            "stripped_prefix": prefix,
            "aside": dict(found.aside),
            "known_labels": dict(described.extra.get("known_labels", {})),
            "assumed": assumed,
        },
    )
    return pooled(source, "pooler") if missing else source


def _mapped(
    table: Table, checked: Checked, arrays: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, str], list[str]]:
    """Maps and casts the arrays; lists all that is wrong with names, shapes and types."""
    leaves, problems = matched(table, arrays)
    params, collections = untagged(leaves)
    casts: dict[str, str] = {}
    for part in (params, collections):
        found, faults = casts_of(part)
        casts |= found
        problems += faults
    unfit = shape_problems(checked, params, collections)
    if problems:
        # What could not be mapped has been named as the file names it.
        unfit = [problem for problem in unfit if not MISSING.search(problem)]
    return params, collections, casts, problems + unfit


def _facts(
    found: CheckpointFolder, checked: Checked, known: ImageFacts | TextFacts | None
) -> tuple[ImageFacts | TextFacts | None, list[str]]:
    """How inputs were prepared, from what lies beside the weights; and what was assumed."""
    if "tokens" in checked.body_module.inputs:
        text = known if isinstance(known, TextFacts) else None
        return check_text(found.config, found.files, checked.body, text)
    if known is None and PREPROCESSOR in found.files:
        side = checked.body.get("image_size")
        facts, assumed = facts_from_preprocessor(found.files[PREPROCESSOR], side)
        return facts, list(assumed)
    return known, []


def _family(found: CheckpointFolder) -> FolderFamily:
    model_type, architecture = found.config.get("model_type"), found.config.get("architecture")
    if isinstance(architecture, str) and model_type in (None, "timm_wrapper"):
        return timm_family(architecture)
    plain = plain_family(found.config) if model_type is None else None
    if plain is not None:
        return plain
    if not isinstance(model_type, str):
        raise HubError(
            f"its config.json has no model_type (and no timm architecture): {quoted(model_type)}"
        )
    return hf_family(model_type)


def _described(
    family: FolderFamily, found: CheckpointFolder, shapes: dict[str, tuple[int, ...]]
) -> Described:
    try:
        return family.describe(found.config, shapes)
    except HubError as error:
        raise HubError(f"its config is that of {family.name}, but {error}") from error
    except (KeyError, TypeError, AttributeError, ArithmeticError, IndexError, ValueError) as error:
        # A config may hold anything where a number was expected.
        raise HubError(
            f"its config.json does not describe a model of {family.name}: "
            f"{type(error).__name__}: {str(error)[:200]}"
        ) from error


def _pooled(described: Described, pooling: str) -> Described:
    """Another pooling than the folder's; weights that it does not read are left behind."""
    if "pooling" not in described.body:
        raise HubError(f"pooling={pooling!r}: the body {described.body['family']!r} has no choice")
    return dataclasses.replace(described, body={**described.body, "pooling": pooling})


def _has_pooler(family: FolderFamily, described: Described, arrays: Mapping[str, Any]) -> bool:
    """Whether the arrays hold what a body reads that pools by its pooler."""
    table = family.table(_pooled(described, "pooler"))
    names = [row.source for row in table.rows if row.target.startswith("params/body/pooler/")]
    return bool(names) and all(name in arrays for name in names)


def _licence(found: CheckpointFolder) -> Any:
    """The licence, if the weights, the config or the model card's head name it."""
    for held in (found.aside, found.config, found.config.get("pretrained_cfg")):
        if isinstance(held, dict):
            for key in ("licence", "license"):
                if isinstance(held.get(key), str):
                    return held[key]
    try:
        with (found.path / "README.md").open(encoding="utf-8", errors="replace") as card:
            if card.readline().strip() != "---":
                return None
            for line, _ in zip(card, range(200), strict=False):
                if line.strip() == "---":
                    return None
                if line.startswith("license:"):
                    return line.partition(":")[2].strip() or None
    except OSError:
        return None
    return None
