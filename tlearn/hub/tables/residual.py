"""What the two origins of residual networks have in common: their block names and their stages."""

import re
from collections.abc import Mapping
from typing import Any

from tlearn.hub.errors import HubError
from tlearn.hub.mapping import Row, Table
from tlearn.hub.tables.family import Shapes, head_rows, norm_rows

_BLOCK = re.compile(r"layer([1-9]\d{0,2})\.(0|[1-9]\d{0,3})\.conv1\.weight")


def shape_of(shapes: Shapes, name: str, rank: int) -> tuple[int, ...]:
    """Gives an array's shape.

    Raises:
        HubError: If it is absent or has another number of axes.
    """
    if name not in shapes:
        raise HubError(f"{name!r} is missing")
    if len(shapes[name]) != rank:
        raise HubError(f"{name!r} has the shape {shapes[name]}, but {rank} axes are wanted")
    return shapes[name]


def stages_of(shapes: Shapes) -> tuple[tuple[int, ...], tuple[int, ...], str]:
    """Counts blocks by stage and reads their widths and kind.

    Raises:
        HubError: If stages or blocks are not numbered without gaps, or widths change in a stage.
    """
    found: dict[int, set[int]] = {}
    for name in shapes:
        match = _BLOCK.fullmatch(name)
        if match:
            found.setdefault(int(match[1]), set()).add(int(match[2]))
    counts = tuple(len(found[stage]) for stage in sorted(found))
    for stage, blocks in found.items():
        if blocks != set(range(len(blocks))):
            raise HubError(f"layer{stage} has the blocks {sorted(blocks)[:10]}: some are missing")
    if set(found) != set(range(1, len(found) + 1)):
        raise HubError(f"there are the stages {sorted(found)}: some are missing")
    bottleneck = "layer1.0.conv3.weight" in shapes
    widths = []
    for stage, count in enumerate(counts, start=1):
        of_blocks = {
            shape_of(shapes, f"layer{stage}.{block}.conv1.weight", 4)[0] for block in range(count)
        }
        if len(of_blocks) != 1:
            raise HubError(f"the blocks of layer{stage} have the widths {sorted(of_blocks)}")
        widths.append(of_blocks.pop())
        if bottleneck:
            out, inner = shape_of(shapes, f"layer{stage}.0.conv3.weight", 4)[:2]
            if out != 4 * inner:
                raise HubError(
                    f"layer{stage}.0.conv3 goes from {inner} to {out} channels, not to four times "
                    "as many: wide and grouped residual networks are other families"
                )
    return counts, tuple(widths), "bottleneck" if bottleneck else "basic"


def residual_table(
    name: str, config: Mapping[str, Any], classes: int | None, shortcut: str, head: str
) -> Table:
    """Builds the table of a residual network.

    Args:
        name: The table's name.
        config: The body's full config.
        classes: Outputs of the head, None for no head.
        shortcut: What the origin calls a block's convolved shortcut.
        head: What the origin calls the head.
    """
    expansion = 4 if config["block"] == "bottleneck" else 1
    blocks: list[tuple[str, str]] = []
    convolved: list[tuple[str, str]] = []
    width = config["stem_width"]
    for stage, (count, inner) in enumerate(
        zip(config["stage_blocks"], config["stage_widths"], strict=True), start=1
    ):
        for block in range(count):
            at = (f"layer{stage}.{block}", f"stage_{stage}/block_{block + 1:02d}")
            blocks.append(at)
            changes = (block == 0 and stage > 1) or width != inner * expansion
            if changes and config["shortcut"] == "B":
                convolved.append(at)
            width = inner * expansion
    numbers = ("1", "2", "3") if config["block"] == "bottleneck" else ("1", "2")
    rows = [
        Row("conv1.weight", "params/body/stem/conv/kernel", "conv"),
        *norm_rows("bn1", "stem/norm"),
        Row("{at}.conv{n}.weight", "params/body/{at}/conv_{n}/kernel", "conv"),
        *norm_rows("{at}.bn{n}", "{at}/norm_{n}"),
        Row(f"{{by}}.{shortcut}.0.weight", "params/body/{by}/shortcut_conv/kernel", "conv"),
        *norm_rows(f"{{by}}.{shortcut}.1", "{by}/shortcut_norm"),
        *head_rows(head, classes),
    ]
    fields = {
        "at": tuple(blocks),
        "by": tuple(convolved),
        "n": tuple((number, number) for number in numbers),
    }
    return Table(name, tuple(rows), fields)


def unfit_residual(config: Mapping[str, Any], stem: str) -> str:
    """Says what of a body config torch's plain residual networks do not have."""
    wanted = {"stem": stem, "norm": "batch", "norm_epsilon": 1e-5, "padding": "torch"}
    wrong = [
        f"{key}={config[key]!r} (not {value!r})"
        for key, value in wanted.items()
        if config[key] != value
    ]
    return ", ".join(wrong)
