"""BiT's published weights: ``resnet/block1/unit01/a/standardized_conv2d/kernel``.

Names and layouts are those of the NumPy files BiT-S-R50x1.npz and their like, and of TensorFlow
checkpoints they were made of. https://github.com/google-research/big_transfer
"""

from collections.abc import Mapping
from typing import Any

from tlearn.bodies.facts import ImageFacts
from tlearn.hub.errors import HubError
from tlearn.hub.labels import IMAGENET_KNOWN
from tlearn.hub.mapping import Row, Table
from tlearn.hub.tables.bit_layout import blocks_of, body_of, unfit_bit
from tlearn.hub.tables.family import Family, Recognised, Shapes
from tlearn.hub.tables.folder_family import Described, FolderFamily
from tlearn.hub.tables.residual import shape_of

_NAME = "bit_google"
_KERNEL = "standardized_conv2d/kernel"
STEM = f"root_block/{_KERNEL}"
"""How a name ends that every such checkpoint has."""

_HEAD = "resnet/head/conv2d"
_BLOCK = "resnet/block{stage}/unit{block:02d}"
_EPSILON = 1e-10
_FACTS = ImageFacts(mean=(0.5,) * 3, std=(0.5,) * 3, size=224, crop=0.875)


def _recognise(shapes: Shapes) -> Recognised:
    third = f"resnet/block{{stage}}/unit{{block}}/c/{_KERNEL}"
    body = body_of(shapes, f"resnet/{STEM}", third, 1, torch=False, kernel_epsilon=_EPSILON)
    kernel = f"{_HEAD}/kernel"
    classes = shape_of(shapes, kernel, 4)[3] if kernel in shapes else None
    published = body["in_channels"] == 3
    return Recognised(
        body,
        classes,
        facts=_FACTS if published else None,
        known_labels=IMAGENET_KNOWN if classes == 1000 else {},
        assumed=("pictures scaled to -1..1, 224 pixels, as published",) if published else (),
    )


def _table(config: Mapping[str, Any], classes: int | None) -> Table:
    blocks, convolved = blocks_of(config, _BLOCK, 1, always=False)
    rows = [
        Row(f"resnet/{STEM}", "params/body/stem/conv/kernel"),
        *_norm("resnet", "final/norm"),
        *_norm("{at}/{n}", "{at}/norm_{n}"),
        Row(f"{{at}}/{{n}}/{_KERNEL}", "params/body/{at}/conv_{n}/kernel"),
        Row(f"{{by}}/a/proj/{_KERNEL}", "params/body/{by}/shortcut_conv/kernel"),
    ]
    if classes is not None:
        rows.append(Row(f"{_HEAD}/kernel", "params/head/dense/kernel", "pointwise"))
        rows.append(Row(f"{_HEAD}/bias", "params/head/dense/bias", "vector"))
    parts = (("a", "1"), ("b", "2"), ("c", "3"))
    return Table(_NAME, tuple(rows), {"at": blocks, "by": convolved, "n": parts})


def _norm(source: str, target: str) -> tuple[Row, Row]:
    return (
        Row(f"{source}/group_norm/gamma", f"params/body/{target}/scale", "vector"),
        Row(f"{source}/group_norm/beta", f"params/body/{target}/bias", "vector"),
    )


FAMILY = Family(
    name=_NAME,
    body="bit",
    signature=(
        f"resnet/{STEM}",
        f"resnet/block1/unit01/a/{_KERNEL}",
        "resnet/group_norm/gamma",
        f"{_HEAD}/kernel",
        f"{_HEAD}/bias",
    ),
    head=f"{_HEAD}/",
    recognise=_recognise,
    table=_table,
    unfit=lambda config: unfit_bit(config, _EPSILON),
)
"""This table's entry for files of arrays."""


def _describe(config: Mapping[str, Any], shapes: Shapes) -> Described:
    known = _recognise(shapes)
    return Described(
        body=known.body,
        head=None if known.classes is None else {"family": "linear", "classes": known.classes},
        facts=known.facts,
        assumed=known.assumed,
        extra={"known_labels": {str(i): name for i, name in known.known_labels.items()}},
    )


def _classes(described: Described) -> int | None:
    return described.head["classes"] if described.head else None


def _write(described: Described) -> dict[str, Any]:
    raise HubError(f"a {described.body['family']} has no such folder layout to be written in")


FOLDER_FAMILY = FolderFamily(
    name=_NAME,
    model_types=("bit_google",),
    origin="plain",
    body="bit",
    describe=_describe,
    table=lambda described: _table(described.body, _classes(described)),
    write=_write,
)
"""The same for checkpoints of TensorFlow, which are no single file."""
