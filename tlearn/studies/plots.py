"""Plots of a study: learning curves, label efficiency, distance from the source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlearn.studies.drawing import Plot, Theme, draw_twice, label_ends, legend, look, looks_of
from tlearn.studies.statistics import LEVEL, Scores, summarize, t_quantile


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
    xlabel: str = "updates",
    ylabel: str = "test accuracy",
    name: str = "learning_curves",
) -> Plot:
    """Draws the mean over seeds of every arm with its pointwise 95 % t-band.

    Args:
        curves: The curve of every arm.
        arms: All arms of the study in order, so that an arm looks the same in every plot even
            where others are missing. By default those drawn here.
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
    looks = looks_of(arms or list(curves), curves)

    def draw(axes: Any, theme: Theme) -> None:
        ends = []
        for arm, (at, mean, half) in means.items():
            colour, style, _ = look(looks[arm], theme)
            if half is not None:
                axes.fill_between(at, mean - half, mean + half, color=colour, alpha=0.14, lw=0)
            axes.plot(at, mean, color=colour, linestyle=style, lw=2)
            ends.append((arm, float(at[-1]), float(mean[-1]), colour))
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.margins(x=0)
        label_ends(axes, ends, theme)

    caption = (
        f"{ylabel[:1].upper()}{ylabel[1:]} against {xlabel}: mean over {_counts(seeds)} seeds, "
        f"{100 * LEVEL:g} % t-bands{_failures(failed)}."
    )
    return draw_twice(name, caption, draw)


def label_efficiency(
    scores: Mapping[str, Mapping[int, Scores]],
    *,
    arms: Sequence[str] = (),
    xlabel: str = "labels per class",
    ylabel: str = "test accuracy",
    name: str = "labels_per_class",
) -> Plot:
    """Draws accuracy against labels per class, ``scores[arm][labels][seed]``, with t-intervals.

    ``arms`` as in `learning_curves`.
    """
    looks = looks_of(arms or list(scores), scores)
    summaries = {
        arm: {labels: summarize(runs) for labels, runs in sorted(by_labels.items())}
        for arm, by_labels in scores.items()
    }
    ticks = sorted({labels for by_labels in scores.values() for labels in by_labels})
    every = [s for by_labels in summaries.values() for s in by_labels.values()]
    counts = {s.finished + len(s.failed) for s in every}

    def draw(axes: Any, theme: Theme) -> None:
        ends = []
        for index, (arm, by_labels) in enumerate(summaries.items()):
            colour, style, marker = look(looks[arm], theme)
            drawn = {k: s for k, s in by_labels.items() if s.mean is not None}
            # A few percent aside, so that equal arms do not hide each other's intervals.
            aside = 1.025 ** (index - (len(summaries) - 1) / 2)
            at = [labels * aside for labels in drawn]
            mean = [float(s.mean or 0.0) for s in drawn.values()]
            half = [s.interval.half_width if s.interval else 0.0 for s in drawn.values()]
            axes.errorbar(
                at,
                mean,
                yerr=half,
                color=colour,
                linestyle=style,
                marker=marker,
                markersize=5,
                lw=1.6,
                elinewidth=1.2,
                capsize=2,
            )
            if at:
                ends.append((arm, at[-1], mean[-1], colour))
        axes.set_xscale("log")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel(f"{xlabel} (log scale)")
        axes.set_ylabel(ylabel)
        label_ends(axes, ends, theme)

    caption = (
        f"{ylabel[:1].upper()}{ylabel[1:]} against {xlabel}: mean over {_counts(counts)} seeds, "
        f"{100 * LEVEL:g} % t-intervals{_failures(sum(len(s.failed) for s in every))}."
    )
    return draw_twice(name, caption, draw)


def distance_by_layer(
    distances: Mapping[str, Mapping[str, Scores]],
    *,
    arms: Sequence[str] = (),
    ylabel: str = "‖w − source‖",
    name: str = "distance_by_layer",
) -> Plot:
    """Draws how far each layer moved from the source, ``distances[arm][layer][seed]``.

    ``arms`` as in `learning_curves`.
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
        axes.set_xticks(range(len(layers)), layers)
        axes.tick_params(axis="x", length=0)
        axes.set_xlim(-0.5, len(layers) - 0.5)
        axes.set_ylim(bottom=0)
        axes.set_ylabel(ylabel)
        axes.set_xlabel("layer, from input to output")
        legend(axes, {arm: looks[arm] for arm in summaries}, theme)

    counts = _counts({s.finished + len(s.failed) for s in every})
    caption = (
        f"Distance from the source by layer, {ylabel}: mean over {counts} seeds, "
        f"{100 * LEVEL:g} % t-intervals; a mark on the floor is a layer that did not move"
        f"{_failures(sum(len(s.failed) for s in every))}."
    )
    return draw_twice(name, caption, draw)


def _counts(counts: set[int]) -> str:
    """Renders the number of seeds: ``10``, or ``5–10`` where arms differ."""
    if not counts:
        return "0"
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low}–{high}"


def _failures(count: int) -> str:
    """Says how many runs are missing from a plot, if any are."""
    return f"; {count} failed run{'s' if count > 1 else ''} not drawn" if count else ""
