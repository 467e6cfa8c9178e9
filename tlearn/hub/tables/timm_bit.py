"""BiT as timm lays it out: ``stages.0.blocks.0.conv1``, ``stem.conv``, ``head.fc``."""

import re
from collections.abc import Mapping
from typing import Any

from tlearn.hub.errors import HubError, listed
from tlearn.hub.image_facts import facts_from_timm
from tlearn.hub.mapping import Row, Table
from tlearn.hub.tables.bit_layout import blocks_of, body_of, unfit_bit
from tlearn.hub.tables.folder_family import Described, FolderFamily, Shapes
from tlearn.hub.tables.residual import shape_of
from tlearn.hub.tables.timm_config import (
    check_arguments,
    known_labels,
    labels_from_timm,
    pretrained_cfg,
)
from tlearn.hub.tables.vision_folder import refuse

_NAME = "timm_bit"
_EPSILON = 1e-8
_DEPTHS = {"50": (3, 4, 6, 3), "101": (3, 4, 23, 3), "152": (3, 8, 36, 3)}
_ARCHITECTURES = (
    "resnetv2_50x1_bit",
    "resnetv2_50x3_bit",
    "resnetv2_101x1_bit",
    "resnetv2_101x3_bit",
    "resnetv2_152x2_bit",
    "resnetv2_152x4_bit",
)
_PARTS = re.compile(r"resnetv2_(\d+)x(\d)_bit")
_READ = ("num_classes", "in_chans", "channels", "stem_chs")
_TRAINING = ("drop_rate", "drop_path_rate", "zero_init_last")
_FIXED = {
    "output_stride": 32,
    "avg_down": False,
    "preact": True,
    "basic": False,
    "bottle_ratio": 0.25,
    "act_layer": "relu",
    "norm_layer": None,
    "global_pool": "avg",
}


def _describe(config: Mapping[str, Any], shapes: Shapes) -> Described:
    problems: list[str] = []
    architecture = str(config["architecture"])
    check_arguments(config, _READ, _TRAINING, _FIXED, problems)
    if architecture not in _ARCHITECTURES:
        problems.append(
            f"the architecture {architecture!r} is not known here; of this kind are "
            f"{', '.join(_ARCHITECTURES)}"
        )
    pool = config.get("global_pool", "avg")
    if pool not in ("avg", ""):
        problems.append(f"global_pool={pool!r}: known here is 'avg'")
    refuse(_NAME, problems)
    third = "stages.{stage}.blocks.{block}.conv3.weight"
    body = body_of(shapes, "stem.conv.weight", third, 0, torch=True, kernel_epsilon=_EPSILON)
    match = _PARTS.fullmatch(architecture)
    depths = _DEPTHS[match[1]] if match else ()
    if tuple(body["stage_blocks"]) != depths:
        problems.append(f"it has {body['stage_blocks']} blocks, but a {architecture} {depths}")
    head = None
    if "head.fc.weight" in shapes:
        head = {"family": "linear", "classes": shape_of(shapes, "head.fc.weight", 4)[0]}
    labels = labels_from_timm(config, head["classes"] if head else None, problems)
    facts, assumed = facts_from_timm(config)
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


def _table(described: Described) -> Table:
    block = "stages.{stage}.blocks.{block}"
    blocks, convolved = blocks_of(described.body, block, 0, always=True)
    rows = [
        Row("stem.conv.weight", "params/body/stem/conv/kernel", "conv"),
        *_norm("norm", "final/norm"),
        *_norm("{at}.norm{n}", "{at}/norm_{n}"),
        Row("{at}.conv{n}.weight", "params/body/{at}/conv_{n}/kernel", "conv"),
        Row("{by}.downsample.conv.weight", "params/body/{by}/shortcut_conv/kernel", "conv"),
    ]
    if described.head is not None:
        rows.append(Row("head.fc.weight", "params/head/dense/kernel", "pointwise_torch"))
        rows.append(Row("head.fc.bias", "params/head/dense/bias", "vector"))
    numbers = tuple((number, number) for number in "123")
    return Table(_NAME, tuple(rows), {"at": blocks, "by": convolved, "n": numbers})


def _norm(source: str, target: str) -> tuple[Row, Row]:
    return (
        Row(f"{source}.weight", f"params/body/{target}/scale", "vector"),
        Row(f"{source}.bias", f"params/body/{target}/bias", "vector"),
    )


def _write(described: Described) -> dict[str, Any]:
    body, head = described.body, described.head
    problems = [unfit_bit(body, _EPSILON)] if unfit_bit(body, _EPSILON) else []
    if head is not None and (head["family"] != "linear" or not head.get("use_bias", True)):
        problems.append(f"its head is {head['family']!r}, not 'linear' with a bias")
    architecture, factor = _architecture(described)
    if not architecture:
        problems.append(
            f"stage_blocks={tuple(body['stage_blocks'])} of the widths "
            f"{tuple(body['stage_widths'])} are those of none of {', '.join(_ARCHITECTURES)}"
        )
    if problems:
        raise HubError(f"{_NAME} cannot hold this model:\n{listed(problems)}")
    arguments: dict[str, Any] = {"in_chans": body["in_channels"]}
    channels = [4 * width // factor for width in body["stage_widths"]]
    if channels != [256, 512, 1024, 2048]:
        arguments["channels"] = channels
    if body["stem_width"] != 64 * factor:
        arguments["stem_chs"] = body["stem_width"] // factor
    return {
        "architecture": architecture,
        "num_classes": head["classes"] if head else 0,
        "num_features": 4 * body["stage_widths"][-1],
        "global_pool": "avg",
        "model_args": arguments,
        **({"label_names": list(described.label_names)} if described.label_names else {}),
        "pretrained_cfg": pretrained_cfg(described, "stem.conv", "head.fc", fixed_size=False),
    }


def _architecture(described: Described) -> tuple[str, int]:
    """The architecture it came as, else one of its widths, else one of its depth."""
    body = described.body
    widths = (body["stem_width"], *body["stage_widths"])
    fitting: dict[str, int] = {}
    exact: list[str] = []
    for name in _ARCHITECTURES:
        match = _PARTS.fullmatch(name)
        if match is None or _DEPTHS[match[1]] != tuple(body["stage_blocks"]):
            continue
        factor = int(match[2])
        if all(width % (8 * factor) == 0 for width in widths):
            fitting[name] = factor
        if widths == tuple(factor * width for width in (64, 64, 128, 256, 512)):
            exact.append(name)
    for name in (described.architecture, *exact, *fitting):
        if name in fitting:
            return name, fitting[name]
    return "", 1


FAMILY = FolderFamily(
    name=_NAME,
    model_types=("resnetv2_",),
    origin="timm",
    body="bit",
    describe=_describe,
    table=_table,
    write=_write,
)
"""This table's entry."""
