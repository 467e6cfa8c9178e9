"""Residual networks in torchvision's names: ``conv1``, ``layer1.0.downsample.0``, ``fc``.

Bottlenecks stride in their 3x3 convolution ("v1.5"): the names imply what weights cannot show.
"""

from collections.abc import Mapping
from typing import Any

from tlearn.bodies.facts import ImageFacts
from tlearn.hub.errors import HubError
from tlearn.hub.labels import IMAGENET_KNOWN
from tlearn.hub.mapping import Table
from tlearn.hub.tables.family import Family, Recognised, Shapes
from tlearn.hub.tables.residual import residual_table, shape_of, stages_of, unfit_residual

_NAME = "resnet_torchvision"
_FACTS = ImageFacts(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), size=224, crop=224 / 256)


def _recognise(shapes: Shapes) -> Recognised:
    stem_width, channels, rows, columns = shape_of(shapes, "conv1.weight", 4)
    if (rows, columns) != (7, 7):
        raise HubError(f"conv1 is {rows}x{columns}, but this family begins with 7x7")
    blocks, widths, block = stages_of(shapes)
    classes = shape_of(shapes, "fc.weight", 2)[0] if "fc.weight" in shapes else None
    body = {
        "family": "resnet",
        "stage_blocks": list(blocks),
        "stage_widths": list(widths),
        "block": block,
        "stem": "imagenet",
        "stem_width": stem_width,
        "shortcut": "B",
        "in_channels": channels,
    }
    assumed = ["bottlenecks stride in the 3x3 convolution"] if block == "bottleneck" else []
    if classes != 1000 or channels != 3:
        return Recognised(body, classes, assumed=tuple(assumed))
    return Recognised(
        body,
        classes,
        facts=_FACTS,
        known_labels=IMAGENET_KNOWN,
        assumed=(*assumed, "trained on ImageNet with torchvision's preparation"),
    )


def _table(config: Mapping[str, Any], classes: int | None) -> Table:
    return residual_table(_NAME, config, classes, shortcut="downsample", head="fc")


def _unfit(config: Mapping[str, Any]) -> str:
    wrong = unfit_residual(config, "imagenet")
    shortcut = "" if config["shortcut"] == "B" else "shortcut='A' (not 'B')"
    return ", ".join(part for part in (wrong, shortcut) if part)


FAMILY = Family(
    name=_NAME,
    body="resnet",
    signature=(
        "conv1.weight",
        "bn1.weight",
        "layer1.0.conv1.weight",
        "layer1.0.bn1.weight",
        "layer2.0.downsample.0.weight",
        "fc.weight",
        "fc.bias",
    ),
    head="fc.",
    recognise=_recognise,
    table=_table,
    unfit=_unfit,
)
"""This table's entry."""
