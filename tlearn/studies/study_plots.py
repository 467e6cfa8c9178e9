"""Plots that only a study has: differences by arm, figures against costs, the best of n tries."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tlearn.studies.best_of import BestOf
from tlearn.studies.drawing import (
    Plot,
    Theme,
    draw_twice,
    height_for,
    label_ends,
    legend,
    look,
    looks_of,
    plain,
    wrapped,
)
from tlearn.studies.statistics import Comparison, Summary

_ROW = 0.34
_COLOUR = {"better": 3, "worse": 4}
"""A verdict's colour among those of a theme; without a verdict the first, grey."""


def forest(
    comparisons: Mapping[str, Comparison], *, metric: str, reference: str, name: str = "forest"
) -> Plot:
    """Draws every arm's difference from the reference: a dot a seed, the mean with its interval.

    Arms without a pair of finished runs keep an empty row.
    """
    pairs = list(comparisons.values())
    lines = [wrapped(pair.arm, 34) for pair in pairs]
    deep = 1 + max(line.count("\n") for line in lines)
    height = 0.85 + len(pairs) * (_ROW + 0.1 * (deep - 1))

    def draw(axes: Any, theme: Theme) -> None:
        axes.axvline(0, color=theme.ink, lw=1, ls=(0, (3, 2)))
        for row, pair in enumerate(pairs):
            colour = theme.colours[_COLOUR.get(pair.verdict.kind, 0)]
            dots = [difference for _, difference in pair.differences]
            axes.plot(dots, [row + 0.24] * len(dots), "o", color=colour, alpha=0.45, ms=3.5, mew=0)
            if pair.interval is not None:
                ends = [pair.interval.low, pair.interval.high]
                axes.plot(ends, [row, row], color=colour, lw=2.4, solid_capstyle="butt")
            if pair.mean is not None:
                axes.plot([pair.mean], [row], "D", color=colour, ms=6)
            axes.text(
                1.02,
                row,
                pair.verdict.kind,
                transform=axes.get_yaxis_transform(),
                va="center",
                color=theme.ink,
                fontsize=10,
            )
        axes.set_yticks(range(len(pairs)), lines)
        axes.set_ylim(len(pairs) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", color=theme.faint, lw=0.8)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(plain(f"Δ {metric} from “{wrapped(reference, 60, 1)}”"))

    caption = (
        f"Difference of {metric} from “{reference}”, paired by seed: a dot a seed, a diamond the "
        "mean, a bar its 95 % t-interval."
    )
    return draw_twice(name, caption, draw, height=max(1.5, height))


def trade_off(
    points: Mapping[str, tuple[float, Summary]],
    *,
    arms: Sequence[str],
    xlabel: str,
    ylabel: str,
    caption: str,
    name: str,
    higher_is_better: bool = True,
    less_x_is_better: bool = True,
    faint: Collection[str] = (),
) -> Plot:
    """Draws an arm's figure against something else, and the edge that no arm is beyond.

    Args:
        points: Where each arm lies, ``{arm: (x, figure)}``.
        arms: All named arms, for their marks.
        xlabel: What x is.
        ylabel: What the figure is.
        caption: What is shown.
        name: File name, without ``.png``.
        higher_is_better: Of the figure.
        less_x_is_better: Whether little of x is wanted, as of costs.
        faint: Arms drawn as grey dots without a name.
    """
    known = {arm: at for arm, at in points.items() if at[1].mean is not None}
    looks = looks_of(arms, set(known) - set(faint))
    wide = [x for x, _ in known.values() if x > 0]
    large = max(wide, default=0.0) >= 1000
    spread = max(wide, default=1.0) / min(wide, default=1.0)
    log = spread > 20 and len(wide) == len(known)
    edge = undominated(
        {arm: (x, float(s.mean or 0.0)) for arm, (x, s) in known.items()},
        higher_is_better=higher_is_better,
        less_x_is_better=less_x_is_better,
    )

    def draw(axes: Any, theme: Theme) -> None:
        from matplotlib.ticker import EngFormatter

        best = sorted((known[arm][0], float(known[arm][1].mean or 0.0)) for arm in edge)
        where = "post" if less_x_is_better else "pre"
        axes.step([x for x, _ in best], [y for _, y in best], where=where, color=theme.faint, lw=5)
        for arm, (x, summary) in known.items():
            half = summary.interval.half_width if summary.interval else 0.0
            colour, marker = theme.faint, "o"
            if arm not in faint:
                colour, _, marker = look(looks[arm], theme)
            axes.errorbar(
                x,
                summary.mean,
                yerr=half,
                color=colour,
                marker=marker,
                ms=8 if arm in edge else 6,
                lw=1.2,
                capsize=2,
            )
        if log:
            axes.set_xscale("log")
        else:
            axes.margins(x=0.06)
        if large:
            axes.xaxis.set_major_formatter(EngFormatter())
        axes.set_xlabel(plain(xlabel + (" (log scale)" if log else "")))
        axes.set_ylabel(plain(ylabel))
        shown = {arm: looks[arm] for arm in known if arm not in faint}
        legend(axes, shown, theme, marked=True)

    named = [arm for arm in known if arm not in faint]
    return draw_twice(name, caption, draw, height=height_for(named))


def undominated(
    points: Mapping[str, tuple[float, float]],
    *,
    higher_is_better: bool = True,
    less_x_is_better: bool = True,
) -> list[str]:
    """Lists the points that no other is at least as good as in both and better in one.

    Example:
        >>> undominated({"a": (1.0, 0.5), "b": (2.0, 0.4), "c": (2.0, 0.9)})
        ['a', 'c']
    """
    sign_x, sign_y = (-1 if less_x_is_better else 1), (1 if higher_is_better else -1)
    gains = {arm: (sign_x * x, sign_y * y) for arm, (x, y) in points.items()}
    return [
        arm
        for arm, mine in gains.items()
        if not any(o != mine and o[0] >= mine[0] and o[1] >= mine[1] for o in gains.values())
    ]


def best_of_curves(
    curves: Mapping[str, BestOf], *, arms: Sequence[str], ylabel: str, name: str = "best_of_n"
) -> Plot:
    """Draws what the best of n tried settings is worth on average, with its band."""
    looks = looks_of(arms, curves)

    def draw(axes: Any, theme: Theme) -> None:
        ends = []
        for arm, curve in curves.items():
            colour, style, _ = look(looks[arm], theme)
            n = np.asarray(curve.n)
            axes.fill_between(n, curve.low, curve.high, color=colour, alpha=0.1, lw=0)
            axes.plot(n, curve.expected, color=colour, linestyle=style, lw=2)
            ends.append((arm, float(n[-1]), curve.expected[-1], colour))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.margins(x=0)
        axes.set_xlabel("settings tried")
        axes.set_ylabel(plain(ylabel))
        label_ends(axes, ends, theme)

    caption = (
        "Expected best of n tried settings, drawn with replacement from those of the pilots (mean "
        f"over their seeds), {ylabel}; bands are bootstrap intervals at every n for itself. An arm "
        "that needs few tries is easy to tune."
    )
    return draw_twice(name, caption, draw, height=height_for(curves))
