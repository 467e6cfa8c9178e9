"""MobileNetV2 as torchvision names it: ``features.0.0`` to ``features.18.1``, ``classifier.1``."""

from collections.abc import Mapping
from typing import Any

from tlearn.bodies.facts import ImageFacts
from tlearn.hub.errors import HubError
from tlearn.hub.labels import IMAGENET_KNOWN
from tlearn.hub.mapping import Row, Table
from tlearn.hub.tables.family import Family, Recognised, Shapes, head_rows, norm_rows
from tlearn.hub.tables.residual import shape_of

_NAME = "mobilenet_v2_torchvision"
_FACTS = ImageFacts(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), size=224, crop=224 / 256)
# Expansion, blocks, stride of the published stages: weights show neither strides nor boundaries.
_LAYOUT = ((1, 1, 1), (6, 2, 2), (6, 3, 2), (6, 4, 2), (6, 3, 1), (6, 3, 2), (6, 1, 1))


def _recognise(shapes: Shapes) -> Recognised:
    stem_width, channels, rows, columns = shape_of(shapes, "features.0.0.weight", 4)
    if (rows, columns) != (3, 3):
        raise HubError(f"features.0.0 is {rows}x{columns}, but this family begins with 3x3")
    stages = []
    index, width = 1, stem_width
    for stage, (expansion, blocks, stride) in enumerate(_LAYOUT, start=1):
        widths = set()
        for _ in range(blocks):
            hidden_name = f"features.{index}.conv.0.0.weight"
            hidden = shape_of(shapes, hidden_name, 4)[0]
            if hidden != width * expansion:
                raise HubError(
                    f"{hidden_name!r} has {hidden} channels out of {width}, but stage {stage} "
                    f"expands by {expansion}"
                )
            project = 1 if expansion == 1 else 2
            width = shape_of(shapes, f"features.{index}.conv.{project}.weight", 4)[0]
            widths.add(width)
            index += 1
        if len(widths) != 1:
            raise HubError(f"the blocks of stage {stage} have the widths {sorted(widths)}")
        stages.append([expansion, width, blocks, stride])
    final_width = shape_of(shapes, f"features.{index}.0.weight", 4)[0]
    odd = [w for w in (stem_width, final_width, *(s[1] for s in stages)) if w % 8]
    if odd:
        raise HubError(f"the widths {odd} are no multiples of 8, as this family's are")
    classes = (
        shape_of(shapes, "classifier.1.weight", 2)[0] if "classifier.1.weight" in shapes else None
    )
    body = {
        "family": "mobilenet_v2",
        "stages": stages,
        "stem_width": stem_width,
        "final_width": final_width,
        "in_channels": channels,
    }
    assumed = ("strides as published",)
    if classes != 1000 or channels != 3:
        return Recognised(body, classes, assumed=assumed)
    return Recognised(
        body,
        classes,
        facts=_FACTS,
        known_labels=IMAGENET_KNOWN,
        assumed=(*assumed, "trained on ImageNet with torchvision's preparation"),
    )


def _table(config: Mapping[str, Any], classes: int | None) -> Table:
    expanded: list[tuple[str, str]] = []
    plain: list[tuple[str, str]] = []
    index = 1
    for stage, (expansion, _, blocks, _) in enumerate(config["stages"], start=1):
        for block in range(1, blocks + 1):
            at = (f"features.{index}.conv", f"stage_{stage}/block_{block:02d}")
            (plain if expansion == 1 else expanded).append(at)
            index += 1
    rows = (
        Row("features.0.0.weight", "params/body/stem/conv/kernel", "conv"),
        *norm_rows("features.0.1", "stem/norm"),
        Row("{plain}.0.0.weight", "params/body/{plain}/depthwise_conv/kernel", "depthwise"),
        *norm_rows("{plain}.0.1", "{plain}/depthwise_norm"),
        Row("{plain}.1.weight", "params/body/{plain}/project_conv/kernel", "conv"),
        *norm_rows("{plain}.2", "{plain}/project_norm"),
        Row("{at}.0.0.weight", "params/body/{at}/expand_conv/kernel", "conv"),
        *norm_rows("{at}.0.1", "{at}/expand_norm"),
        Row("{at}.1.0.weight", "params/body/{at}/depthwise_conv/kernel", "depthwise"),
        *norm_rows("{at}.1.1", "{at}/depthwise_norm"),
        Row("{at}.2.weight", "params/body/{at}/project_conv/kernel", "conv"),
        *norm_rows("{at}.3", "{at}/project_norm"),
        Row(f"features.{index}.0.weight", "params/body/final/conv/kernel", "conv"),
        *norm_rows(f"features.{index}.1", "final/norm"),
        *head_rows("classifier.1", classes),
    )
    return Table(_NAME, rows, {"at": tuple(expanded), "plain": tuple(plain)})


def _unfit(config: Mapping[str, Any]) -> str:
    layout = tuple((expansion, blocks, stride) for expansion, _, blocks, stride in config["stages"])
    wrong = [] if layout == _LAYOUT else ["stages of another layout than the published one"]
    wanted = {"norm_epsilon": 1e-5, "padding": "torch"}
    wrong += [
        f"{key}={config[key]!r} (not {value!r})"
        for key, value in wanted.items()
        if config[key] != value
    ]
    return ", ".join(wrong)


FAMILY = Family(
    name=_NAME,
    body="mobilenet_v2",
    signature=(
        "features.0.0.weight",
        "features.0.1.weight",
        "features.1.conv.0.0.weight",
        "features.17.conv.2.weight",
        "features.18.0.weight",
        "classifier.1.weight",
        "classifier.1.bias",
    ),
    head="classifier.",
    recognise=_recognise,
    table=_table,
    unfit=_unfit,
)
"""This table's entry."""
