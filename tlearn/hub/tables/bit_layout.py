"""What the origins of BiT's weights have in common: stages, blocks, and which blocks convolve."""

import re
from collections.abc import Mapping
from typing import Any

from tlearn.hub.errors import HubError
from tlearn.hub.tables.family import Shapes
from tlearn.hub.tables.residual import shape_of

At = tuple[tuple[str, str], ...]
"""Spellings of blocks there and here."""


def body_of(
    shapes: Shapes,
    stem: str,
    block: str,
    first: int,
    *,
    torch: bool,
    kernel_epsilon: float,
) -> dict[str, Any]:
    """Tells a body's config from shapes.

    Args:
        shapes: Shapes by foreign name.
        stem: Name of the stem's kernel.
        block: Name of a block's third kernel, with ``{stage}`` and ``{block}``.
        first: The number of the first stage and block there.
        torch: Whether kernels are [out, in, rows, columns], not [rows, columns, in, out].
        kernel_epsilon: What the origin adds to a kernel's variance.

    Raises:
        HubError: If a name is missing, blocks are not numbered without gaps, or a block does not
            put out four times what it has within.
    """
    kernel = shape_of(shapes, stem, 4)
    width, channels, rows, columns = kernel if torch else (*kernel[:1:-1], *kernel[:2])
    if (rows, columns) != (7, 7):
        raise HubError(f"{stem} is {rows}x{columns}, but BiT begins with 7x7")
    pattern = re.escape(block).replace(r"\{stage\}", r"(\d{1,3})")
    expression = re.compile(pattern.replace(r"\{block\}", r"(\d{1,4})"))
    found: dict[int, dict[int, str]] = {}
    for name in shapes:
        match = expression.fullmatch(name)
        if match:
            found.setdefault(int(match[1]) - first, {})[int(match[2]) - first] = name
    if set(found) != set(range(len(found))) or not found:
        raise HubError(f"there are the stages {sorted(found)[:10]}: some are missing")
    widths = []
    for stage, blocks in sorted(found.items()):
        if set(blocks) != set(range(len(blocks))):
            raise HubError(f"stage {stage + first} has the blocks {sorted(blocks)[:10]}")
        last = shape_of(shapes, blocks[0], 4)
        out, inner = last[:2] if torch else last[:1:-1]
        if out != 4 * inner:
            raise HubError(f"{blocks[0]} goes from {inner} to {out} channels, not to four times")
        widths.append(inner)
    return {
        "family": "bit",
        "stage_blocks": [len(found[stage]) for stage in sorted(found)],
        "stage_widths": widths,
        "stem_width": width,
        "in_channels": channels,
        "kernel_epsilon": kernel_epsilon,
    }


def blocks_of(body: Mapping[str, Any], block: str, first: int, *, always: bool) -> tuple[At, At]:
    """Spells all blocks, and those that convolve their shortcut.

    Args:
        body: The body's full config.
        block: A block's name there, with ``{stage}`` and ``{block}``.
        first: The number of the first stage and block there.
        always: Whether the origin convolves the first shortcut of every stage, needed or not.

    Raises:
        HubError: If ours does not convolve where the origin always does.
    """
    blocks: list[tuple[str, str]] = []
    convolved: list[tuple[str, str]] = []
    width = body["stem_width"]
    pairs = zip(body["stage_blocks"], body["stage_widths"], strict=True)
    for stage, (count, inner) in enumerate(pairs):
        for number in range(count):
            there = block.format(stage=stage + first, block=number + first)
            at = (there, f"stage_{stage + 1}/block_{number + 1:02d}")
            blocks.append(at)
            if width != 4 * inner or (number == 0 and stage > 0):
                convolved.append(at)
            elif number == 0 and always:
                raise HubError(
                    f"the first block of stage {stage + 1} has as many channels in as out, "
                    f"{width}: there its shortcut is convolved, here it is not"
                )
            width = 4 * inner
    return tuple(blocks), tuple(convolved)


def unfit_bit(body: Mapping[str, Any], kernel_epsilon: float) -> str:
    """Says what of a body config an origin's code does not compute."""
    wanted = {"norm_groups": 32, "norm_epsilon": 1e-5, "kernel_epsilon": kernel_epsilon}
    wrong = [f"{k}={body[k]!r} (not {v!r})" for k, v in wanted.items() if body[k] != v]
    return ", ".join(wrong)
