"""Plots draw what they are given: marks, captions, labels apart, and no global state."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from tlearn.studies import drawing, plots


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def colour_share(png: bytes, colour: str) -> float:
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return float((np.abs(pixels(png).astype(int) - rgb).max(-1) < 12).mean())


def scores(mean: float) -> dict[int, float]:
    return {s: mean + 0.01 * s for s in range(5)}


def test_labels_keep_order_and_distance():
    rng = np.random.default_rng(0)
    for _ in range(200):
        wished = sorted(rng.uniform(0, 1, rng.integers(1, 10)))
        placed = drawing.spread(wished, gap=0.08)
        assert len(placed) == len(wished)
        assert all(b - a > 0.08 - 1e-9 for a, b in itertools.pairwise(placed))
        assert placed[0] >= -1e-9
        assert placed[-1] <= 1 + 1e-9
    apart = [0.1, 0.5, 0.9]
    assert drawing.spread(apart, gap=0.08) == apart
    np.testing.assert_allclose(drawing.spread([0.5, 0.5], gap=0.1), [0.45, 0.55])


def test_learning_curves_in_both_themes_and_failures_said():
    values = np.linspace(0, 1, 11)[None] + 0.02 * np.random.default_rng(0).normal(size=(4, 11))
    values[2, 5] = np.nan
    plot = plots.learning_curves({"a": plots.Curve(range(11), values)}, arms=["reference", "a"])
    assert "4 seeds" in plot.caption
    assert "1 failed run not drawn" in plot.caption
    assert colour_share(plot.light, drawing.LIGHT.colours[1]) > 1e-3  # the study's second arm
    assert colour_share(plot.light, drawing.LIGHT.colours[2]) == 0
    assert tuple(pixels(plot.light)[0, 0]) == (255, 255, 255)
    assert tuple(pixels(plot.dark)[0, 0]) == (0x17, 0x1A, 0x1F)
    assert plot.data_uri().startswith("data:image/png;base64,iVBOR")


def test_a_frozen_layer_has_a_mark_and_no_bar():
    moved = {"stem": dict.fromkeys(range(5), 0.0), "stage_1": scores(1.0)}
    plot = plots.distance_by_layer({"a": moved})
    still = plots.distance_by_layer({"a": {**moved, "stage_1": dict.fromkeys(range(5), 0.0)}})
    colour = drawing.LIGHT.colours[0]
    assert 0 < colour_share(still.light, colour) < 0.1 * colour_share(plot.light, colour)
    assert "did not move" in plot.caption


def test_label_efficiency_counts_seeds_and_failures(tmp_path):
    given = {
        "a": {5: scores(0.5), 50: scores(0.8)},
        "b": {5: {**scores(0.6), 4: None}, 50: scores(0.9)},
    }
    plot = plots.label_efficiency(given)
    assert "5 seeds" in plot.caption
    assert "1 failed run" in plot.caption
    assert plot.save(tmp_path / "plots").read_bytes() == plot.light
    assert Image.open(tmp_path / "plots" / "labels_per_class.png").info["dpi"][0] == pytest.approx(
        150, abs=0.1
    )


def test_an_arm_with_no_finished_run_is_left_out():
    failed = dict.fromkeys(range(3), None)
    assert "6 failed runs" in plots.label_efficiency({"a": {5: failed, 50: failed}}).caption
    assert "3 failed runs" in plots.distance_by_layer({"a": {"stem": failed}}).caption
    lost = plots.Curve([0, 1], [[np.nan, 1.0]])
    assert "1 failed run not" in plots.learning_curves({"a": lost}).caption


def test_wrong_shapes_and_unknown_arms_are_named():
    with pytest.raises(ValueError, match=r"curve 'a'.*\(1, 3\)"):
        plots.learning_curves({"a": plots.Curve([0, 1], [[0.1, 0.2, 0.3]])})
    with pytest.raises(ValueError, match=r"\['b'\]"):
        plots.label_efficiency({"b": {5: scores(0.1)}}, arms=["a"])
