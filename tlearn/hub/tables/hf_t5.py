"""T5 as Hugging Face writes it, v1.0 and v1.1: ``shared``, ``encoder.block.0.layer.0``."""

from collections.abc import Mapping
from typing import Any

from tlearn.bodies.facts import TextFacts
from tlearn.hub.errors import HubError, listed
from tlearn.hub.mapping import Row, Table
from tlearn.hub.tables.decoder_config import Reader, kept_extra, words_config
from tlearn.hub.tables.folder_family import Described, FolderFamily, Shapes

_NAME = "hf_t5"
_REFUSED = {
    "is_decoder": (False, "it is a decoder alone"),
    "pruned_heads": ({}, "its blocks have unlike numbers of heads"),
    "quantization_config": (None, "its weights are quantised"),
    "auto_map": (None, "its function is code of its own, which is not run"),
}
# Heads by their names: (class, our family, (name there, name here)...).
_HEADS = (
    (
        "T5ForSequenceClassification",
        "mlp",
        (("classification_head.dense", "hidden_1"), ("classification_head.out_proj", "dense")),
    ),
    ("T5ForTokenClassification", "tagging", (("classifier", "dense"),)),
    ("T5ForQuestionAnswering", "span", (("qa_outputs", "dense"),)),
)
_GENERATING = ("T5ForConditionalGeneration", "T5WithLMHeadModel")
# Time-series models around a T5: their own ends are read by their own code.
_ENDS = ("input_patch_embedding", "output_patch_embedding")
_END_PARTS = ("hidden_layer", "output_layer", "residual_layer")


def _describe(config: Mapping[str, Any], shapes: Shapes) -> Described:
    reader = Reader(config)
    reader.refuse(_REFUSED)
    architecture = reader.architectures({})
    classified = any(name.startswith("transformer.") for name in shapes)
    prefix = "transformer." if classified else ""
    two = any(name.startswith(f"{prefix}decoder.block.") for name in shapes)
    depth = reader.whole("num_layers", 6)
    decoder_depth = 0
    if two:
        given = config.get("num_decoder_layers")
        decoder_depth = depth if given is None else reader.whole("num_decoder_layers", depth)
        reader.count(
            rf"{prefix}decoder\.block\.(\d+)\.", shapes, "num_decoder_layers", decoder_depth
        )
    reader.count(rf"{prefix}encoder\.block\.(\d+)\.", shapes, "num_layers", depth)
    gated, activation = _feed_forward(reader)
    start = config.get("decoder_start_token_id")
    body: dict[str, Any] = {
        "family": "t5",
        "vocab_size": reader.whole("vocab_size", 32128),
        "width": reader.whole("d_model", 512),
        "depth": depth,
        "decoder_depth": decoder_depth,
        "heads": reader.whole("num_heads", 8),
        "head_size": reader.whole("d_kv", 64),
        "feed_forward": reader.whole("d_ff", 2048),
        "gated": gated,
        "activation": activation,
        "relative_buckets": reader.whole("relative_attention_num_buckets", 32),
        "relative_distance": reader.whole("relative_attention_max_distance", 128),
        "norm_epsilon": reader.number("layer_norm_epsilon", 1e-6),
        "dropout": reader.number("dropout_rate", 0.1),
        "init_factor": reader.number("initializer_factor", 1.0),
        # Where the config is silent, decoding begins with the padding token, which is 0.
        "start_token": 0 if start is None else reader.whole("decoder_start_token_id", 0, 0),
    }
    head, kind = _head(reader, shapes, architecture, two)
    body["shifted"] = kind in ("mlp", "span")
    body["pooling"] = "last" if body["shifted"] else "mean"
    labels = None
    if head is not None and "classes" in head:
        labels = reader.labels(head["classes"])
    facts = reader.facts(body["vocab_size"], None)
    reader.close("T5")
    extra = kept_extra(config)
    assumed: tuple[str, ...] = ()
    if any(name.startswith(_ENDS) for name in shapes):
        extra["patches"] = True
        assumed = (
            f"{' and '.join(_ENDS)} are not T5's: they stay behind, and the stacks read vectors "
            "(embedded=, decoder_embedded=)",
        )
    return Described(
        body=body,
        head=head,
        label_names=labels,
        facts=facts,
        prefix=prefix,
        assumed=assumed,
        architecture=_class(body, head),
        extra=extra,
    )


