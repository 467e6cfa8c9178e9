"""Attention against the plain formula, every example alone.

Breaks tried: segments compared without asking for a number above 0; the causal mask left out of the
path to cuDNN; dropout bits counted from the first computed query instead of the first of all; the
mean of a softmax's incoming gradient taken off once.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn.bodies import attention
from tlearn.bodies.attention import attend, choose_form, softmax
from tlearn.bodies.dropout import kept

B, T, N, D = 3, 7, 2, 8
SEGMENTS = {
    "none": None,
    "right padding": [[1] * 7, [1] * 4 + [0] * 3, [1] + [0] * 6],
    "left padding": [[1] * 7, [0] * 3 + [1] * 4, [0] * 6 + [1]],
    "packed": [[1, 1, 1, 2, 2, 3, 0], [1, 2, 2, 2, 2, 2, 2], [1, 1, 2, 2, 0, 0, 0]],
    "a row of padding": [[1] * 7, [0] * 7, [1, 1, 0, 0, 0, 0, 0]],
}


def draw(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def qkv(t=T, s=T):
    return draw(B, t, N, D), draw(B, s, N, D, seed=1), draw(B, s, N, D, seed=2)


def formula(q, k, v, segments, causal, bias, scale, keep, rate):
    """Example by example, each alone with its own tokens; zero for padding."""
    y = jnp.zeros((B, T, N, D))
    for b, n in itertools.product(range(B), range(N)):
        own = np.ones(T, int) if segments is None else np.asarray(segments[b])
        for number in set(own.tolist()) - {0}:
            at = np.flatnonzero(own == number)
            pairs = np.ix_(at, at)
            scores = (q[b, at, n] @ k[b, at, n].T) * scale
            scores = scores if bias is None else scores + bias[0, n][pairs]
            scores = jnp.where(np.tri(len(at)) > 0, scores, -jnp.inf) if causal else scores
            weights = jnp.exp(scores - scores.max(-1, keepdims=True))
            weights = weights / weights.sum(-1, keepdims=True)
            if keep is not None:
                weights = weights * keep[b, n][pairs] / (1 - rate)
            y = y.at[b, at, n].set(weights @ v[b, at, n])
    return y


@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", SEGMENTS)
def test_every_mask_is_the_plain_formula_with_gradients(name, causal, rate):
    segments = None if SEGMENTS[name] is None else jnp.array(SEGMENTS[name])
    biased = name in ("none", "packed")
    bias = draw(1, N, T, T, seed=3) if biased else None
    scale = 1.0 if biased else D**-0.5
    key = jax.random.key(5)
    keep = kept(key, (B, N, T, T), rate, axis=2, total=T) if rate else None
    real = jnp.ones((B, T)) if segments is None else (segments > 0).astype(float)
    weight = draw(B, T, N, D, seed=4) * real[:, :, None, None]

    def ours(q, k, v, bias):
        y = attend(
            q, k, v, query_segments=segments, causal=causal, bias=bias,
            scale=1.0 if biased else None, dropout=rate, key=key,
        )  # fmt: skip
        return (y * weight).sum(), y

    def theirs(q, k, v, bias):
        y = formula(q, k, v, SEGMENTS[name], causal, bias, scale, keep, rate)
        return (y * weight).sum(), y

    which = (0, 1, 2, 3) if biased else (0, 1, 2)
    (_, y), found = jax.jit(jax.value_and_grad(ours, which, has_aux=True))(*qkv(), bias)
    (_, want), wanted = jax.jit(jax.value_and_grad(theirs, which, has_aux=True))(*qkv(), bias)
    pairs = [(y * real[:, :, None, None], want), *zip(found, wanted, strict=True)]
    for got, expected in pairs:
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    assert bool(jnp.isfinite(y).all())


def test_rows_with_nothing_to_attend_have_finite_gradients():
    segments = jnp.zeros((B, T), jnp.int32)
    f = lambda q, k, v: jnp.square(attend(q, k, v, query_segments=segments)).sum()  # noqa: E731
    for gradient in jax.grad(f, (0, 1, 2))(*qkv()):
        assert bool(jnp.isfinite(gradient).all())


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_one_query_of_each_row_is_that_of_all_queries(rate):
    q, k, v = qkv()
    segments = jnp.array(SEGMENTS["packed"])
    key, place = jax.random.key(2), jnp.array([0, 4, 2])
    common = {"causal": True, "dropout": rate, "key": key}
    whole = attend(q, k, v, query_segments=segments, **common)
    part = attend(
        jnp.take_along_axis(q, place[:, None, None, None], 1),
        k,
        v,
        query_segments=jnp.take_along_axis(segments, place[:, None], 1),
        key_segments=segments,
        query_start=place,
        query_total=T,
        **common,
    )
    want = jnp.take_along_axis(whole, place[:, None, None, None], 1)
    np.testing.assert_allclose(part, want, rtol=1e-6, atol=1e-6)


def test_queries_after_a_cache_are_those_of_the_whole_sequence():
    q, k, v = qkv()
    whole = attend(q, k, v, causal=True)
    room = jnp.pad(jnp.ones((B, T), jnp.int32), ((0, 0), (0, 2)))
    k, v = (jnp.pad(x, ((0, 0), (0, 2), (0, 0), (0, 0)), constant_values=9.0) for x in (k, v))
    for start in (3, jnp.array(3)):
        late = attend(q[:, 3:], k, v, key_segments=room, causal=True, query_start=start)
        np.testing.assert_allclose(late, whole[:, 3:], rtol=1e-6, atol=1e-6)


def test_half_precision_keeps_its_softmax_in_float32():
    exact = attend(*qkv())
    rough = attend(*(x.astype(jnp.bfloat16) for x in qkv()))
    assert rough.dtype == jnp.bfloat16
    np.testing.assert_allclose(rough.astype(jnp.float32), exact, rtol=0.05, atol=0.05)
    text = str(jax.make_jaxpr(attend)(*(x.astype(jnp.bfloat16) for x in qkv())))
    assert "bf16[3,2,7,7] = exp" not in text
    assert "f32[3,2,7,7] = exp" in text


GOOD = {
    "platform": "cuda",
    "dtype": "bfloat16",
    "head_size": 64,
    "lengths": (128, 128),
    "masked": True,
    "dropout": 0.0,
    "biased": False,
    "partial": False,
}


def test_cudnn_is_chosen_where_it_can_compute_this():
    assert choose_form("auto", **GOOD) == choose_form("cudnn", **GOOD) == "cudnn"
    assert choose_form("plain", **GOOD) == "plain"
    assert choose_form("auto", **GOOD | {"lengths": (7, 7), "masked": False}) == "cudnn"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"platform": "cpu"}, "device is 'cpu'"),
        ({"platform": "rocm"}, "NVIDIA"),
        ({"dtype": "float32"}, "got float32"),
        ({"head_size": 60}, "multiple of 8"),
        ({"head_size": 256}, "at most 128"),
        ({"lengths": (7, 8)}, "must be even, got 7 and 8"),
        ({"dropout": 0.1}, r"dropout=0\.1"),
        ({"biased": True}, "bias"),
        ({"partial": True}, "all queries"),
    ],
)
def test_elsewhere_the_formula_is_taken_and_asking_for_cudnn_is_an_error(change, message):
    assert choose_form("auto", **GOOD | change) == "plain"
    with pytest.raises(ValueError, match=message):
        choose_form("cudnn", **GOOD | change)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="unknown attention form 'flash'"):
        attend(*qkv(), form="flash")
    with pytest.raises(ValueError, match="needs a random key"):
        attend(*qkv(), dropout=0.1)
    with pytest.raises(ValueError, match=r"device is 'cpu'.*got float32"):
        attend(*qkv(), form="cudnn")


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", SEGMENTS)
def test_what_is_handed_to_cudnn_means_the_same(monkeypatch, name, causal):
    """JAX's own formula stands in for the kernel, which takes the same arguments."""
    stand_in, asked = jax.nn.dot_product_attention, []

    def kernel(*args, implementation, **settings):
        asked.append(implementation)
        mask = settings["mask"]
        assert mask is None or mask.shape == (B, N, 6, 6)
        return stand_in(*args, implementation="xla", **settings)

    monkeypatch.setattr(jax.nn, "dot_product_attention", kernel)
    monkeypatch.setattr(attention, "_platform", lambda: "cuda")
    segments = None if SEGMENTS[name] is None else jnp.array(SEGMENTS[name])[:, :6]
    q, k, v = (x[:, :6].astype(jnp.bfloat16) for x in qkv())
    found = attend(q, k, v, query_segments=segments, causal=causal)
    want = attend(q, k, v, query_segments=segments, causal=causal, form="plain")
    assert asked == ["cudnn"]
    real = jnp.ones((B, 6)) if segments is None else segments > 0
    real = real[:, :, None, None]
    np.testing.assert_allclose(
        (found * real).astype(jnp.float32), (want * real).astype(jnp.float32), rtol=0.02, atol=0.02
    )


