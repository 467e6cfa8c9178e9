"""ViT and DeiT as Hugging Face lays them out: ``vit.encoder.layer.0.attention.attention.query``."""

from collections.abc import Mapping
from typing import Any

from tlearn.hub.errors import HubError, listed
from tlearn.hub.mapping import Row, Table
from tlearn.hub.tables.encoder_rows import affine, counted, norm, pooler
from tlearn.hub.tables.folder_family import Described, FolderFamily, Shapes
from tlearn.hub.tables.vision_folder import (
    activation,
    labels_of,
    labels_to,
    number,
    refuse,
    side,
    wanted_fields,
    whole,
)

_NAME = "hf_vit"
_CLASSES = {"vit": "ViT", "deit": "DeiT"}
_HEADS = {
    "linear": "ForImageClassification",
    "distilled": "ForImageClassificationWithTeacher",
}
_REASON = "the token of hidden patches: only masked pre-training reads it"


def _describe(config: Mapping[str, Any], shapes: Shapes) -> Described:
    problems: list[str] = []
    model_type = str(config["model_type"])
    prefix = f"{model_type}." if any(n.startswith(f"{model_type}.") for n in shapes) else ""
    width = whole(config, "hidden_size", 768, problems)
    body: dict[str, Any] = {
        "family": "vit",
        "image_size": side(config, "image_size", 224, problems),
        "patch_size": side(config, "patch_size", 16, problems),
        "in_channels": whole(config, "num_channels", 3, problems),
        "width": width,
        "depth": whole(config, "num_hidden_layers", 12, problems),
        "heads": whole(config, "num_attention_heads", 12, problems),
        "feed_forward": whole(config, "intermediate_size", 3072, problems),
        "activation": activation(config, "hidden_act", "gelu", problems),
        "norm_epsilon": number(config, "layer_norm_eps", 1e-12, problems),
        "qkv_bias": bool(config.get("qkv_bias", True)),
        "distilled_token": model_type == "deit",
        "dropout": number(config, "hidden_dropout_prob", 0.0, problems),
        "attention_dropout": number(config, "attention_probs_dropout_prob", 0.0, problems),
    }
    if config.get("head_dim") is not None:
        body["head_size"] = whole(config, "head_dim", None, problems)
    head: dict[str, Any] | None = None
    if "classifier.weight" in shapes:
        head = {"family": "linear", "classes": shapes["classifier.weight"][0]}
    elif "cls_classifier.weight" in shapes:
        head = {"family": "distilled", "classes": shapes["cls_classifier.weight"][0]}
        if model_type != "deit":
            problems.append("it has a distillation head, but its model_type is 'vit'")
    elif any(name.startswith("decoder.") for name in shapes):
        problems.append(
            "it has the decoder of masked-image pre-training, which is not known here: save its "
            f"{_CLASSES[model_type]}Model alone"
        )
    body["pooling"] = "class"
    if head is None and f"{prefix}pooler.dense.weight" in shapes:
        body["pooling"] = "pooler"
        body["pooler_width"] = shapes[f"{prefix}pooler.dense.weight"][0]
        body["pooler_activation"] = activation(config, "pooler_act", "tanh", problems)
    labels = labels_of(config, head["classes"] if head else None, problems)
    refuse(_NAME, problems)
    named = config.get("architectures") or ()
    return Described(
        body=body,
        head=head,
        label_names=labels,
        prefix=prefix,
        architecture=str(named[0]) if named else "",
        extra={"model_type": model_type},
    )


