"""TensorFlow 2's BERT, ALBERT and ELECTRA encoders, as the names and layouts of Hugging Face's.

These are the encoders of TensorFlow's Model Garden, which TensorFlow Hub's SavedModels were
exported from: ``transformer/layer_0/self_attention/query/kernel`` [width, heads, of a head]. Names
are those that the variables themselves have, in the encoders' three generations.
https://github.com/tensorflow/models/tree/master/official/nlp (modeling/networks/bert_encoder.py,
albert_encoder.py; tools/tf1_bert_checkpoint_converter_lib.py for the older names)
"""

import itertools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tlearn.hub.errors import HubError, listed, quoted

_WORDS = "word_embeddings/embeddings"
_PROJECTION = "embedding_projection/kernel"
_BLOCK = re.compile(r"(?:transformer|encoder)/layer_(\d{1,4})/self_attention/query/kernel")
# How an array is turned: as it is; [in, out]; [in, heads, of a head]; [heads, of a head, out]; all
# in a row.
_PLAIN, _DENSE, _SPLIT, _JOINED, _FLAT = "plain", "dense", "split", "joined", "flat"
_RANKS = {_PLAIN: None, _DENSE: 2, _SPLIT: 3, _JOINED: 3, _FLAT: None}
# (word, position, type) tables and norm of the embeddings, by generation.
_EMBEDDINGS = (
    ("position_embedding/embeddings", "type_embeddings/embeddings", "embeddings/layer_norm"),
    (
        "embedding_postprocessor/position_embeddings",
        "embedding_postprocessor/type_embeddings",
        "embedding_postprocessor/layer_norm",
    ),
)
_NAMES = {
    "bert": {
        "block": "encoder.layer.{}.",
        "self": "attention.self.",
        "attended": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "in": "intermediate.dense",
        "out": "output.dense",
        "norm": "output.LayerNorm",
        "pooler": "pooler.dense",
        "projection": "embeddings_project",
        "words": "cls.predictions.",
        "transform": "transform.",
    },
    "albert": {
        "block": "encoder.albert_layer_groups.0.albert_layers.0.",
        "self": "attention.",
        "attended": "attention.dense",
        "attention_norm": "attention.LayerNorm",
        "in": "ffn",
        "out": "ffn_output",
        "norm": "full_layer_layer_norm",
        "pooler": "pooler",
        "projection": "encoder.embedding_hidden_mapping_in",
        "words": "predictions.",
        "transform": "",
    },
}
_NAMES["electra"] = _NAMES["bert"]
LOWERCASE = "do_lower_case"
"""The variable in which a SavedModel says whether its texts are lowercased."""


def encoder_of(arrays: Mapping[str, Any]) -> str | None:
    """Tells whether these are the names of such an encoder: ``bert``, ``albert``, ``electra``."""
    prefix = _prefix(arrays)
    if prefix is None:
        return None
    names = {name.removeprefix(prefix) for name in arrays}
    if "transformer/self_attention/query/kernel" in names:
        return "albert"
    if not any(_BLOCK.fullmatch(name) for name in names):
        return None
    return "electra" if _PROJECTION in names else "bert"


def _prefix(arrays: Mapping[str, Any]) -> str | None:
    """What stands before the encoder's names: the name of the model, or nothing."""
    found = [name for name in arrays if name == _WORDS or name.endswith(f"/{_WORDS}")]
    return found[0].removesuffix(_WORDS) if len(found) == 1 else None


def as_hugging_face(
    kind: str, said: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray], list[str]]:
    """Gives config and arrays as a Hugging Face folder would hold them; nothing is read.

    Args:
        kind: As `encoder_of` tells.
        said: What is known beside the arrays, under the keys of Hugging Face's config;
            ``hidden_act`` must be, and ``num_hidden_layers`` of an ALBERT, whose blocks are one.
        arrays: Arrays by name.

    Returns:
        Config, arrays, and the names of what was left behind.

    Raises:
        HubError: Naming every array that is none of the encoder's, has too few axes or stands for
            the same as another, and all that shapes and ``said`` contradict.
    """
    plain = {_plain(name, _prefix(arrays) or ""): name for name in arrays}
    depths = {int(match[1]) for name in plain if (match := _BLOCK.fullmatch(name))}
    known = names(kind, len(depths), plain)
    problems: list[str] = []
    renamed: dict[str, np.ndarray] = {}
    left: list[str] = []
    for name, full in plain.items():
        there, form = known.get(name, ("", _PLAIN))
        array = arrays[full]
        if name not in known:
            problems.append(f"{quoted(full)} is no name of such a {kind.upper()}")
        elif not there:
            left.append(full)
        elif there in renamed:
            problems.append(f"{quoted(full)} is there under another name too")
        elif _RANKS[form] not in (None, array.ndim):
            problems.append(
                f"{quoted(full)} has the shape {array.shape}, but {_RANKS[form]} axes are wanted"
            )
        else:
            renamed[there] = _turned(array, form)
    shapes = {name: arrays[full].shape for name, full in plain.items()}
    config = _config(kind, said, shapes, len(depths), problems)
    if problems:
        raise HubError(listed(problems).strip())
    return config, renamed, left


def _plain(name: str, prefix: str) -> str:
    """A name without its model's; the heads' names begin with another one."""
    for part in ("cls/predictions/", "next_sentence/"):
        before, found, after = name.partition(part)
        if found and (not before or before.endswith("/")):
            return part + after
    return name.removeprefix(prefix)


def _turned(array: np.ndarray, form: str) -> np.ndarray:
    if form == _FLAT:
        return array.reshape(-1)
    if form in (_DENSE, _SPLIT):
        return array.reshape(array.shape[0], -1).T
    return array.reshape(-1, array.shape[-1]).T if form == _JOINED else array


