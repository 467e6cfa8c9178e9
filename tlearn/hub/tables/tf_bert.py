"""Google's original BERT checkpoints in TensorFlow 1, as the names and layouts of Hugging Face's.

What follows from there, the config, the heads and our own paths, is `hf_bert`'s.
https://github.com/google-research/bert
"""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from tlearn.hub.errors import HubError, listed, quoted

SIGNATURE = "bert/embeddings/word_embeddings"
"""A name that every such checkpoint has."""

# (name there, Hugging Face's, whether to transpose): kernels are [in, out] there, and the output
# weights of heads [out, in] already.
_NORM = (("gamma", "weight"), ("beta", "bias"))
_BLOCK = (
    *((f"attention/self/{part}", f"attention.self.{part}") for part in ("query", "key", "value")),
    ("attention/output/dense", "attention.output.dense"),
    ("intermediate/dense", "intermediate.dense"),
    ("output/dense", "output.dense"),
)
_HEADS = {
    "cls/predictions/output_bias": "cls.predictions.bias",
    "cls/seq_relationship/output_weights": "cls.seq_relationship.weight",
    "cls/seq_relationship/output_bias": "cls.seq_relationship.bias",
    "cls/squad/output_weights": "qa_outputs.weight",
    "cls/squad/output_bias": "qa_outputs.bias",
    "output_weights": "classifier.weight",
    "output_bias": "classifier.bias",
}


def names(depth: int) -> dict[str, tuple[str, bool]]:
    """Spells out every name: Hugging Face's, and whether the array is transposed there."""
    found: dict[str, tuple[str, bool]] = {name: (there, False) for name, there in _HEADS.items()}
    for kind in ("word", "position", "token_type"):
        there = f"bert.embeddings.{kind}_embeddings.weight"
        found[f"bert/embeddings/{kind}_embeddings"] = (there, False)
    norms = [("bert/embeddings/LayerNorm", "bert.embeddings.LayerNorm")]
    dense = [("bert/pooler/dense", "bert.pooler.dense")]
    words = "predictions/transform"
    norms.append((f"cls/{words}/LayerNorm", "cls.predictions.transform.LayerNorm"))
    dense.append((f"cls/{words}/dense", "cls.predictions.transform.dense"))
    for number in range(depth):
        here, there = f"bert/encoder/layer_{number}", f"bert.encoder.layer.{number}"
        dense += [(f"{here}/{a}", f"{there}.{b}") for a, b in _BLOCK]
        for part in ("attention/output", "output"):
            name = f"{there}.{part.replace('/', '.')}.LayerNorm"
            norms.append((f"{here}/{part}/LayerNorm", name))
    for (here, there), (a, b) in itertools.product(norms, _NORM):
        found[f"{here}/{a}"] = (f"{there}.{b}", False)
    for here, there in dense:
        found[f"{here}/kernel"] = (f"{there}.weight", True)
        found[f"{here}/bias"] = (f"{there}.bias", False)
    return found


def as_hugging_face(
    config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Gives config and arrays as a Hugging Face folder would hold them; nothing is read.

    Raises:
        HubError: Naming every array that is none of BERT's, or has too few axes.
    """
    depth = config.get("num_hidden_layers")
    if type(depth) is not int or not 0 < depth <= len(arrays):
        raise HubError(
            f"bert_config.json says num_hidden_layers {quoted(depth)}: a number of blocks is wanted"
        )
    known = names(depth)
    problems: list[str] = []
    renamed: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        if name not in known:
            problems.append(f"{quoted(name)} is no name of a BERT of {depth} blocks")
        elif known[name][1] and array.ndim != 2:
            problems.append(f"{quoted(name)} has the shape {array.shape}, but 2 axes are wanted")
        else:
            there, turned = known[name]
            renamed[there] = array.T if turned else array
    if problems:
        raise HubError(listed(problems).strip())
    # Names alone leave the class open where a file has the plain output_weights of a classifier.
    classified = {"architectures": ["BertForSequenceClassification"]}
    named = classified if "classifier.weight" in renamed else {}
    return {"model_type": "bert", **named, **config}, renamed
