"""What a checkpoint's own library puts on its body to classify texts: a head, and what it reads."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tlearn.hub.descent import came_by


class Published(NamedTuple):
    """What a library's class for sequences has.

    Attributes:
        head: Config of its head, without hidden widths and classes.
        pooling: How it makes one vector of a text; None where that is no choice.
    """

    head: Mapping[str, Any]
    pooling: str | None


_POOLED = Published({"family": "linear"}, "pooler")
_LAST = Published({"family": "linear", "use_bias": False}, "last")
_CLASSES = {
    "hf_bert": _POOLED,
    "hf_albert": _POOLED,
    "hf_roberta": Published({"family": "mlp", "activation": "tanh"}, "first"),
    "hf_electra": Published({"family": "mlp", "activation": "gelu"}, "first"),
    "hf_distilbert": Published(
        {"family": "mlp", "activation": "relu", "drop_input": False}, "first"
    ),
    "hf_gpt2": _LAST,
    "hf_gpt": _LAST,
}
_PLAIN = Published({"family": "linear"}, None)


def published_head(provenance: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """Describes a head, classes left out, that goes out again in the form of the weights' origin.

    Args:
        provenance: Of the source; empty where there is none.
        body: Config of the body.
    """
    head = dict(_published(provenance, body).head)
    return head | ({"hidden": (body["width"],)} if head["family"] == "mlp" else {})


def published_pooling(provenance: Mapping[str, Any], body: Mapping[str, Any]) -> str | None:
    """Tells how a body must pool to go out under that head; None where that is no choice.

    Args:
        provenance: Of the source; empty where there is none.
        body: Config of the body.
    """
    return _published(provenance, body).pooling


def _published(provenance: Mapping[str, Any], body: Mapping[str, Any]) -> Published:
    table = str(came_by(provenance).get("table"))
    return _CLASSES.get(table if table in _CLASSES else _table(body), _PLAIN)


def _table(body: Mapping[str, Any]) -> str:
    """The library's class that a body made here is one of."""
    family = body["family"]
    if family == "gpt":
        return "hf_gpt2" if body.get("pre_norm", True) else "hf_gpt"
    if family != "bert":
        return f"hf_{family}"
    if body.get("position_offset"):
        return "hf_roberta"
    if body.get("embedding_width") not in (None, 0, body.get("width")):
        return "hf_electra"
    return "hf_bert" if body.get("types", 2) else "hf_distilbert"
