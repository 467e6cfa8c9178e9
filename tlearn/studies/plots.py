"""Plots of a study: learning curves, label efficiency, distance from the source."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

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
)
from tlearn.studies.heat import heat_map
from tlearn.studies.statistics import LEVEL, Scores, summarize, t_quantile

_MANY_BARS = 28


@dataclass(frozen=True)
class Curve:
    """One arm's figure along training: ``values[seed][point]`` measured at ``at[point]``."""

    at: Sequence[float | int] | np.ndarray
    values: Sequence[Sequence[float | int]] | np.ndarray
    """A row per seed; a row with a non-finite figure is a failed run and is left out, counted."""


def learning_curves(
    curves: Mapping[str, Curve],
    *,
    arms: Sequence[str] = (),
    faint: Collection[str] = (),
    xlabel: str = "updates",
    ylabel: str = "test accuracy",
    name: str = "learning_curves",
) -> Plot:
    """Draws the mean over seeds of every arm with its pointwise 95 % t-band.

    Args:
        curves: The curve of every arm.
        arms: All arms of the study in order, so that an arm looks the same in every plot even
            where others are missing. By default those drawn here.
        faint: Arms drawn as thin lines without a name, where there are too many to tell apart.
        xlabel: What ``at`` counts.
        ylabel: What is measured, and on which split.
        name: File name, without ``.png``.

    Raises:
        ValueError: If an arm's rows are not as long as its points.
    """
    means: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray | None]] = {}
    failed, seeds = 0, set()
    for arm, curve in curves.items():
        at = np.asarray(curve.at, np.float64)
        rows = np.asarray(curve.values, np.float64)
        if rows.ndim != 2 or rows.shape[1] != at.size:
            raise ValueError(
                f"curve {arm!r}: expected values [seeds, {at.size}] for {at.size} points, "
                f"got shape {rows.shape}"
            )
        good = rows[np.isfinite(rows).all(axis=1)]
        failed += len(rows) - len(good)
        seeds.add(len(rows))
        if not len(good):
            continue
        half = None
        if len(good) > 1:
            half = t_quantile(len(good)) * good.std(axis=0, ddof=1) / np.sqrt(len(good))
        means[arm] = (at, good.mean(axis=0), half)
    looks = looks_of(arms or [arm for arm in curves if arm not in faint], set(curves) - set(faint))

    def draw(axes: Any, theme: Theme) -> None:
        ends = []
        for arm, (at, mean, half) in means.items():
            if arm in faint:
                axes.plot(at, mean, color=theme.faint, lw=1.2, zorder=1)
                continue
            colour, style, _ = look(looks[arm], theme)
            if half is not None:
                axes.fill_between(at, mean - half, mean + half, color=colour, alpha=0.14, lw=0)
            axes.plot(at, mean, color=colour, linestyle=style, lw=2)
            ends.append((arm, float(at[-1]), float(mean[-1]), colour))
        axes.set_xlabel(plain(xlabel))
        axes.set_ylabel(plain(ylabel))
        axes.margins(x=0)
        label_ends(axes, ends, theme)

    caption = (
        f"{ylabel[:1].upper()}{ylabel[1:]} against {xlabel}: mean over {_counts(seeds)} seeds, "
        f"{100 * LEVEL:g} % t-bands{_failures(failed)}{_thin(faint)}."
    )
    return draw_twice(name, caption, draw, height=height_for(means.keys() - set(faint)))


def label_efficiency(
    scores: Mapping[str, Mapping[int, Scores]],
    *,
    arms: Sequence[str] = (),
    faint: Collection[str] = (),
    xlabel: str = "labels per class",
    ylabel: str = "test accuracy",
    name: str = "labels_per_class",
) -> Plot:
    """Draws accuracy against labels per class, ``scores[arm][labels][seed]``, with t-intervals.

    0 labels stand for all there are, and lie at the right. ``arms`` and ``faint`` as in
    `learning_curves`.
    """
    looks = looks_of(arms or [arm for arm in scores if arm not in faint], set(scores) - set(faint))
    summaries = {
        arm: {labels: summarize(runs) for labels, runs in sorted(by_labels.items())}
        for arm, by_labels in scores.items()
    }
    amounts = {labels for by_labels in scores.values() for labels in by_labels}
    # How many "all" are is not known here; it stands where a next amount would.
    places = {n: float(n) for n in sorted(amounts - {0})}
    if 0 in amounts:
        places[0] = 3.0 * max(places.values(), default=1.0)
    every = [s for by_labels in summaries.values() for s in by_labels.values()]
    counts = {s.finished + len(s.failed) for s in every}

    def draw(axes: Any, theme: Theme) -> None:
        ends = []
        for index, (arm, by_labels) in enumerate(summaries.items()):
            drawn = {places[k]: s for k, s in by_labels.items() if s.mean is not None}
            drawn = dict(sorted(drawn.items()))
            mean = [float(s.mean or 0.0) for s in drawn.values()]
            if arm in faint:
                axes.plot(list(drawn), mean, color=theme.faint, lw=1.2, zorder=1)
                continue
            colour, style, marker = look(looks[arm], theme)
            # A few percent aside, so that equal arms do not hide each other's intervals.
            aside = (1.025 if len(summaries) < 8 else 1.012) ** (index - (len(summaries) - 1) / 2)
            at = [place * aside for place in drawn]
            half = [s.interval.half_width if s.interval else 0.0 for s in drawn.values()]
            marks = {"color": colour, "linestyle": style, "marker": marker, "markersize": 5}
            axes.errorbar(at, mean, yerr=half, lw=1.6, elinewidth=1.2, capsize=2, **marks)
            if len(at) > 1:
                low, high = np.subtract(mean, half), np.add(mean, half)
                axes.fill_between(at, low, high, color=colour, alpha=0.08, lw=0)
            if at:
                ends.append((arm, at[-1], mean[-1], colour))
        axes.set_xscale("log")
        axes.set_xticks(list(places.values()), [str(n) if n else "all" for n in places])
        axes.minorticks_off()
        axes.set_xlabel(plain(f"{xlabel} (log scale)"))
        axes.set_ylabel(plain(ylabel))
        label_ends(axes, ends, theme)

    caption = (
        f"{ylabel[:1].upper()}{ylabel[1:]} against {xlabel}: mean over {_counts(counts)} seeds, "
        f"{100 * LEVEL:g} % t-intervals{_failures(sum(len(s.failed) for s in every))}"
        f"{_thin(faint)}."
    )
    return draw_twice(name, caption, draw, height=height_for(set(scores) - set(faint)))