def _table(described: Described) -> Table:
    body, head = described.body, described.head
    prefix = described.prefix
    there, here = f"{prefix}encoder.layer.{{at}}", "body/block_{at}"
    parts = ("query", "key", "value")
    rows = [
        Row(f"{prefix}embeddings.cls_token", "params/body/embeddings/class_token"),
        Row(f"{prefix}embeddings.position_embeddings", "params/body/embeddings/positions"),
        Row(
            f"{prefix}embeddings.patch_embeddings.projection.weight",
            "params/body/embeddings/patches/kernel",
            "conv",
        ),
        Row(
            f"{prefix}embeddings.patch_embeddings.projection.bias",
            "params/body/embeddings/patches/bias",
            "vector",
        ),
        Row(f"{prefix}embeddings.mask_token", "", "drop", _REASON),
        *norm(f"{there}.layernorm_before", f"{here}/attention_norm"),
        *(
            row
            for part in parts
            for row in affine(f"{there}.attention.attention.{part}", f"{here}/attention/{part}")
            if body["qkv_bias"] or row.transform == "linear"
        ),
        *affine(f"{there}.attention.output.dense", f"{here}/attention/output"),
        *norm(f"{there}.layernorm_after", f"{here}/feed_forward_norm"),
        *affine(f"{there}.intermediate.dense", f"{here}/feed_forward/in"),
        *affine(f"{there}.output.dense", f"{here}/feed_forward/out"),
        *norm(f"{prefix}layernorm", "body/final/norm"),
        *pooler(f"{prefix}pooler.dense", body["pooling"]),
    ]
    if body["distilled_token"]:
        rows.append(
            Row(
                f"{prefix}embeddings.distillation_token",
                "params/body/embeddings/distilled_token",
            )
        )
    if head is not None and head["family"] == "distilled":
        rows += affine("cls_classifier", "head/dense")
        rows += affine("distillation_classifier", "head/distilled_dense")
    elif head is not None:
        rows += affine("classifier", "head/dense")
    return Table(_NAME, tuple(rows), {"at": counted(body["depth"])})


def _write(described: Described) -> dict[str, Any]:
    body, head = described.body, described.head
    problems: list[str] = []
    wanted_fields(
        body,
        {
            "attention_scale": 0.0,
            "class_token": True,
            "prefix_positions": True,
            "layer_scale": 0.0,
            "norm": "final",
        },
        problems,
    )
    model_type = "deit" if body["distilled_token"] else "vit"
    kind = head["family"] if head else ""
    if head is not None:
        if kind not in _HEADS or not head.get("use_bias", True):
            problems.append(f"its head is {kind!r}, but one of {list(_HEADS)} with biases is known")
        elif body["pooling"] != "class":
            problems.append(f"its head reads the pooling {body['pooling']!r}, not 'class'")
        elif kind == "distilled" and model_type != "deit":
            problems.append("its head reads a distilled token, but the body has none")
    elif body["pooling"] not in ("class", "pooler"):
        problems.append(f"pooling must be 'class' or 'pooler', not {body['pooling']!r}")
    if problems:
        raise HubError(f"{_NAME} cannot hold this model:\n{listed(problems)}")
    config: dict[str, Any] = {
        "architectures": [f"{_CLASSES[model_type]}{_HEADS.get(kind, 'Model')}"],
        "model_type": model_type,
        "image_size": body["image_size"],
        "patch_size": body["patch_size"],
        "num_channels": body["in_channels"],
        "hidden_size": body["width"],
        "num_hidden_layers": body["depth"],
        "num_attention_heads": body["heads"],
        "intermediate_size": body["feed_forward"],
        "hidden_act": body["activation"],
        "layer_norm_eps": body["norm_epsilon"],
        "qkv_bias": body["qkv_bias"],
        "hidden_dropout_prob": body["dropout"],
        "attention_probs_dropout_prob": body["attention_dropout"],
        "encoder_stride": body["patch_size"],
    }
    if body.get("head_size"):
        config["head_dim"] = body["head_size"]
    if body["pooling"] == "pooler":
        config["pooler_output_size"] = body.get("pooler_width") or body["width"]
        config["pooler_act"] = body["pooler_activation"]
    if head is not None:
        config.update(labels_to(described.label_names, head["classes"]))
    return config


FAMILY = FolderFamily(
    name=_NAME,
    model_types=("vit", "deit"),
    origin="hf",
    body="vit",
    describe=_describe,
    table=_table,
    write=_write,
)
"""This table's entry."""
