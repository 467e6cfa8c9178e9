"""Every form of a convolution computes the same function, under every transformation."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tlearn.bodies.convolution import Conv, conv2d, pads
from tlearn.bodies.convolution_forms import FORMS, Geometry
from tlearn.bodies.convolution_rules import choose

# size, channels, features, stride, kernel, padding, groups
CASES = [
    (8, 3, 4, 1, 3, "torch", 1),
    (7, 4, 6, 2, 3, "torch", 1),
    (8, 4, 6, 2, 3, "same", 1),
    (8, 4, 6, 2, 1, "valid", 1),
    (2, 4, 4, 1, 3, "torch", 1),
    (9, 1, 4, 1, 3, 0, 1),
    (11, 3, 4, 2, 7, "torch", 1),
    (9, 4, 4, 3, 3, 0, 1),
    (8, 6, 6, 1, 3, "torch", 6),
    (7, 6, 6, 2, 3, "torch", 6),
    (8, 6, 6, 2, 3, "same", 6),
    (8, 4, 8, 1, 3, "torch", 2),
]


def reference(x, kernel, stride, padding, groups):
    pairs = pads(padding, kernel.shape[:2], (stride, stride), x.shape[1:3])
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        pairs,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def operands(case, runs=None):
    size, channels, features, _, area, _, groups = case
    lead = () if runs is None else (runs,)
    x = jax.random.normal(jax.random.key(0), (*lead, 3, size, size, channels))
    shape = (*lead, area, area, channels // groups, features)
    return x, jax.random.normal(jax.random.key(1), shape)


def ours(case, form):
    return lambda x, k: conv2d(x, k, strides=case[3], padding=case[5], groups=case[6], form=form)


def theirs(case):
    return lambda x, k: reference(x, k, case[3], case[5], case[6])


def close(got, want, tolerance=1e-5):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= tolerance * max(np.abs(b).max(), 1e-30)


def gradients(f):
    """Output and both gradients."""

    def value(x, k):
        y, pull = jax.vjp(f, x, k)
        return (y, *pull(jnp.cos(y)))

    return value


def everything(f):
    """Output, both gradients, and forward derivatives through all three."""
    return lambda x, k: jax.jvp(gradients(f), (x, k), (jnp.sin(x), jnp.cos(k)))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forms_agree(case):
    x, k = operands(case)
    forms = ["auto", *FORMS] if case[6] == 1 else ["auto", "builtin", "taps"]
    values = jax.jit(lambda x, k: [gradients(ours(case, form))(x, k) for form in forms])(x, k)
    want = jax.jit(gradients(theirs(case)))(x, k)
    for got in values:
        close(got, want)


@pytest.mark.parametrize("case", [CASES[1], CASES[4], CASES[9]], ids=str)
def test_derivatives_of_gradients_agree(case):
    x, k = operands(case)
    close(jax.jit(everything(ours(case, "auto")))(x, k), jax.jit(everything(theirs(case)))(x, k))


@pytest.mark.parametrize("case", [CASES[1], CASES[8], CASES[11]], ids=str)
@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)], ids=str)
def test_vmap_over_runs_equals_run_by_run(case, axes):
    x, k = operands(case, runs=2)
    x, k = (x if axes[0] == 0 else x[0]), (k if axes[1] == 0 else k[0])
    one = jax.jit(gradients(theirs(case)))
    pick = lambda a, axis, i: a[i] if axis == 0 else a  # noqa: E731
    runs = [one(pick(x, axes[0], i), pick(k, axes[1], i)) for i in range(2)]
    want = jax.tree.map(lambda *parts: jnp.stack(parts), *runs)
    close(jax.jit(jax.vmap(gradients(ours(case, "auto")), axes))(x, k), want)


def test_vmap_twice_equals_run_by_run():
    case = CASES[1]
    x, k = operands(case, runs=4)
    x, k = x.reshape(2, 2, *x.shape[1:]), k.reshape(2, 2, *k.shape[1:])
    for axes in [(0, 0), (0, None), (None, 0)]:
        xs, ks = (x if axes[0] == 0 else x[0]), (k if axes[1] == 0 else k[0])
        got = jax.jit(jax.vmap(jax.vmap(ours(case, "auto")), axes))(xs, ks)
        want = jax.vmap(jax.vmap(theirs(case)), axes)(xs, ks)
        close(got, want)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the rules are a CPU's")
def test_runs_never_become_a_grouped_convolution():
    """Tried with the break: ``jax.vmap`` instead of ``lax.map`` over runs on a CPU."""
    case = CASES[0]
    x, k = operands(case, runs=3)
    program = jax.jit(jax.vmap(gradients(ours(case, "auto")))).lower(x, k).compile().as_text()
    assert "feature_group_count" not in program
    assert "batch_group_count" not in program


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the rules are a CPU's")
def test_gradients_stay_in_the_plain_layout_inside_a_loop():
    """Tried with the break: the form ``builtin``, whose gradients have other layouts."""
    x, k = jnp.ones((2, 8, 8, 16)), jnp.ones((3, 3, 16, 16)) * 0.01

    def layouts(form):
        def step(k, _):
            value = lambda k: jnp.square(  # noqa: E731
                conv2d(conv2d(x, k, form=form), k, form=form)
            ).mean()
            return k - 0.1 * jax.grad(value)(k), None

        program = jax.jit(lambda k: lax.scan(step, k, None, length=2)[0]).lower(k).compile()
        return set(re.findall(r"dim_labels=(\S+?),? ", program.as_text()))

    assert layouts("auto") <= {"b01f_01io->b01f"}
    assert not layouts("builtin") <= {"b01f_01io->b01f"}


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the rules are a CPU's")
def test_what_precedes_a_convolution_is_not_computed_again_in_its_transposes():
    """Tried with the break: the kernel's gradient compiled in line."""
    x, k = jnp.ones((4, 8, 8, 16)), jnp.ones((3, 3, 16, 16)) * 0.01

    def value(k):
        scale = jnp.arange(16.0).reshape(1, 1, 1, 16) + k[0, 0, 0, 0]
        chain = jax.nn.relu(conv2d(x, k) * scale) + x
        return jnp.square(conv2d(chain, k)).mean()

    program = jax.jit(jax.grad(value)).lower(k).compile().as_text()
    copies = re.findall(r"^ *(?:ROOT )?%\S*transpose\S* = \S+ fusion\((.*?)\)", program, re.M)
    assert copies
    # A copy in another order has one operand: the array itself.
    assert [operands for operands in copies if operands.count("%") != 1] == []


