"""The families of checkpoint folders by what their ``config.json`` calls itself."""

import importlib
from collections.abc import Mapping
from typing import Any

from tlearn.hub.errors import HubError, quoted
from tlearn.hub.tables.folder_family import FolderFamily
from tlearn.params import nearest

# "module:attribute" strings: a table is imported when a folder asks for it. An attribute may be
# one family or a tuple of families.
HF: dict[str, str] = {
    "albert": "tlearn.hub.tables.hf_albert:FAMILY",
    "bert": "tlearn.hub.tables.hf_bert:FAMILY",
    "camembert": "tlearn.hub.tables.hf_roberta:FAMILY",
    "distilbert": "tlearn.hub.tables.hf_distilbert:FAMILY",
    "electra": "tlearn.hub.tables.hf_electra:FAMILY",
    "gpt2": "tlearn.hub.tables.hf_gpt:FAMILIES",
    "openai-gpt": "tlearn.hub.tables.hf_gpt:FAMILIES",
    "roberta": "tlearn.hub.tables.hf_roberta:FAMILY",
    "t5": "tlearn.hub.tables.hf_t5:FAMILY",
    "xlm-roberta": "tlearn.hub.tables.hf_roberta:FAMILY",
    "deit": "tlearn.hub.tables.hf_vit:FAMILY",
    "resnet": "tlearn.hub.tables.hf_resnet:FAMILY",
    "vit": "tlearn.hub.tables.hf_vit:FAMILY",
}
"""By ``model_type``."""

TIMM: dict[str, str] = {
    "deit_": "tlearn.hub.tables.timm_vit:FAMILY",
    "deit3_": "tlearn.hub.tables.timm_vit:FAMILY",
    "flexivit_": "tlearn.hub.tables.timm_vit:FAMILY",
    "resnet": "tlearn.hub.tables.timm_resnet:FAMILY",
    "resnetv2_": "tlearn.hub.tables.timm_bit:FAMILY",
    "vit_": "tlearn.hub.tables.timm_vit:FAMILY",
}
"""By the beginning of ``architecture``; the longest that fits counts."""

PLAIN: dict[tuple[str, ...], str] = {
    ("dim", "depth", "heads", "mlp_dim", "patch_size"): "tlearn.hub.tables.vit_pytorch:FAMILY",
}
"""By the keys of a config that names neither."""


def plain_family(config: Mapping[str, Any]) -> FolderFamily | None:
    """Finds the family of a folder whose config names no model type, by the config's keys."""
    for keys, spec in PLAIN.items():
        if all(key in config for key in keys):
            return _family(spec, "")
    return None


def hf_family(model_type: str) -> FolderFamily:
    """Finds the family of a Hugging Face folder.

    Raises:
        HubError: If the model type is unknown, with the nearest known.
    """
    if model_type not in HF:
        raise HubError(_unknown("model_type", model_type, HF))
    return _family(HF[model_type], model_type)


def timm_family(architecture: str) -> FolderFamily:
    """Finds the family of a timm folder.

    Raises:
        HubError: If the architecture is unknown, with the nearest known.
    """
    fitting = [prefix for prefix in TIMM if architecture.startswith(prefix)]
    if not fitting:
        raise HubError(_unknown("architecture", architecture, TIMM))
    prefix = max(fitting, key=len)
    return _family(TIMM[prefix], prefix)


def all_families() -> tuple[FolderFamily, ...]:
    """Lists every family once; imports all tables."""
    found: dict[str, FolderFamily] = {}
    for key, spec in (*HF.items(), *TIMM.items(), *(("", spec) for spec in PLAIN.values())):
        family = _family(spec, key)
        found[family.name] = family
    return tuple(found.values())


def _family(spec: str, key: str) -> FolderFamily:
    module, _, attribute = spec.partition(":")
    value = getattr(importlib.import_module(module), attribute)
    families = value if isinstance(value, tuple) else (value,)
    return next(family for family in families if key in family.model_types)


def _unknown(field: str, value: str, known: dict[str, str]) -> str:
    close = nearest(value, known, 3)
    return (
        f"its {field} {quoted(value)} is no family known here"
        + (f"; nearest: {', '.join(map(repr, close))}" if close else "")
        + f" (known: {', '.join(sorted(known)) or 'none'})"
    )
