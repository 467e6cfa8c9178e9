"""How a sentence encoder's folder says that one vector is made of a row, read and written."""

import json
from collections.abc import Mapping
from typing import Any

from tlearn.hub.errors import HubError
from tlearn.hub.json_file import parse_json

POOLING = "1_Pooling/config.json"
"""The file that says it."""

_MODULES = "modules.json"
_OTHERS = ("sentence_bert_config.json", "config_sentence_transformers.json")
_BY_MODE = {
    "pooling_mode_cls_token": "first",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}


def pooling_said(files: Mapping[str, bytes]) -> str | None:
    """How the files say that a row is pooled; None if they don't.

    Raises:
        HubError: If they say so in a way that no body has.
    """
    if POOLING not in files:
        return None
    said = parse_json(files[POOLING], POOLING)
    modes = [key for key, value in said.items() if key.startswith("pooling_mode_") and value]
    if len(modes) != 1 or modes[0] not in _BY_MODE:
        raise HubError(
            f"{POOLING} pools by {modes}; one of {list(_BY_MODE)} is wanted, or say pooling=..."
        )
    return _BY_MODE[modes[0]]


def true_files(
    files: Mapping[str, bytes], body: Mapping[str, Any], headed: bool, class_pooling: str | None
) -> dict[str, bytes]:
    """Files for a folder to write, such that what they say of pooling is what the body does.

    Args:
        files: As they came.
        body: Config of the body.
        headed: Whether the folder gets a head: then its class says how the body pools.
        class_pooling: How the folder would be read without these files.
    """
    pooling = body.get("pooling")
    modes = {mine: mode for mode, mine in _BY_MODE.items()}
    if not headed and POOLING in files and pooling_said(files) == pooling:
        return dict(files)
    dropped = (POOLING, _MODULES, *_OTHERS) if POOLING in files else ()
    kept = {name: content for name, content in files.items() if name not in dropped}
    if headed or pooling == class_pooling or pooling not in modes:
        return kept
    flags = {mode: mode == modes[pooling] for mode in _BY_MODE}
    said = {"word_embedding_dimension": body["width"], **flags}
    kept[POOLING] = (json.dumps(said, indent=2) + "\n").encode()
    root = "sentence_transformers.models"
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": f"{root}.Transformer"},
        {"idx": 1, "name": "1", "path": POOLING.partition("/")[0], "type": f"{root}.Pooling"},
    ]
    kept[_MODULES] = (json.dumps(modules, indent=2) + "\n").encode()
    return kept