@pytest.mark.parametrize("causal", [False, True])
def test_rows_taken_in_turn_change_neither_values_nor_gradients_nor_what_is_dropped(
    causal, monkeypatch
):
    """Parts of two rows beside all six at once, with padding, a bias and dropout."""
    keys = jax.random.split(jax.random.key(0), 5)
    q, k, v, g = (jax.random.normal(key, (6, 8, 2, 4)) for key in keys[:4])
    bias = jax.random.normal(keys[4], (1, 2, 8, 8))
    segments = jnp.where(jnp.arange(8)[None] < jnp.array([8, 3, 5, 8, 1, 7])[:, None], 1, 0)

    def outcome(q, k, v, bias):
        def run(q, k, v, bias):
            return attend(
                *(q, k, v),
                query_segments=segments,
                causal=causal,
                bias=bias,
                dropout=0.3,
                key=jax.random.key(7),
            )

        out, back = jax.vjp(run, q, k, v, bias)
        return out, back(jnp.where(segments[..., None, None] > 0, g, 0.0))

    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(attention, "_IN_CACHE", 10**9)
    whole = outcome(q, k, v, bias)
    monkeypatch.setattr(attention, "_IN_CACHE", 2 * 4 * 2 * 8 * 8)
    assert attention._rows_at_once(q, k) == 2
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(outcome(q, k, v, bias)), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)


def test_the_gradient_of_a_softmax_keeps_its_digits_beside_a_weight_near_one():
    rng = np.random.default_rng(0)
    scores = 3 * rng.normal(size=(50, 9)).astype(np.float32)
    scores[:, 2] = 14
    dy = 100 + rng.normal(size=scores.shape).astype(np.float32)
    weights = np.exp(scores.astype(np.float64))
    weights /= weights.sum(-1, keepdims=True)
    want = weights * (dy - (weights * dy).sum(-1, keepdims=True))
    y, backward = jax.vjp(softmax, jnp.asarray(scores))
    np.testing.assert_allclose(y, weights, rtol=1e-5)
    (got,) = backward(jnp.asarray(dy))
    # jax.nn.softmax's own rule is 3e-3 away.
    assert np.abs(got - want).max() <= 1e-6 * np.abs(want).max()
