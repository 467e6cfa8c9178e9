"""GPT and GPT-2 as Hugging Face writes them: fused attention kernels in [in, out] layout."""

import functools
from collections.abc import Mapping
from typing import Any

from tlearn.bodies.activations import ACTIVATIONS
from tlearn.hub.errors import HubError, listed
from tlearn.hub.mapping import Row, Table
from tlearn.hub.tables.decoder_config import Reader, kept_extra, words_config
from tlearn.hub.tables.folder_family import Described, FolderFamily, Shapes

_PREFIX = "transformer."
# What the first model's config calls its activations.
_AFN = {"gelu": "gelu_new", "relu": "relu", "silu": "silu", "swish": "swish"}
_REFUSED = {
    "add_cross_attention": (False, "its blocks read an encoder"),
    "pruned_heads": ({}, "its blocks have unlike numbers of heads"),
    "quantization_config": (None, "its weights are quantised"),
    "auto_map": (None, "its function is code of its own, which is not run"),
}
_CLASSES = {
    "DoubleHeadsModel": "it has a second head, which compares several rows of one example; load "
    "the model without it (LMHeadModel)"
}
# Heads by their names: (ending of the class, our family, name there). The first model has one.
_HEADS = (
    ("ForSequenceClassification", "linear", "score"),
    ("ForTokenClassification", "tagging", "classifier"),
    ("ForQuestionAnswering", "span", "qa_outputs"),
)


def _describe(second: bool, config: Mapping[str, Any], shapes: Shapes) -> Described:
    reader = Reader(config)
    reader.refuse(_REFUSED)
    architecture = reader.architectures(_CLASSES)
    if any(name.startswith("multiple_choice_head.") for name in shapes):
        reader.problems.append("its multiple_choice_head is not supported: remove those arrays")
    prefix = _PREFIX if any(name.startswith(_PREFIX) for name in shapes) else ""
    width = reader.whole("n_embd", 768)
    body: dict[str, Any] = {
        "family": "gpt",
        "vocab_size": reader.whole("vocab_size", 50257 if second else 40478),
        "width": width,
        "depth": reader.whole("n_layer", 12),
        "heads": reader.whole("n_head", 12),
        "feed_forward": 4 * width,
        "positions": reader.whole("n_positions", 1024 if second else 512),
        "pre_norm": second,
        "norm_epsilon": reader.number("layer_norm_epsilon", 1e-5),
        "embedding_dropout": reader.number("embd_pdrop", 0.1),
        "dropout": reader.number("resid_pdrop", 0.1),
        "attention_dropout": reader.number("attn_pdrop", 0.1),
        "init_std": reader.number("initializer_range", 0.02),
        "pooling": "last",
    }
    if second:
        if config.get("n_inner") is not None:
            body["feed_forward"] = reader.whole("n_inner", 4 * width)
        given = config.get("activation_function", "gelu_new")
        body["activation"] = reader.activation("activation_function", given, ACTIVATIONS)
        body["scale_attention"] = reader.flag("scale_attn_weights", True)
        body["scale_by_depth"] = reader.flag("scale_attn_by_inverse_layer_idx", False)
    else:
        body["activation"] = _AFN[reader.activation("afn", config.get("afn", "gelu"), _AFN)]
        body["scale_attention"], body["scale_by_depth"] = True, False
    reader.count(rf"(?:{_PREFIX})?h\.(\d+)\.", shapes, "n_layer", body["depth"])
    head = _head(reader, _heads(second), shapes, architecture)
    labels = None
    if head is not None and "classes" in head:
        labels = reader.labels(head["classes"])
    facts = reader.facts(body["vocab_size"], body["positions"])
    reader.close("GPT-2" if second else "GPT")
    return Described(
        body=body,
        head=head,
        label_names=labels,
        facts=facts,
        prefix=prefix,
        architecture=_class(second, head),
        # Computes in float32 what this library always computes in float32.
        extra=kept_extra(config, ("reorder_and_upcast_attn",)),
    )