def _feed_forward(reader: Reader) -> tuple[bool, str]:
    """Reads ``relu``, ``gated-gelu``...; ``gated-gelu`` means the tanh form, as it was trained."""
    given = reader.config.get("feed_forward_proj", "relu")
    first, dash, last = str(given).rpartition("-")
    gated = first == "gated"
    if dash and not gated:
        reader.problems.append(
            f"feed_forward_proj={str(given)[:80]!r} must be an activation, or 'gated-' and one"
        )
    named = "gelu_new" if str(given) == "gated-gelu" else last
    activation = reader.activation("dense_act_fn", reader.config.get("dense_act_fn") or named)
    if reader.flag("is_gated_act", gated) != gated:
        reader.problems.append(
            f"is_gated_act={reader.config['is_gated_act']} contradicts feed_forward_proj={given!r}"
        )
    return gated, activation


def _head(
    reader: Reader, shapes: Shapes, architecture: str, two: bool
) -> tuple[dict[str, Any] | None, str]:
    for name, family, parts in _HEADS:
        there = [f"{part}.weight" for part, _ in parts]
        present = all(part in shapes for part in there)
        if architecture == name and not present:
            reader.problems.append(
                f"the config names the class {name!r}, but its head {there} is missing"
            )
        if not present:
            continue
        if (family == "tagging") == two:
            has = "a decoder" if two else "no decoder"
            reader.problems.append(f"its arrays are those of {name}, but there is {has}")
        if family == "span":
            return {"family": family}, family
        dropout = reader.number("classifier_dropout", 0.0)
        head = {"family": family, "classes": shapes[there[-1]][0], "dropout": dropout}
        if family == "mlp":
            head |= {"hidden": (shapes[there[0]][0],), "activation": "tanh"}
        return head, family
    own = "lm_head.weight" in shapes
    if not (own or architecture in _GENERATING) or not two:
        return None, ""
    tied = reader.config.get("tie_word_embeddings")
    # Newer files always say tied, and tell the generations apart by this key.
    scaled = reader.flag("scale_decoder_outputs", tied is not False)
    if not own and tied is False:
        reader.problems.append(
            "tie_word_embeddings=false asks for a language head of its own, but 'lm_head.weight' "
            "is missing"
        )
    untied = own and (tied is False or not scaled)
    return {"family": "causal_lm", "tied": not untied, "scaled": scaled, "init_std": 1.0}, "lm"


def _class(body: Mapping[str, Any], head: Mapping[str, Any] | None) -> str:
    if head is None:
        return "T5Model" if body["decoder_depth"] else "T5EncoderModel"
    named = {family: name for name, family, _ in _HEADS}
    return named.get(head["family"], _GENERATING[0])


def _table(described: Described) -> Table:
    body, head = described.body, described.head
    # Two classes of three keep the body under a name of its own.
    inside = head is not None and head["family"] in ("mlp", "tagging")
    prefix = "transformer." if inside else ""
    words = f"{prefix}shared.weight"
    copy = "the token embedding, once more"
    rows = [
        Row(words, "params/body/embeddings/tokens/embedding"),
        Row(f"{prefix}encoder.embed_tokens.weight", "", "drop", copy, tied=words),
        *_stack("encoder", prefix, body["gated"]),
    ]
    if body["decoder_depth"]:
        unread = "attention to the encoder has no relative positions; early files hold some"
        cross = f"{prefix}decoder.block.0.layer.1.EncDecAttention"
        rows += [
            Row(f"{prefix}decoder.embed_tokens.weight", "", "drop", copy, tied=words),
            *_stack("decoder", prefix, body["gated"]),
            Row(f"{cross}.relative_attention_bias.weight", "", "drop", unread),
        ]
    if head is not None and head["family"] == "causal_lm":
        if head["tied"]:
            rows.append(Row("lm_head.weight", "", "drop", copy, tied=words))
        else:
            rows.append(Row("lm_head.weight", "params/head/dense/kernel", "linear"))
    elif head is not None:
        parts = next(parts for _, family, parts in _HEADS if family == head["family"])
        for there, here in parts:
            rows.append(Row(f"{there}.weight", f"params/head/{here}/kernel", "linear"))
            rows.append(Row(f"{there}.bias", f"params/head/{here}/bias", "vector"))
    if described.extra.get("patches"):
        rows.append(Row("{end}.{part}.{kind}", "", "drop", "belongs to a model around this T5"))
    fields = {
        "encoder_at": tuple((str(i), f"{i:02d}") for i in range(body["depth"])),
        "decoder_at": tuple((str(i), f"{i:02d}") for i in range(body["decoder_depth"])),
        "end": tuple((end, end) for end in _ENDS),
        "part": tuple((part, part) for part in _END_PARTS),
        "kind": (("weight", "weight"), ("bias", "bias")),
    }
    return Table(_NAME, tuple(rows), fields)


