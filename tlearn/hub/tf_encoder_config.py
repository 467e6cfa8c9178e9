"""What lies beside a TensorFlow 2 encoder's arrays: a config, Keras' description, the graph."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlearn.hub.errors import HubError, quoted
from tlearn.hub.json_file import read_json
from tlearn.hub.saved_model import keras_descriptions, operations

_CONFIGS = ("bert_config.json", "albert_config.json", "electra_config.json")
# What Keras' description of an encoder calls the keys of Hugging Face's config.
_KEYS = {
    "num_layers": "num_hidden_layers",
    "output_dropout": "hidden_dropout_prob",
    "dropout_rate": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "attention_dropout_rate": "attention_probs_dropout_prob",
}
_ACTIVATIONS = (("Erf", "gelu"), ("Relu", "relu"), ("Tanh", "gelu_new"))
_GELU = "gelu_new"
"""What the Model Garden computes where a config says ``gelu``: the tanh form."""


def encoder_config(folder: Path, saved_model: bool) -> tuple[dict[str, Any], list[str]]:
    """Reads what is known of an encoder beside its arrays, under the keys of Hugging Face's config.

    A SavedModel's graph shows its activation. A checkpoint's is what a config beside it says, in
    the Model Garden's meaning.

    Args:
        folder: Where it lies; a SavedModel's ``assets`` are looked through too.
        saved_model: Whether it is a SavedModel.

    Returns:
        The config, and what was assumed.

    Raises:
        HubError: If a file is unsound, or the encoder normalises before its parts.
    """
    said: dict[str, Any] = {}
    assumed: list[str] = []
    for place in (folder, folder / "assets"):
        name = next((name for name in _CONFIGS if (place / name).is_file()), None)
        if name is not None:
            said = read_json(place / name)
            break
    if saved_model:
        described = _described(folder)
        if described.get("norm_first"):
            raise HubError("its blocks normalise first (norm_first), which the body here does not")
        told = {_KEYS[key]: value for key, value in described.items() if key in _KEYS}
        said = {**told, **said, "hidden_act": _activation(folder)}
    elif said.get("hidden_act", "gelu") == "gelu":
        assumed.append("gelu is computed by tanh, as TensorFlow's Model Garden does")
        said["hidden_act"] = _GELU
    return said, assumed


def _described(folder: Path) -> Mapping[str, Any]:
    """Keras' config of the encoder within the model; empty if there is none."""
    for found in keras_descriptions(folder):
        config = found.get("config")
        nested = config.get("layers", ()) if isinstance(config, Mapping) else ()
        for each in (found, *(nested if isinstance(nested, list) else ())):
            config = each.get("config") if isinstance(each, Mapping) else None
            if isinstance(config, Mapping) and {"num_layers", "hidden_size"} <= config.keys():
                return config
    return {}


def _activation(folder: Path) -> str:
    """The activation that the graph computes beside its attentions, one in every block."""
    kinds = max(operations(folder), key=lambda kinds: kinds["Softmax"], default=None)
    blocks = kinds["Softmax"] if kinds else 0
    if not kinds or not blocks:
        raise HubError("its graph computes no attention: it is no encoder that is known here")
    for kind, name in _ACTIVATIONS:
        if kinds[kind] >= blocks:
            return name
    raise HubError(
        f"its graph has {blocks} attentions, but the activation between them is none of "
        f"{[name for _, name in _ACTIVATIONS]}; its operations are "
        f"{quoted(', '.join(sorted(kinds)))}"
    )
