"""Tables of means drawn as maps: a cell's shade is its figure, which stands in it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tlearn.studies.drawing import HEIGHT, Plot, Theme, draw_twice, plain, wrapped
from tlearn.studies.statistics import show

_CELL = 0.36
"""Inches of a row with one line of text."""


def heat_map(
    means: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    name: str,
    caption: str,
    ends: str,
    xlabel: str = "",
    ylabel: str = "",
) -> Plot:
    """Draws ``means[row][column]`` as shades, light to dark on a light page, with the figures.

    Args:
        means: The figures; None stays blank.
        rows: Names from top to bottom.
        columns: Names from left to right.
        name: File name, without ``.png``.
        caption: What is shown.
        ends: What the figures are, for the scale of shades.
        xlabel: What the columns are.
        ylabel: What the rows are.

    Raises:
        ValueError: If the figures are not as many as the rows and columns.
    """
    values = np.asarray([[np.nan if v is None else v for v in row] for row in means], np.float64)
    if values.shape != (len(rows), len(columns)):
        raise ValueError(
            f"heat map {name!r}: expected figures [{len(rows)}, {len(columns)}] for its rows and "
            f"columns, got {values.shape}"
        )
    low, high = (
        (float(np.nanmin(values)), float(np.nanmax(values)))
        if np.isfinite(values).any()
        else (0.0, 1.0)
    )
    labels = [wrapped(row, 30) for row in rows]
    lines = 1 + max((label.count("\n") for label in labels), default=0)
    height = 0.9 + len(rows) * (_CELL + 0.12 * (lines - 1))
    size = 10.0 if len(columns) <= 8 else 8.5 if len(columns) <= 12 else 7.0

    def draw(axes: Any, theme: Theme) -> None:
        from matplotlib.colors import LinearSegmentedColormap, to_rgb

        # From nearly the paper to the second colour: more is stronger on either page.
        ends_of = [theme.wash, theme.colours[1]]
        shades = LinearSegmentedColormap.from_list("", ends_of).with_extremes(bad=theme.paper)
        axes.imshow(values, cmap=shades, vmin=low, vmax=max(high, low + 1e-12), aspect="auto")
        axes.grid(False)
        inks = {_light(to_rgb(ink)): ink for ink in (theme.ink, theme.on_strong)}
        for row, column in np.argwhere(np.isfinite(values)):
            value = values[row, column]
            behind = _light(to_rgb(shades(float((value - low) / max(high - low, 1e-12)))))
            axes.text(
                column,
                row,
                show(float(value)),
                ha="center",
                va="center",
                fontsize=size,
                color=inks[max(inks, key=lambda ink: _contrast(ink, behind))],
            )
        axes.set_yticks(range(len(rows)), labels)
        slanted = {"rotation": 40, "ha": "right"} if sum(map(len, columns)) > 60 else {}
        axes.set_xticks(range(len(columns)), [plain(c) for c in columns], **slanted)
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.set_xticks(np.arange(len(columns) - 1) + 0.5, minor=True)
        axes.set_yticks(np.arange(len(rows) - 1) + 0.5, minor=True)
        axes.grid(which="minor", color=theme.paper, lw=2)
        axes.tick_params(which="minor", length=0)
        axes.set_xlabel(plain(xlabel))
        axes.set_ylabel(plain(ylabel))

    told = f"{caption} Shades from {show(low)} to {show(high)} ({ends})."
    return draw_twice(name, told, draw, height=max(1.6, min(height, 6 * HEIGHT)))


def _light(rgb: Sequence[float]) -> float:
    """Relative luminance, as web pages count it (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: float, other: float) -> float:
    """Ratio of two luminances."""
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)
