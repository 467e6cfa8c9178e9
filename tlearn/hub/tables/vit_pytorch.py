"""Vision transformers named as early PyTorch code named them: ``transformer.layers.0.0.fn.fn``.

Their checkpoints are bare state dictionaries. A config.json beside them must say what arrays can't:
``dim``, ``depth``, ``heads``, ``mlp_dim``, ``patch_size``, ``image_size``, and, where they are
unusual, ``attention_scale``, ``layer_norm_eps``, ``pixel_mean`` and ``pixel_std``.
"""

from collections.abc import Mapping
from typing import Any

from tlearn.bodies.facts import ImageFacts
from tlearn.hub.errors import HubError, listed, quoted
from tlearn.hub.mapping import Row, Table
from tlearn.hub.tables.encoder_rows import affine, norm
from tlearn.hub.tables.folder_family import Described, FolderFamily, Shapes
from tlearn.hub.tables.vision_folder import number, refuse, side, wanted_fields, whole

_NAME = "vit_pytorch"
_FIXED = {
    "norm": ("pre",),
    "pool": ("cls",),
    "activation": ("gelu", "gelu(exact)"),
    "qkv_order": ("q|k|v", "q|k|v chunks, heads contiguous"),
    "patch_order": ("(p1 p2 c)",),
}


def _describe(config: Mapping[str, Any], shapes: Shapes) -> Described:
    problems: list[str] = []
    width = whole(config, "dim", None, problems)
    heads = whole(config, "heads", None, problems)
    channels = whole(config, "channels", 3, problems)
    for key, known in _FIXED.items():
        if config.get(key, known[0]) not in known:
            problems.append(f"{key}={quoted(config[key])}: known here is {' or '.join(known)}")
    body: dict[str, Any] = {
        "family": "vit",
        "image_size": side(config, "image_size", 224, problems),
        "patch_size": side(config, "patch_size", 16, problems),
        "in_channels": channels,
        "width": width,
        "depth": whole(config, "depth", None, problems),
        "heads": heads,
        "feed_forward": whole(config, "mlp_dim", None, problems),
        "head_size": whole(config, "dim_head", 0, problems, least=0),
        "attention_scale": _scale(config.get("attention_scale"), width, problems),
        "norm_epsilon": number(config, "layer_norm_eps", 1e-5, problems),
        "qkv_bias": "transformer.layers.0.0.fn.fn.to_qkv.bias" in shapes,
        "norm": "none",
    }
    head: dict[str, Any] | None = None
    first, last = shapes.get("mlp_head.0.weight"), shapes.get("mlp_head.2.weight")
    if first is not None and len(first) == 1 and "mlp_head.1.weight" in shapes:
        body["norm"] = "final"
        head = {"family": "linear", "classes": shapes["mlp_head.1.weight"][0]}
    elif first is not None and last is not None and len(first) == 2:
        head = {
            "family": "mlp",
            "classes": last[0],
            "hidden": (first[0],),
            "activation": "gelu",
        }
    elif first is not None:
        problems.append("its mlp_head is neither norm and affine map nor two affine maps")
    facts = None
    if "pixel_mean" in config and "pixel_std" in config:
        mean, std = (_numbers(config[key], channels) for key in ("pixel_mean", "pixel_std"))
        if mean and std:
            facts = ImageFacts(mean=mean, std=std, size=body["image_size"], channels=channels)
        else:
            problems.append(f"pixel_mean and pixel_std must be {channels} number(s) each")
    if config.get("final_norm", body["norm"] == "final") != (body["norm"] == "final"):
        problems.append(f"final_norm={quoted(config['final_norm'])} contradicts its arrays")
    refuse(_NAME, problems)
    return Described(body=body, head=head, facts=facts, assumed=("heads lie side by side",))


def _scale(value: Any, width: int, problems: list[str]) -> float:
    """Reads what multiplies the scores: a number, or in words; 0 stands for the usual."""
    if value is None or (isinstance(value, str) and value.startswith("head_dim**-0.5")):
        return 0.0
    if isinstance(value, str) and value.startswith("dim**-0.5"):
        return width**-0.5
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
        return float(value)
    problems.append(
        "attention_scale is a positive number, 'head_dim**-0.5' or 'dim**-0.5', got "
        + quoted(value)
    )
    return 0.0