def distance_by_layer(
    distances: Mapping[str, Mapping[str, Scores]],
    *,
    arms: Sequence[str] = (),
    ylabel: str = "‖w − source‖",
    what: str = "Distance from the source",
    name: str = "distance_by_layer",
) -> Plot:
    """Draws how far each layer moved from the source, ``distances[arm][layer][seed]``.

    Bars for a few arms and layers, a map of the means for many. ``arms`` as in `learning_curves`;
    ``what`` opens the caption.
    """
    looks = looks_of(arms or list(distances), distances)
    layers = list(dict.fromkeys(layer for arm in distances.values() for layer in arm))
    summaries = {
        arm: {layer: summarize(runs) for layer, runs in by_layer.items()}
        for arm, by_layer in distances.items()
    }
    every = [s for by_layer in summaries.values() for s in by_layer.values()]

    def draw(axes: Any, theme: Theme) -> None:
        width = 0.82 / max(1, len(summaries))
        for index, (arm, by_layer) in enumerate(summaries.items()):
            colour, _, marker = look(looks[arm], theme)
            for layer, summary in by_layer.items():
                if summary.mean is None:
                    continue
                at = layers.index(layer) + (index - (len(summaries) - 1) / 2) * width
                half = summary.interval.half_width if summary.interval else 0.0
                axes.bar(at, summary.mean, width * 0.9, color=colour, lw=0)
                if summary.mean == 0:  # a frozen layer: a mark on the floor, where a bar has none
                    axes.plot(at, 0, marker=marker, color=colour, markersize=4, clip_on=False)
                else:
                    axes.errorbar(at, summary.mean, yerr=half, color=theme.ink, lw=0.9)
        for border in range(1, len(layers)):
            axes.axvline(border - 0.5, color=theme.faint, lw=0.8)
        slanted = {"rotation": 40, "ha": "right"} if sum(map(len, layers)) > 52 else {}
        axes.set_xticks(range(len(layers)), [plain(layer) for layer in layers], **slanted)
        axes.tick_params(axis="x", length=0)
        axes.set_xlim(-0.5, len(layers) - 0.5)
        axes.set_ylim(bottom=0)
        axes.set_ylabel(plain(ylabel))
        axes.set_xlabel("layer, from input to output")
        legend(axes, {arm: looks[arm] for arm in summaries}, theme)

    counts = _counts({s.finished + len(s.failed) for s in every})
    # A run that failed did so for all its layers.
    lost = _failures(
        sum(max((len(s.failed) for s in by.values()), default=0) for by in summaries.values())
    )
    opening = f"{what} by layer, {ylabel}: mean over {counts} seeds"
    if len(layers) * len(summaries) > _MANY_BARS:
        means = [
            [by_layer[k].mean if k in by_layer else None for k in layers]
            for by_layer in summaries.values()
        ]
        return heat_map(
            means, list(summaries), layers, name=name, caption=f"{opening}{lost}.", ends=ylabel
        )
    still = any(s.mean == 0 for s in every)
    floor = "; a mark on the floor is a layer that did not move" if still else ""
    caption = f"{opening}, {100 * LEVEL:g} % t-intervals{floor}{lost}."
    return draw_twice(name, caption, draw, height=height_for(summaries))


def _counts(counts: set[int]) -> str:
    """Renders the number of seeds: ``10``, or ``5–10`` where arms differ."""
    if not counts:
        return "0"
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low}–{high}"


def _failures(count: int) -> str:
    """Says how many runs are missing from a plot, if any are."""
    return f"; {count} failed run{'s' if count > 1 else ''} not drawn" if count else ""


def _thin(faint: Collection[str]) -> str:
    """Says how many arms are drawn without a name."""
    return f"; {len(faint)} more arms are thin grey lines" if faint else ""