def _heads(second: bool) -> tuple[tuple[str, str, str], ...]:
    return _HEADS if second else _HEADS[:1]


def _head(
    reader: Reader, heads: tuple[tuple[str, str, str], ...], shapes: Shapes, architecture: str
) -> dict[str, Any] | None:
    for ending, family, name in heads:
        present = f"{name}.weight" in shapes
        if architecture.endswith(ending) and not present:
            reader.problems.append(
                f"the config names the class {architecture!r}, but {name + '.weight'!r} is missing"
            )
        if not present:
            continue
        head: dict[str, Any] = {"family": family}
        if family == "span":
            return head
        head["classes"] = shapes[f"{name}.weight"][0]
        if family == "linear":
            return head | {"use_bias": False}
        for key in ("classifier_dropout", "hidden_dropout"):
            if reader.config.get(key) is not None:
                return head | {"dropout": reader.number(key, 0.1)}
        return head | {"dropout": 0.1}
    tied = reader.flag("tie_word_embeddings", True)
    if not architecture.endswith("LMHeadModel") and "lm_head.weight" not in shapes:
        return None
    deviation = reader.number("initializer_range", 0.02)
    return {"family": "causal_lm", "tied": tied, "scaled": False, "init_std": deviation}


def _class(second: bool, head: Mapping[str, Any] | None) -> str:
    start = "GPT2" if second else "OpenAIGPT"
    if head is None:
        return f"{start}Model"
    endings = {family: ending for ending, family, _ in _HEADS}
    return start + endings.get(head["family"], "LMHeadModel")


def _fused(source: str, target: str) -> tuple[Row, ...]:
    """Parts one fused projection into those of queries, keys and values."""
    return tuple(
        row
        for i, name in enumerate(("query", "key", "value"))
        for row in (
            Row(f"{source}.weight", f"{target}/{name}/kernel", part=(i, 3)),
            Row(f"{source}.bias", f"{target}/{name}/bias", "vector", part=(i, 3)),
        )
    )


def _affine(source: str, target: str, transform: str = "identity") -> tuple[Row, Row]:
    return (
        Row(f"{source}.weight", f"{target}/kernel", transform),
        Row(f"{source}.bias", f"{target}/bias", "vector"),
    )


def _norm(source: str, target: str) -> tuple[Row, Row]:
    return (
        Row(f"{source}.weight", f"{target}/scale", "vector"),
        Row(f"{source}.bias", f"{target}/bias", "vector"),
    )


def _table(second: bool, described: Described) -> Table:
    body, head, prefix = described.body, described.head, described.prefix
    words, places = ("wte", "wpe") if second else ("tokens_embed", "positions_embed")
    there, here = f"{prefix}h.{{at}}", "params/body/block_{at}"
    mask = "a constant buffer: which places come before"
    rows = [
        Row(f"{prefix}{words}.weight", "params/body/embeddings/tokens/embedding"),
        Row(f"{prefix}{places}.weight", "params/body/embeddings/positions/embedding"),
        Row(f"{prefix}position_ids", "", "drop", "a constant buffer: it counts positions"),
        Row(f"{there}.attn.bias", "", "drop", mask),
        Row(f"{there}.attn.masked_bias", "", "drop", mask),
        *_fused(f"{there}.attn.c_attn", f"{here}/attention"),
        *_affine(f"{there}.attn.c_proj", f"{here}/attention/output"),
        *_norm(f"{there}.ln_1", f"{here}/attention_norm"),
        *_affine(f"{there}.mlp.c_fc", f"{here}/feed_forward/in"),
        *_affine(f"{there}.mlp.c_proj", f"{here}/feed_forward/out"),
        *_norm(f"{there}.ln_2", f"{here}/feed_forward_norm"),
    ]
    if second:
        rows += _norm(f"{prefix}ln_f", "params/body/final/norm")
    if head is not None:
        rows += _head_rows(head, f"{prefix}{words}.weight")
    blocks = tuple((str(i), f"{i:02d}") for i in range(body["depth"]))
    return Table("hf_gpt2" if second else "hf_gpt", tuple(rows), {"at": blocks})


