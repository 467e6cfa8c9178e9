"""Residual networks as timm lays them out: torchvision's names, and a config.json beside them."""

from collections.abc import Mapping
from typing import Any

from tlearn.hub.errors import HubError, listed
from tlearn.hub.image_facts import facts_from_timm
from tlearn.hub.mapping import Table
from tlearn.hub.tables.folder_family import Described, FolderFamily, Shapes
from tlearn.hub.tables.residual import residual_table, shape_of, stages_of, unfit_residual
from tlearn.hub.tables.timm_config import (
    check_arguments,
    known_labels,
    labels_from_timm,
    pretrained_cfg,
)
from tlearn.hub.tables.vision_folder import refuse

_NAME = "timm_resnet"
_ARCHITECTURES = ("resnet18", "resnet34", "resnet26", "resnet50", "resnet101", "resnet152")
_LETTERS = {
    "c": "a stem of three convolutions",
    "d": "a stem of three convolutions and shortcuts that average before they halve",
    "s": "a wide stem of three convolutions",
    "t": "a tiered stem of three convolutions",
}
_READ = ("num_classes", "in_chans", "layers", "channels", "block")
_TRAINING = ("drop_rate", "drop_path_rate", "drop_block_rate", "zero_init_last")
_FIXED = {
    "stem_type": "",
    "stem_width": 64,
    "cardinality": 1,
    "base_width": 64,
    "output_stride": 32,
    "avg_down": False,
    "replace_stem_pool": False,
    "block_reduce_first": 1,
    "down_kernel_size": 1,
    "aa_layer": None,
    "act_layer": "relu",
    "norm_layer": None,
    "global_pool": "avg",
    "block_args": None,
}


def _describe(config: Mapping[str, Any], shapes: Shapes) -> Described:
    problems: list[str] = []
    architecture = str(config["architecture"])
    check_arguments(config, _READ, _TRAINING, _FIXED, problems)
    if architecture not in _ARCHITECTURES:
        stem = architecture.removeprefix("resnet").lstrip("0123456789")
        why = f" (it has {_LETTERS[stem]})" if stem in _LETTERS else ""
        problems.append(
            f"the architecture {architecture!r} is not known here{why}; known are "
            f"{', '.join(_ARCHITECTURES)}"
        )
    pool = config.get("global_pool", "avg")
    if pool not in ("avg", ""):
        problems.append(f"global_pool={pool!r}: known here is 'avg'")
    refuse(_NAME, problems)
    stem_width, channels, rows, columns = shape_of(shapes, "conv1.weight", 4)
    if (rows, columns) != (7, 7):
        problems.append(f"conv1 is {rows}x{columns}, but these architectures begin with 7x7")
    blocks, widths, block = stages_of(shapes)
    head = None
    if "fc.weight" in shapes:
        head = {"family": "linear", "classes": shape_of(shapes, "fc.weight", 2)[0]}
    labels = labels_from_timm(config, head["classes"] if head else None, problems)
    facts, assumed = facts_from_timm(config)
    refuse(_NAME, problems)
    return Described(
        body={
            "family": "resnet",
            "stage_blocks": list(blocks),
            "stage_widths": list(widths),
            "block": block,
            "stem": "imagenet",
            "stem_width": stem_width,
            "shortcut": "B",
            "in_channels": channels,
        },
        head=head,
        label_names=labels,
        facts=facts,
        assumed=assumed,
        architecture=architecture,
        extra=known_labels(head, labels),
    )


def _table(described: Described) -> Table:
    classes = described.head["classes"] if described.head else None
    return residual_table(_NAME, described.body, classes, shortcut="downsample", head="fc")


def _write(described: Described) -> dict[str, Any]:
    body, head = described.body, described.head
    problems = [unfit_residual(body, "imagenet")] if unfit_residual(body, "imagenet") else []
    if body["shortcut"] != "B":
        problems.append(f"shortcut={body['shortcut']!r} (not 'B')")
    if head is not None and (head["family"] != "linear" or not head.get("use_bias", True)):
        problems.append(f"its head is {head['family']!r}, not 'linear' with a bias")
    if body["stem_width"] != 64:
        problems.append(f"stem_width={body['stem_width']} (not 64)")
    if problems:
        raise HubError(f"{_NAME} cannot hold this model:\n{listed(problems)}")
    architecture = described.architecture
    basic = body["block"] == "basic"
    if architecture not in _ARCHITECTURES:
        architecture = "resnet18" if basic else "resnet50"
    arguments: dict[str, Any] = {
        "layers": list(body["stage_blocks"]),
        "in_chans": body["in_channels"],
    }
    if tuple(body["stage_widths"]) != (64, 128, 256, 512):
        arguments["channels"] = list(body["stage_widths"])
    return {
        "architecture": architecture,
        "num_classes": head["classes"] if head else 0,
        "num_features": body["stage_widths"][-1] * (1 if basic else 4),
        "global_pool": "avg",
        "model_args": arguments,
        **({"label_names": list(described.label_names)} if described.label_names else {}),
        "pretrained_cfg": pretrained_cfg(described, "conv1", "fc", fixed_size=False),
    }


FAMILY = FolderFamily(
    name=_NAME,
    model_types=("resnet",),
    origin="timm",
    body="resnet",
    describe=_describe,
    table=_table,
    write=_write,
)
"""This table's entry."""
