"""Residual networks as Hugging Face lays them out: ``resnet.encoder.stages.0.layers.0.layer.0``."""

from collections.abc import Mapping
from typing import Any

from tlearn.hub.errors import HubError, listed
from tlearn.hub.mapping import Row, Table
from tlearn.hub.tables.encoder_rows import affine
from tlearn.hub.tables.family import norm_rows
from tlearn.hub.tables.folder_family import Described, FolderFamily, Shapes
from tlearn.hub.tables.residual import unfit_residual
from tlearn.hub.tables.vision_folder import labels_of, labels_to, refuse, whole

_NAME = "hf_resnet"


def _describe(config: Mapping[str, Any], shapes: Shapes) -> Described:
    problems: list[str] = []
    sizes = config.get("hidden_sizes", (256, 512, 1024, 2048))
    depths = config.get("depths", (3, 4, 6, 3))
    sound = [
        isinstance(given, (list, tuple)) and all(isinstance(x, int) and x > 0 for x in given)
        for given in (sizes, depths)
    ]
    if not all(sound) or len(sizes) != len(depths):
        problems.append("hidden_sizes and depths must be lists of whole numbers of one length")
        refuse(_NAME, problems)
    block = config.get("layer_type", "bottleneck")
    if block not in ("basic", "bottleneck"):
        problems.append(f"layer_type is 'basic' or 'bottleneck', got {block!r}")
    expansion = 4 if block == "bottleneck" else 1
    if any(size % expansion for size in sizes):
        problems.append(f"hidden_sizes of bottlenecks are multiples of 4, got {list(sizes)}")
    if config.get("hidden_act", "relu") != "relu":
        problems.append(f"hidden_act={config['hidden_act']!r}: the body here has 'relu'")
    for key, why in (
        ("downsample_in_first_stage", "the first stage halves the map"),
        ("downsample_in_bottleneck", "bottlenecks stride in their first convolution"),
    ):
        if config.get(key):
            problems.append(f"{key}: {why}, which the body here does not")
    body = {
        "family": "resnet",
        "stage_blocks": list(depths),
        "stage_widths": [size // expansion for size in sizes],
        "block": block,
        "stem": "imagenet",
        "stem_width": whole(config, "embedding_size", 64, problems),
        "shortcut": "B",
        "in_channels": whole(config, "num_channels", 3, problems),
    }
    head = None
    if "classifier.1.weight" in shapes:
        head = {"family": "linear", "classes": shapes["classifier.1.weight"][0]}
    labels = labels_of(config, head["classes"] if head else None, problems)
    refuse(_NAME, problems)
    prefix = "resnet." if any(name.startswith("resnet.") for name in shapes) else ""
    named = config.get("architectures") or ()
    return Described(
        body=body,
        head=head,
        label_names=labels,
        prefix=prefix,
        architecture=str(named[0]) if named else "",
    )


def _table(described: Described) -> Table:
    body, prefix = described.body, described.prefix
    expansion = 4 if body["block"] == "bottleneck" else 1
    blocks, convolved = [], []
    width = body["stem_width"]
    for stage, (count, inner) in enumerate(
        zip(body["stage_blocks"], body["stage_widths"], strict=True)
    ):
        for block in range(count):
            at = (f"{stage}.layers.{block}", f"stage_{stage + 1}/block_{block + 1:02d}")
            blocks.append(at)
            if (block == 0 and stage > 0) or width != inner * expansion:
                convolved.append(at)
            width = inner * expansion
    there, stem = f"{prefix}encoder.stages", f"{prefix}embedder.embedder"
    convolution, normalised = f"{there}.{{at}}.layer.{{n}}", f"{there}.{{by}}.shortcut"
    rows = [
        Row(f"{stem}.convolution.weight", "params/body/stem/conv/kernel", "conv"),
        *norm_rows(f"{stem}.normalization", "stem/norm"),
        Row(f"{convolution}.convolution.weight", "params/body/{at}/conv_{n}/kernel", "conv"),
        *norm_rows(f"{convolution}.normalization", "{at}/norm_{n}"),
        Row(f"{normalised}.convolution.weight", "params/body/{by}/shortcut_conv/kernel", "conv"),
        *norm_rows(f"{normalised}.normalization", "{by}/shortcut_norm"),
    ]
    if described.head is not None:
        rows += affine("classifier.1", "head/dense")
    numbers = 3 if body["block"] == "bottleneck" else 2
    fields = {
        "at": tuple(blocks),
        "by": tuple(convolved),
        "n": tuple((str(i), str(i + 1)) for i in range(numbers)),
    }
    return Table(_NAME, tuple(rows), fields)


def _write(described: Described) -> dict[str, Any]:
    body, head = described.body, described.head
    problems = [unfit_residual(body, "imagenet")] if unfit_residual(body, "imagenet") else []
    if body["shortcut"] != "B":
        problems.append(f"shortcut={body['shortcut']!r} (not 'B')")
    if head is not None and (head["family"] != "linear" or not head.get("use_bias", True)):
        problems.append(f"its head is {head['family']!r}, not 'linear' with a bias")
    if problems:
        raise HubError(f"{_NAME} cannot hold this model:\n{listed(problems)}")
    expansion = 4 if body["block"] == "bottleneck" else 1
    config: dict[str, Any] = {
        "architectures": [f"ResNet{'ForImageClassification' if head else 'Model'}"],
        "model_type": "resnet",
        "depths": list(body["stage_blocks"]),
        "hidden_sizes": [width * expansion for width in body["stage_widths"]],
        "layer_type": body["block"],
        "embedding_size": body["stem_width"],
        "num_channels": body["in_channels"],
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": False,
    }
    if head is not None:
        config.update(labels_to(described.label_names, head["classes"]))
    return config


FAMILY = FolderFamily(
    name=_NAME,
    model_types=("resnet",),
    origin="hf",
    body="resnet",
    describe=_describe,
    table=_table,
    write=_write,
)
"""This table's entry."""