def _head_rows(head: Mapping[str, Any], words: str) -> tuple[Row, ...]:
    if head["family"] == "causal_lm":
        if head["tied"]:
            return (
                Row("lm_head.weight", "", "drop", "the token embedding, once more", tied=words),
            )
        return (Row("lm_head.weight", "params/head/dense/kernel", "linear"),)
    name = next(name for _, family, name in _HEADS if family == head["family"])
    rows = _affine(name, "params/head/dense", "linear")
    return rows[:1] if head["family"] == "linear" else rows


def _write(second: bool, described: Described) -> dict[str, Any]:
    body, head = described.body, described.head
    problems = _unfit(second, body, head)
    if problems:
        name = "GPT2" if second else "OpenAIGPT"
        raise HubError(f"{name} cannot hold this model:\n{listed(problems)}")
    config: dict[str, Any] = {
        "architectures": [_class(second, head)],
        "model_type": "gpt2" if second else "openai-gpt",
        "vocab_size": body["vocab_size"],
        "n_embd": body["width"],
        "n_layer": body["depth"],
        "n_head": body["heads"],
        "n_positions": body["positions"],
        "layer_norm_epsilon": body["norm_epsilon"],
        "embd_pdrop": body["embedding_dropout"],
        "resid_pdrop": body["dropout"],
        "attn_pdrop": body["attention_dropout"],
        "initializer_range": body["init_std"],
        "tie_word_embeddings": head.get("tied", True) if head else True,
    }
    if second:
        config["n_inner"] = body["feed_forward"]
        config["activation_function"] = body["activation"]
        config["scale_attn_weights"] = body["scale_attention"]
        config["scale_attn_by_inverse_layer_idx"] = body["scale_by_depth"]
        if "reorder_and_upcast_attn" in described.extra:
            config["reorder_and_upcast_attn"] = described.extra["reorder_and_upcast_attn"]
    else:
        config["afn"] = next(name for name, ours in _AFN.items() if ours == body["activation"])
    if head is not None and head["family"] == "tagging":
        config["classifier_dropout"] = head["dropout"]
    return config | words_config(described, None)


def _unfit(second: bool, body: Mapping[str, Any], head: Mapping[str, Any] | None) -> list[str]:
    if body["family"] != "gpt" or body["pre_norm"] != second:
        return ["its blocks normalise in another order"]
    problems = []
    if not second:
        if body["feed_forward"] != 4 * body["width"]:
            problems.append(
                f"feed_forward must be four times the width, not {body['feed_forward']}"
            )
        if body["activation"] not in _AFN.values():
            problems.append(
                f"activation must be one of {list(_AFN.values())}, not {body['activation']!r}"
            )
        if not body["scale_attention"] or body["scale_by_depth"]:
            problems.append("scores must be divided by the root of a head's size, and by no more")
    if head is None:
        return problems
    known = [family for _, family, _ in _heads(second)] + ["causal_lm"]
    if head["family"] not in known:
        problems.append(f"the head {head['family']!r} has no class there; these have: {known}")
    if head["family"] == "linear":
        if head.get("use_bias", True):
            problems.append("a classification head there has no bias (use_bias=False)")
        if body["pooling"] != "last":
            problems.append(f"it classifies by the last token, not by {body['pooling']!r}")
    if head["family"] == "causal_lm" and head.get("scaled"):
        problems.append("its language head does not scale")
    return problems


def _family(second: bool) -> FolderFamily:
    return FolderFamily(
        name="hf_gpt2" if second else "hf_gpt",
        model_types=("gpt2",) if second else ("openai-gpt",),
        origin="hf",
        body="gpt",
        describe=functools.partial(_describe, second),
        table=functools.partial(_table, second),
        write=functools.partial(_write, second),
    )


FAMILIES = (_family(False), _family(True))
"""This table's entries: the model of 2018 and its successor."""