def _numbers(value: Any, count: int) -> tuple[float, ...]:
    given = value if isinstance(value, (list, tuple)) else [value]
    sound = len(given) == count and all(isinstance(x, (int, float)) for x in given)
    return tuple(float(x) for x in given) if sound else ()


def _table(described: Described) -> Table:
    body, head = described.body, described.head
    attention, feed = "transformer.layers.{at}.0.fn", "transformer.layers.{at}.1.fn"
    here = "body/block_{at}"
    parts = ("query", "key", "value")
    kinds = [("weight", "kernel", "linear")]
    if body["qkv_bias"]:
        kinds.append(("bias", "bias", "vector"))
    rows = [
        Row("pos_embedding", "params/body/embeddings/positions"),
        Row("cls_token", "params/body/embeddings/class_token"),
        Row("patch_to_embedding.weight", "params/body/embeddings/patches/kernel", "patches"),
        Row("patch_to_embedding.bias", "params/body/embeddings/patches/bias", "vector"),
        *norm(f"{attention}.norm", f"{here}/attention_norm"),
        *(
            Row(
                f"{attention}.fn.to_qkv.{there}",
                f"params/{here}/attention/{part}/{ours}",
                transform,
                part=(i, 3),
            )
            for there, ours, transform in kinds
            for i, part in enumerate(parts)
        ),
        *affine(f"{attention}.fn.to_out", f"{here}/attention/output"),
        *norm(f"{feed}.norm", f"{here}/feed_forward_norm"),
        *affine(f"{feed}.fn.net.0", f"{here}/feed_forward/in"),
        *affine(f"{feed}.fn.net.2", f"{here}/feed_forward/out"),
    ]
    if body["norm"] == "final":
        rows += norm("mlp_head.0", "body/final/norm")
    if head is not None and head["family"] == "mlp":
        rows += affine("mlp_head.0", "head/hidden_1")
        rows += affine("mlp_head.2", "head/dense")
    elif head is not None:
        rows += affine("mlp_head.1", "head/dense")
    at = tuple((str(i), f"{i:02d}") for i in range(body["depth"]))
    return Table(_NAME, tuple(rows), {"at": at})


def _write(described: Described) -> dict[str, Any]:
    body, head = described.body, described.head
    problems: list[str] = []
    wanted_fields(
        body,
        {
            "activation": "gelu",
            "class_token": True,
            "distilled_token": False,
            "prefix_positions": True,
            "layer_scale": 0.0,
            "pooling": "class",
        },
        problems,
    )
    wanted = {"final": "linear", "none": "mlp"}.get(body["norm"])
    if head is None or head["family"] != wanted:
        problems.append(f"with norm={body['norm']!r} its head must be {wanted!r}")
    elif wanted == "mlp" and (len(head["hidden"]) != 1 or head["activation"] != "gelu"):
        problems.append("its head must have one hidden layer with 'gelu'")
    if problems:
        raise HubError(f"{_NAME} cannot hold this model:\n{listed(problems)}")
    config: dict[str, Any] = {
        "image_size": body["image_size"],
        "channels": body["in_channels"],
        "patch_size": body["patch_size"],
        "dim": body["width"],
        "depth": body["depth"],
        "heads": body["heads"],
        "mlp_dim": body["feed_forward"],
        "layer_norm_eps": body["norm_epsilon"],
        "final_norm": body["norm"] == "final",
        **{key: known[0] for key, known in _FIXED.items()},
    }
    if body["head_size"]:
        config["dim_head"] = body["head_size"]
    if body["attention_scale"]:
        config["attention_scale"] = body["attention_scale"]
    if isinstance(described.facts, ImageFacts):
        config["pixel_mean"] = list(described.facts.mean)
        config["pixel_std"] = list(described.facts.std)
    return config


FAMILY = FolderFamily(
    name=_NAME,
    model_types=("",),
    origin="plain",
    body="vit",
    describe=_describe,
    table=_table,
    write=_write,
)
"""This table's entry."""
