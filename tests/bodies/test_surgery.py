"""Input channels change by name, and what is promised to stay equal stays equal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies
from tlearn.bodies import adapt_input_channels
from tlearn.params import flatten, unflatten


def body(channels):
    return bodies.create(
        "resnet20", stage_blocks=(1, 1), stage_widths=(4, 8), stem_width=4, in_channels=channels
    )


def grey():
    return jax.random.normal(jax.random.key(1), (3, 8, 8, 1))


@pytest.mark.parametrize(("before", "after", "mode"), [(3, 1, "sum"), (1, 3, "repeat")])
def test_grey_pictures_give_what_they_gave(before, after, mode):
    old, new = body(before), body(after)
    variables = old.init(jax.random.key(0), jnp.zeros((1, 8, 8, before)))
    flat = flatten(variables["params"])
    kernel, report = adapt_input_channels(flat["stem/conv/kernel"], after, mode)
    assert (report.mode, report.before[2], report.after[2]) == (mode, before, after)
    assert mode in str(report)
    adapted = {**variables, "params": unflatten({**flat, "stem/conv/kernel": kernel})}
    want = old.apply(variables, jnp.repeat(grey(), before, axis=-1)).pooled
    got = new.apply(adapted, jnp.repeat(grey(), after, axis=-1)).pooled
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6)


def test_the_kernels_equation_is_exact():
    kernel = np.arange(2 * 2 * 3 * 2, dtype=np.float32).reshape(2, 2, 3, 2)
    summed, _ = adapt_input_channels(kernel, 1)
    np.testing.assert_array_equal(summed, kernel.sum(2, keepdims=True))
    back, report = adapt_input_channels(summed, 4)
    assert report.mode == "repeat"
    np.testing.assert_array_equal(back.sum(2, keepdims=True), summed)
    assert back.dtype == kernel.dtype


def test_what_does_not_fit_is_refused():
    kernel = np.zeros((3, 3, 3, 8), np.float32)
    with pytest.raises(ValueError, match="from 3 to 4 input channels"):
        adapt_input_channels(kernel, 4)
    with pytest.raises(ValueError, match="'repeat'"):
        adapt_input_channels(kernel, 1, "repeat")
    with pytest.raises(ValueError, match="mode is"):
        adapt_input_channels(kernel, 1, "mean")
    with pytest.raises(ValueError, match=r"\[rows, columns, in, out\]"):
        adapt_input_channels(kernel[0], 1)


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
def test_a_flat_grid_stays_flat_and_a_slope_keeps_its_middle(mode):
    from tlearn.bodies import resize_positions

    slope = np.linspace(-1, 1, 5)
    grid = (slope[:, None] + 0 * slope[None]).reshape(1, 25, 1).astype(np.float32)
    table = np.concatenate([np.full((1, 1, 1), 9.0, np.float32), grid], axis=1)
    for side in (3, 7, 12):
        new, report = resize_positions(table, 1 + side * side, 1, mode)
        assert new.shape == (1, 1 + side * side, 1)
        assert new[0, 0, 0] == 9.0
        rows = new[0, 1:, 0].reshape(side, side)
        np.testing.assert_allclose(rows, rows[:, :1] + 0 * rows, atol=1e-6)
        np.testing.assert_allclose(rows, -rows[::-1], atol=1e-6)
        assert (np.diff(rows[:, 0]) > 0).all()
        assert f"5x5 places became {side}x{side}" in str(report)


@pytest.mark.torch
@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("old", "new"), [(3, 7), (14, 24), (24, 14), (7, 4)])
def test_positions_are_resized_as_timm_does(mode, old, new):
    from timm_peer import import_timm

    torch = pytest.importorskip("torch")
    import_timm()
    from timm.layers.pos_embed import resample_abs_pos_embed

    from tlearn.bodies import resize_positions

    table = np.random.default_rng(0).normal(size=(1, 2 + old * old, 8)).astype(np.float32)
    wanted = resample_abs_pos_embed(
        torch.tensor(table), [new, new], num_prefix_tokens=2, interpolation=mode
    )
    given, _ = resize_positions(table, 2 + new * new, 2, mode)
    np.testing.assert_allclose(given, wanted.numpy(), atol=1e-5)
