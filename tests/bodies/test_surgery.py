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
