"""Vision transformers as timm lays them out: ``blocks.0.attn.qkv``, ``patch_embed.proj``, ``head``.

timm's config.json names an architecture and what departs from it. Sizes are read off the arrays;
what arrays can't show (heads, pooling, epsilon) is known for the architectures listed here only.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from tlearn.hub.errors import HubError, listed
from tlearn.hub.image_facts import facts_from_timm
from tlearn.hub.mapping import Row, Table
from tlearn.hub.tables.encoder_rows import affine, counted, norm
from tlearn.hub.tables.folder_family import Described, FolderFamily, Shapes
from tlearn.hub.tables.timm_config import (
    check_arguments,
    known_labels,
    labels_from_timm,
    pretrained_cfg,
)
from tlearn.hub.tables.vision_folder import counted as count_of
from tlearn.hub.tables.vision_folder import refuse, size_of, wanted_fields, whole

_NAME = "timm_vit"
_EPSILON = 1e-6
_ARCHITECTURE = re.compile(
    r"(?:vit|deit|deit3)_(tiny|small|medium|betwixt|base|large|huge|giant|gigantic)"
    r"(?:_distilled)?_patch(?:8|14|16|32)_(gap_)?(?:\d{3}|dinov2)(?:_miil)?"
    r"|flexivit_(small|base|large)"
)
_HEADS = {
    "tiny": 3,
    "small": 6,
    "medium": 8,
    "betwixt": 10,
    "base": 12,
    "large": 16,
    "huge": 16,
    "giant": 16,
    "gigantic": 16,
}
_HEADS_ODD = {"vit_base_patch16_gap_224": 16}
_STRANGE = {
    r"norm_pre\.": "a normalisation before its blocks (CLIP)",
    r"reg_token$": "register tokens",
    r"attn_pool\.": "pooling by attention",
    r"blocks\.\d+\.attn\.q_norm\.": "normalised queries and keys",
    r"blocks\.\d+\.attns\.": "parallel blocks",
    r"blocks\.\d+\.attn\.rel_pos": "relative positions",
    r"blocks\.\d+\.mlp\.fc1_g\.": "gated feed-forward parts",
}
# What may stand in model_args: those read here, those of training only, and those whose one value
# leaves the function as it is.
_READ = (
    "img_size patch_size in_chans num_classes embed_dim depth num_heads mlp_ratio qkv_bias "
    "init_values class_token no_embed_class global_pool fc_norm final_norm act_layer"
).split()
_TRAINING = (
    "drop_rate pos_drop_rate patch_drop_rate proj_drop_rate attn_drop_rate drop_path_rate "
    "weight_init fix_init dynamic_img_size dynamic_img_pad"
).split()
_FIXED = {
    "qk_norm": False,
    "scale_attn_norm": False,
    "scale_mlp_norm": False,
    "proj_bias": True,
    "pos_embed": "learn",
    "reg_tokens": 0,
    "pre_norm": False,
    "pool_include_prefix": False,
    "norm_layer": None,
    "embed_norm_layer": None,
}
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_tanh": "gelu_pytorch_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "silu": "silu",
}


def _describe(config: Mapping[str, Any], shapes: Shapes) -> Described:
    problems: list[str] = []
    architecture = str(config["architecture"])
    arguments = check_arguments(config, _READ, _TRAINING, _FIXED, problems)
    match = _ARCHITECTURE.fullmatch(architecture)
    if match is None:
        problems.append(
            f"the architecture {architecture!r} is not known here: known are vit, deit and deit3 "
            "of plain names (no clip, siglip, registers or relative positions) and flexivit"
        )
    for pattern, what in _STRANGE.items():
        if any(re.match(pattern, name) for name in shapes):
            problems.append(f"it has {what}, which the body here has not")
    refuse(_NAME, problems)
    size = (match[1] or match[3]) if match else ""
    heads = _HEADS_ODD.get(architecture, _HEADS.get(size, 1))
    body: dict[str, Any] = {
        "family": "vit",
        "in_channels": size_of(shapes, "patch_embed.proj.weight", 1, problems),
        "patch_size": size_of(shapes, "patch_embed.proj.weight", 2, problems),
        "width": size_of(shapes, "patch_embed.proj.weight", 0, problems),
        "depth": count_of(r"blocks\.(\d{1,4})\.norm1\.weight$", shapes, problems, "blocks"),
        "heads": whole(arguments, "num_heads", heads, problems),
        "feed_forward": size_of(shapes, "blocks.0.mlp.fc1.weight", 0, problems),
        "norm_epsilon": _EPSILON,
        "qkv_bias": "blocks.0.attn.qkv.bias" in shapes,
        "layer_scale": 0.0,
        "class_token": "cls_token" in shapes,
        "distilled_token": "dist_token" in shapes,
    }
    if "blocks.0.ls1.gamma" in shapes:
        body["layer_scale"] = float(arguments.get("init_values") or 1e-5)
    act = arguments.get("act_layer") or "gelu"
    if act not in _ACTIVATIONS:
        problems.append(f"act_layer={act!r} is not known here (known: {sorted(_ACTIVATIONS)})")
    body["activation"] = _ACTIVATIONS.get(act, "gelu")
    facts, assumed = facts_from_timm(config)
    hint = arguments.get("img_size") or (facts.size if facts else 0)
    body.update(_positions(shapes, body, hint, problems))
    if facts is not None and facts.size != body["image_size"]:
        facts = dataclasses.replace(facts, size=body["image_size"])
    norms = [kind for kind in ("norm", "fc_norm") if f"{kind}.weight" in shapes]
    if len(norms) > 1:
        problems.append("it has both a norm and an fc_norm")
    body["norm"] = {"norm": "final", "fc_norm": "pooled", "": "none"}["".join(norms[:1])]
    usual = "token" if body["class_token"] else "avg"
    pool = arguments.get("global_pool", config.get("global_pool", usual)) or usual
    if pool not in ("token", "avg"):
        problems.append(f"global_pool={pool!r}: known here are 'token' and 'avg'")
    body["pooling"] = "mean" if pool == "avg" else "class"
    if "pre_logits.fc.weight" in shapes:
        body["pooling"] = "pooler"
        body["pooler_width"] = size_of(shapes, "pre_logits.fc.weight", 0, problems)
    head = None
    if "head.weight" in shapes:
        kind = "distilled" if "head_dist.weight" in shapes else "linear"
        head = {"family": kind, "classes": size_of(shapes, "head.weight", 0, problems)}
        if body["distilled_token"] != (kind == "distilled"):
            problems.append("a distilled token and a head for it come together")
    labels = labels_from_timm(config, head["classes"] if head else None, problems)
    refuse(_NAME, problems)
    return Described(
        body=body,
        head=head,
        label_names=labels,
        facts=facts,
        assumed=assumed,
        architecture=architecture,
        extra=known_labels(head, labels),
    )


def _positions(
    shapes: Shapes, body: Mapping[str, Any], hint: Any, problems: list[str]
) -> dict[str, Any]:
    """Tells the grid, and whether class tokens have positions: no two squares differ by 1 or 2."""
    length = size_of(shapes, "pos_embed", 1, problems)
    prefix = int(body["class_token"]) + int(body["distilled_token"])
    for covered in (prefix, 0):
        grid = math.isqrt(max(length - covered, 0))
        if grid > 0 and grid * grid == length - covered:
            break
    else:
        problems.append(f"pos_embed has {length} positions: no square, with or without {prefix}")
        return {"image_size": body["patch_size"], "prefix_positions": True}
    size = hint[0] if isinstance(hint, (list, tuple)) and hint else hint
    fits = isinstance(size, int) and size // body["patch_size"] == grid
    return {
        "image_size": size if fits else grid * body["patch_size"],
        "prefix_positions": covered == prefix,
    }


def _table(described: Described) -> Table:
    body, head = described.body, described.head
    there, here = "blocks.{at}", "body/block_{at}"
    parts = ("query", "key", "value")
    rows = [
        Row("pos_embed", "params/body/embeddings/positions"),
        Row("patch_embed.proj.weight", "params/body/embeddings/patches/kernel", "conv"),
        Row("patch_embed.proj.bias", "params/body/embeddings/patches/bias", "vector"),
        *norm(f"{there}.norm1", f"{here}/attention_norm"),
        *(
            Row(
                f"{there}.attn.qkv.weight",
                f"params/{here}/attention/{part}/kernel",
                "linear",
                part=(i, 3),
            )
            for i, part in enumerate(parts)
        ),
        *affine(f"{there}.attn.proj", f"{here}/attention/output"),
        *norm(f"{there}.norm2", f"{here}/feed_forward_norm"),
        *affine(f"{there}.mlp.fc1", f"{here}/feed_forward/in"),
        *affine(f"{there}.mlp.fc2", f"{here}/feed_forward/out"),
    ]
    if body["qkv_bias"]:
        rows += [
            Row(
                f"{there}.attn.qkv.bias",
                f"params/{here}/attention/{part}/bias",
                "vector",
                part=(i, 3),
            )
            for i, part in enumerate(parts)
        ]
    if body["layer_scale"]:
        rows += [
            Row(f"{there}.ls{i}.gamma", f"params/{here}/{part}_gain/scale", "vector")
            for i, part in ((1, "attention"), (2, "feed_forward"))
        ]
    for name, token, field in (
        ("cls_token", "class_token", "class_token"),
        ("dist_token", "distilled_token", "distilled_token"),
    ):
        if body[field]:
            rows.append(Row(name, f"params/body/embeddings/{token}"))
    if body["norm"] != "none":
        rows += norm("norm" if body["norm"] == "final" else "fc_norm", "body/final/norm")
    if body["pooling"] == "pooler":
        rows += affine("pre_logits.fc", "body/pooler/dense")
    if head is not None:
        rows += affine("head", "head/dense")
        if head["family"] == "distilled":
            rows += affine("head_dist", "head/distilled_dense")
    return Table(_NAME, tuple(rows), {"at": counted(body["depth"])})


def _write(described: Described) -> dict[str, Any]:
    body, head = described.body, described.head
    problems: list[str] = []
    wanted_fields(
        body,
        {"attention_scale": 0.0, "norm_epsilon": _EPSILON, "head_size": 0},
        problems,
    )
    acts = {ours: theirs for theirs, ours in _ACTIVATIONS.items()}
    acts["gelu_new"] = "gelu_tanh"
    if body["activation"] not in acts:
        problems.append(f"activation={body['activation']!r} has no name there")
    if body["pooling"] == "pooler":
        problems.append("pooling='pooler': timm has no pre-logits any more")
    kinds = ("distilled",) if body["distilled_token"] else ("linear",)
    if head is not None and (head["family"] not in kinds or not head.get("use_bias", True)):
        problems.append(f"its head is {head['family']!r}, but it must be {kinds[0]!r} with biases")
    if body["distilled_token"] and body["pooling"] != "class":
        problems.append(f"with a distilled token, pooling={body['pooling']!r} is not known there")
    if problems:
        raise HubError(f"{_NAME} cannot hold this model:\n{listed(problems)}")
    architecture = described.architecture
    if not _ARCHITECTURE.fullmatch(architecture):
        distilled = "deit_base_distilled_patch16_224"
        architecture = distilled if body["distilled_token"] else "vit_base_patch16_224"
    width, inner = body["width"], body["feed_forward"]
    ratio = inner / width if int(width * (inner / width)) == inner else (inner + 0.5) / width
    arguments: dict[str, Any] = {
        "img_size": body["image_size"],
        "patch_size": body["patch_size"],
        "in_chans": body["in_channels"],
        "embed_dim": width,
        "depth": body["depth"],
        "num_heads": body["heads"],
        "mlp_ratio": ratio,
        "qkv_bias": body["qkv_bias"],
        "init_values": body["layer_scale"] or None,
        "class_token": body["class_token"],
        "no_embed_class": not body["prefix_positions"],
        "global_pool": "avg" if body["pooling"] == "mean" else "token",
        "fc_norm": body["norm"] == "pooled",
    }
    if body["norm"] == "none":
        arguments["final_norm"] = False
    if acts[body["activation"]] != "gelu":
        arguments["act_layer"] = acts[body["activation"]]
    heads = ["head", "head_dist"] if body["distilled_token"] else "head"
    return {
        "architecture": architecture,
        "num_classes": head["classes"] if head else 0,
        "num_features": width,
        "global_pool": arguments["global_pool"],
        "model_args": arguments,
        **({"label_names": list(described.label_names)} if described.label_names else {}),
        "pretrained_cfg": pretrained_cfg(described, "patch_embed.proj", heads, fixed_size=True),
    }


FAMILY = FolderFamily(
    name=_NAME,
    model_types=("vit_", "deit_", "deit3_", "flexivit_"),
    origin="timm",
    body="vit",
    describe=_describe,
    table=_table,
    write=_write,
)
"""This table's entry."""
