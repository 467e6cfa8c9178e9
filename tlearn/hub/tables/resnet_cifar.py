"""Residual networks for CIFAR in PyTorch files: ``conv1``, ``layer1.0.conv1``, ``linear``.

The published files of this form are ResNet-20 to ResNet-110 trained on CIFAR-10 with shortcuts of
option A (https://github.com/akamaster/pytorch_resnet_cifar10).
"""

from collections.abc import Mapping
from typing import Any

from tlearn.bodies.facts import ImageFacts
from tlearn.hub.errors import HubError
from tlearn.hub.labels import CIFAR10
from tlearn.hub.mapping import Table
from tlearn.hub.tables.family import Family, Recognised, Shapes
from tlearn.hub.tables.residual import residual_table, shape_of, stages_of, unfit_residual

_NAME = "resnet_cifar"
_FACTS = ImageFacts(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), size=32)


def _recognise(shapes: Shapes) -> Recognised:
    stem_width, channels, rows, columns = shape_of(shapes, "conv1.weight", 4)
    if (rows, columns) != (3, 3):
        raise HubError(f"conv1 is {rows}x{columns}, but this family begins with 3x3")
    blocks, widths, block = stages_of(shapes)
    convolved = any(".shortcut." in name for name in shapes)
    classes = shape_of(shapes, "linear.weight", 2)[0] if "linear.weight" in shapes else None
    body = {
        "family": "resnet",
        "stage_blocks": list(blocks),
        "stage_widths": list(widths),
        "block": block,
        "stem": "cifar",
        "stem_width": stem_width,
        "shortcut": "B" if convolved else "A",
        "in_channels": channels,
    }
    published = (widths, body["shortcut"], channels, classes) == ((16, 32, 64), "A", 3, 10)
    if not published:
        return Recognised(body, classes)
    return Recognised(
        body,
        classes,
        facts=_FACTS,
        label_names=CIFAR10,
        assumed=("trained on CIFAR-10", "pictures normalised with ImageNet's mean and deviation"),
    )


def _table(config: Mapping[str, Any], classes: int | None) -> Table:
    return residual_table(_NAME, config, classes, shortcut="shortcut", head="linear")


FAMILY = Family(
    name=_NAME,
    body="resnet",
    signature=(
        "conv1.weight",
        "bn1.weight",
        "layer1.0.conv1.weight",
        "layer1.0.bn1.weight",
        "linear.weight",
        "linear.bias",
    ),
    head="linear.",
    recognise=_recognise,
    table=_table,
    unfit=lambda config: unfit_residual(config, "cifar"),
)
"""This table's entry."""