def _stack(kind: str, prefix: str, gated: bool) -> tuple[Row, ...]:
    """Writes the rows of an encoder or decoder; the field ``encoder_at`` counts its blocks."""
    at = f"{{{kind}_at}}"
    there, here = f"{prefix}{kind}.block.{at}.layer", f"params/body/{kind}_block_{at}"
    parts = [(0, "SelfAttention", "attention")]
    if kind == "decoder":
        parts.append((1, "EncDecAttention", "cross_attention"))
    last = len(parts)
    rows = [
        Row(
            f"{prefix}{kind}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
            f"params/body/{kind}_block_00/attention/relative/embedding",
        ),
        Row(f"{prefix}{kind}.final_layer_norm.weight", f"params/body/{kind}_final/norm/scale"),
        Row(f"{there}.{last}.layer_norm.weight", f"{here}/feed_forward_norm/scale", "vector"),
    ]
    for number, foreign, own in parts:
        rows += [
            Row(
                f"{there}.{number}.{foreign}.{short}.weight",
                f"{here}/{own}/{name}/kernel",
                "linear",
            )
            for short, name in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "output"))
        ]
        rows.append(
            Row(f"{there}.{number}.layer_norm.weight", f"{here}/{own}_norm/scale", "vector")
        )
    inner = (("wi_0", "gate"), ("wi_1", "in")) if gated else (("wi", "in"),)
    rows += [
        Row(
            f"{there}.{last}.DenseReluDense.{short}.weight",
            f"{here}/feed_forward/{name}/kernel",
            "linear",
        )
        for short, name in (*inner, ("wo", "out"))
    ]
    return tuple(rows)


def _write(described: Described) -> dict[str, Any]:
    body, head = described.body, described.head
    problems = _unfit(body, head)
    if problems:
        raise HubError(f"T5 cannot hold this model:\n{listed(problems)}")
    activation = body["activation"]
    spelled = "gelu" if body["gated"] and activation == "gelu_new" else activation
    config: dict[str, Any] = {
        "architectures": [_class(body, head)],
        "model_type": "t5",
        "vocab_size": body["vocab_size"],
        "d_model": body["width"],
        "num_layers": body["depth"],
        "num_decoder_layers": body["decoder_depth"] or body["depth"],
        "num_heads": body["heads"],
        "d_kv": body["head_size"],
        "d_ff": body["feed_forward"],
        "feed_forward_proj": f"gated-{spelled}" if body["gated"] else spelled,
        "dense_act_fn": activation,
        "is_gated_act": body["gated"],
        "relative_attention_num_buckets": body["relative_buckets"],
        "relative_attention_max_distance": body["relative_distance"],
        "layer_norm_epsilon": body["norm_epsilon"],
        "dropout_rate": body["dropout"],
        "initializer_factor": body["init_factor"],
        "decoder_start_token_id": body["start_token"],
        "is_encoder_decoder": bool(body["decoder_depth"]),
    }
    if head is not None and head["family"] == "causal_lm":
        config["tie_word_embeddings"] = head["tied"]
        config["scale_decoder_outputs"] = head["scaled"]
    if head is not None and head["family"] in ("mlp", "tagging"):
        config["classifier_dropout"] = head["dropout"]
    pad = None if isinstance(described.facts, TextFacts) else 0
    return config | words_config(described, pad)


def _unfit(body: Mapping[str, Any], head: Mapping[str, Any] | None) -> list[str]:
    if body["family"] != "t5":
        return [f"its body is of the family {body['family']!r}"]
    if head is None:
        return []
    family, problems = head["family"], []
    if family not in ("mlp", "tagging", "span", "causal_lm"):
        alone = "; its class for labels reads the decoder, and this is an encoder alone"
        return [
            f"the head {family!r} has no class there" + ("" if body["decoder_depth"] else alone)
        ]
    if body["shifted"] != (family in ("mlp", "span")):
        problems.append(f"a head {family!r} there goes with shifted={not body['shifted']}")
    if (family == "tagging") == bool(body["decoder_depth"]):
        problems.append(f"a head {family!r} there goes with {_needs(family)}")
    if family == "mlp":
        if tuple(head["hidden"]) != (body["width"],) or head.get("activation", "relu") != "tanh":
            problems.append(f"its classifier has one hidden layer of {body['width']} with a tanh")
        if body["pooling"] != "last":
            problems.append(f"it classifies by the last token, not by {body['pooling']!r}")
    return problems


def _needs(family: str) -> str:
    return "an encoder alone" if family == "tagging" else "a decoder"


FAMILY = FolderFamily(
    name=_NAME,
    model_types=("t5",),
    origin="hf",
    body="t5",
    describe=_describe,
    table=_table,
    write=_write,
)
"""This table's entry."""