def test_rules_choose_by_platform_and_shape():
    plain = Geometry((1, 1), ((1, 1), (1, 1)), 1, (32, 32), (3, 3))
    depthwise = Geometry((1, 1), ((1, 1), (1, 1)), 8, (32, 32), (3, 3))
    name = lambda g, c, o, cpu: choose("forward", "auto", g, c, o, cpu=cpu).__name__  # noqa: E731
    assert name(plain, 16, 16, False) == "Builtin"
    assert name(plain, 16, 16, True) == "Canonical"
    assert name(plain, 1, 16, True) == "Taps"
    assert name(depthwise, 8, 8, False) == "Builtin"
    assert name(depthwise, 8, 8, True) == "Depthwise"
    assert name(depthwise, 8, 16, True) == "Builtin"


def test_half_precision_sums_in_float32():
    x = jnp.full((64, 8, 8, 8), 1.0, jnp.bfloat16)
    for groups, kernel in ((1, jnp.ones((3, 3, 8, 8))), (8, jnp.ones((3, 3, 1, 8)))):
        k = kernel.astype(jnp.bfloat16)
        grad = jax.jit(jax.grad(lambda k, g=groups: conv2d(x, k, groups=g).astype("float32").sum()))
        got = grad(k)
        assert got.dtype == jnp.bfloat16
        # 64 * 8 * 8 = 4096 ones; a sum kept in bfloat16 stops growing at 256.
        assert got[1, 1].astype(jnp.float32).max() == 4096


def test_same_padding_is_tensorflows():
    assert pads("same", (3, 3), (2, 2), (8, 8)) == ((0, 1), (0, 1))
    assert pads("torch", (3, 3), (2, 2), (8, 8)) == ((1, 1), (1, 1))
    assert pads(((1, 2), (3, 4)), (3, 3), (1, 1), (8, 8)) == ((1, 2), (3, 4))


def test_what_cannot_be_convolved_says_why():
    x, k = jnp.zeros((1, 4, 4, 3)), jnp.zeros((3, 3, 3, 8))
    with pytest.raises(ValueError, match=r"unknown padding 'SAME'"):
        conv2d(x, k, padding="SAME")
    with pytest.raises(ValueError, match="unknown convolution form 'fast'"):
        conv2d(x, k, form="fast")
    with pytest.raises(ValueError, match="4x4 pixels is too small"):
        conv2d(x, jnp.zeros((7, 7, 3, 8)), padding="valid")
    with pytest.raises(ValueError, match="do not fit a kernel of 4"):
        conv2d(x, jnp.zeros((3, 3, 4, 8)))
    with pytest.raises(ValueError, match="groups=2"):
        Conv(8, groups=2).init(jax.random.key(0), x)


def test_bias_is_added_per_channel():
    layer = Conv(2, (1, 1), use_bias=True)
    params = {"kernel": jnp.ones((1, 1, 3, 2)), "bias": jnp.array([1.0, -2.0])}
    y = layer.apply({"params": params}, jnp.ones((1, 2, 2, 3)))
    np.testing.assert_array_equal(y[0, 0, 0], [4.0, 1.0])