def names(kind: str, depth: int, present: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Spells out every name: Hugging Face's (empty for what is left behind), and how it is turned.

    Args:
        kind: As `encoder_of` tells.
        depth: Blocks with parameters of their own.
        present: The names that are there, without the model's.
    """
    ours = _NAMES[kind]
    found: dict[str, tuple[str, str]] = {_WORDS: (_table("word"), _PLAIN), LOWERCASE: ("", _PLAIN)}
    norms: list[tuple[str, str]] = []
    dense: list[tuple[str, str]] = []
    for positions, types, norm in _EMBEDDINGS:
        found |= {positions: (_table("position"), _PLAIN), types: (_table("token_type"), _PLAIN)}
        norms.append((norm, "embeddings.LayerNorm"))
    if kind != "bert":
        dense.append(("embedding_projection", ours["projection"]))
    blocks = [("transformer", ours["block"])]
    if kind != "albert":
        blocks = [
            (f"{part}/layer_{i}", ours["block"].format(i))
            for i in range(depth)
            for part in ("transformer", "encoder")
        ]
    for here, there in blocks:
        for part in ("query", "key", "value"):
            name = f"{there}{ours['self']}{part}"
            found[f"{here}/self_attention/{part}/kernel"] = (f"{name}.weight", _SPLIT)
            found[f"{here}/self_attention/{part}/bias"] = (f"{name}.bias", _FLAT)
        for part in ("self_attention/attention_output", "self_attention_output"):
            found[f"{here}/{part}/kernel"] = (f"{there}{ours['attended']}.weight", _JOINED)
            found[f"{here}/{part}/bias"] = (f"{there}{ours['attended']}.bias", _FLAT)
        dense += [(f"{here}/intermediate", there + ours["in"])]
        dense += [(f"{here}/output", there + ours["out"])]
        norms.append((f"{here}/self_attention_layer_norm", there + ours["attention_norm"]))
        norms.append((f"{here}/output_layer_norm", there + ours["norm"]))
    _ends(kind, present, dense, norms, found)
    for here, there in dense:
        found[f"{here}/kernel"] = (there and f"{there}.weight", _DENSE)
        found[f"{here}/bias"] = (there and f"{there}.bias", _PLAIN)
    for (here, there), (a, b) in itertools.product(norms, (("gamma", "weight"), ("beta", "bias"))):
        found[f"{here}/{a}"] = (f"{there}.{b}", _PLAIN)
    prefix = f"{kind}."
    own = (ours["words"], "cls.")
    return {
        name: (there if not there or there.startswith(own) else prefix + there, form)
        for name, (there, form) in found.items()
    }


def _ends(
    kind: str,
    present: Mapping[str, Any],
    dense: list[tuple[str, str]],
    norms: list[tuple[str, str]],
    found: dict[str, tuple[str, str]],
) -> None:
    """Adds poolers and heads."""
    ours = _NAMES[kind]
    # Hugging Face's ELECTRA has none; a pooler trained in the head of a pre-training counts.
    head = "next_sentence/pooler_dense"
    trained = f"{head}/kernel" in present and kind == "bert"
    dense.append(("pooler_transform", "" if trained or kind == "electra" else ours["pooler"]))
    if kind == "electra":
        return
    words = ours["words"]
    dense.append(("cls/predictions/transform/dense", f"{words}{ours['transform']}dense"))
    norms.append(("cls/predictions/transform/LayerNorm", f"{words}{ours['transform']}LayerNorm"))
    for name in ("cls/predictions/output_bias/bias", "cls/predictions/output_bias"):
        found[name] = (f"{words}bias", _PLAIN)
    if kind == "bert":
        dense += [(head, ours["pooler"]), ("next_sentence/logits", "cls.seq_relationship")]


def _table(kind: str) -> str:
    return f"embeddings.{kind}_embeddings.weight"


def _config(
    kind: str,
    said: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    depth: int,
    problems: list[str],
) -> dict[str, Any]:
    """The config that shapes imply, beside what is said; they must agree."""
    read: dict[str, Any] = {"model_type": kind, "layer_norm_eps": 1e-12}
    block = "transformer/" if kind == "albert" else "(?:transformer|encoder)/layer_0/"
    wanted = {
        "vocab_size": (_WORDS, 0),
        "max_position_embeddings": ("|".join(e[0] for e in _EMBEDDINGS), 0),
        "type_vocab_size": ("|".join(e[1] for e in _EMBEDDINGS), 0),
        "hidden_size": (f"{block}self_attention/query/kernel", 0),
        "num_attention_heads": (f"{block}self_attention/query/kernel", 1),
        "intermediate_size": (f"{block}intermediate/kernel", 1),
    }
    if kind != "bert":
        wanted["embedding_size"] = (_WORDS, 1)
    for key, (pattern, axis) in wanted.items():
        fitting = [s for name, s in shapes.items() if re.fullmatch(pattern, name)]
        if len(fitting) == 1 and len(fitting[0]) > axis:
            read[key] = fitting[0][axis]
        else:
            problems.append(f"{len(fitting)} arrays tell {key} instead of one")
    if kind != "albert":
        read["num_hidden_layers"] = depth
    elif "num_hidden_layers" not in said:
        problems.append(
            "an ALBERT's arrays do not tell how often its block is applied: put its "
            "albert_config.json (num_hidden_layers) beside it"
        )
    problems += [
        f"{key} is {quoted(said[key])} in its config, but {value} by its arrays"
        for key, value in read.items()
        if key in said and key != "model_type" and said[key] != value
    ]
    return {**said, **read}
