"""The head that a checkpoint's own library puts on its body to classify, where it is not plain."""

from collections.abc import Mapping
from typing import Any

from tlearn.hub.descent import came_by

_HEADS: dict[str, dict[str, Any]] = {
    "hf_roberta": {"family": "mlp", "activation": "tanh"},
    "hf_electra": {"family": "mlp", "activation": "gelu"},
    "hf_distilbert": {"family": "mlp", "activation": "relu", "drop_input": False},
    "hf_gpt2": {"family": "linear", "use_bias": False},
    "hf_gpt": {"family": "linear", "use_bias": False},
}


def published_head(provenance: Mapping[str, Any], width: int) -> dict[str, Any]:
    """Describes a head, classes left out, that goes out again in the form of the weights' origin.

    Args:
        provenance: Of the source.
        width: Of its features.
    """
    head = dict(_HEADS.get(str(came_by(provenance).get("table")), {"family": "linear"}))
    return head | ({"hidden": (width,)} if head["family"] == "mlp" else {})
