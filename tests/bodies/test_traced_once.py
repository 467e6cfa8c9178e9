"""Blocks traced once are the blocks: the same digits, from one trace for each kind.

Breaks tried: every block traced; `train` not passed on; what was traced looked up without the
settings.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tlearn import bodies
from tlearn.bodies import t5_blocks, traced_once, transformer

SMALL = {"width": 16, "heads": 2, "feed_forward": 32, "dropout": 0.2}
TEXT = {"vocab_size": 50, **SMALL}
KINDS = {
    "bert": {**TEXT, "positions": 24, "attention_dropout": 0.2, "pooling": "first"},
    "bert, recomputed": {**TEXT, "positions": 24, "remat": True, "pooling": "mean"},
    "albert": {**TEXT, "positions": 24, "embedding_width": 8, "pooling": "mean"},
    "gpt": {**TEXT, "positions": 24, "pooling": "mean"},
    "t5": {**TEXT, "head_size": 8, "decoder_depth": 0},
    "vit": {**SMALL, "image_size": 8, "patch_size": 4, "drop_path": 0.3},
}


def make(kind, depth, **changes):
    return bodies.build({"family": kind.split(",")[0], "depth": depth, **KINDS[kind], **changes})


def given(body):
    rng = np.random.default_rng(0)
    tokens = jnp.asarray(rng.integers(1, 50, (3, 7)), jnp.int32)
    segments = jnp.asarray(np.arange(7) < np.array([[7], [4], [2]]), jnp.int32)
    pictures = jnp.asarray(rng.normal(size=(3, 8, 8, 3)), jnp.float32)
    named = {"tokens": tokens, "segments": segments, "types": tokens * 0, "image": pictures}
    return [named[name] for name in body.inputs]


def plainly(module, method, train, *arrays):
    """What `traced_once` does, each time anew."""
    return getattr(module, method)(train, *arrays)


def of_a_step(body):
    """The pooled features with dropout, and the gradient of their squares."""
    inputs = given(body)
    params = body.init(jax.random.key(0), *inputs)["params"]

    @functools.partial(jax.jit, compiler_options=tiny.QUICK)
    def both(params):
        def loss(params):
            rngs = {"dropout": jax.random.key(7)}
            pooled = body.apply({"params": params}, *inputs, train=True, rngs=rngs).pooled
            return jnp.square(pooled).sum(), pooled

        return jax.value_and_grad(loss, has_aux=True)(params)

    return jax.device_get(both(params))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_computed_is_the_same_to_the_last_digit(kind, monkeypatch):
    # With a pooled path the last block is another one: for two equal ones it takes three.
    body = make(kind, 3 if KINDS[kind].get("pooling") == "first" else 2)
    once = of_a_step(body)
    for place in (transformer, t5_blocks):
        monkeypatch.setattr(place, "traced_once", plainly)
    plain = of_a_step(body)
    for a, b in zip(jax.tree.leaves(once), jax.tree.leaves(plain), strict=True):
        assert a.any()
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_a_deep_network_traces_no_more_attention_than_a_shallow_one(kind, monkeypatch):
    traced = []

    def counted(attend):
        return lambda *args, **settings: traced.append(1) or attend(*args, **settings)

    for place in (transformer, t5_blocks):
        monkeypatch.setattr(place, "attend", counted(place.attend))
    # A ViT skips upper blocks more often: those are blocks of other settings.
    changes = {"drop_path": 0.0} if kind == "vit" else {}

    def count(depth):
        body = make(kind, depth, **changes)
        inputs = given(body)
        shapes = jax.eval_shape(body.init, jax.random.key(0), *inputs)
        jax.clear_caches()
        traced.clear()
        rngs = {"dropout": jax.random.key(7)}
        jax.eval_shape(lambda v: body.apply(v, *inputs, train=True, rngs=rngs).pooled, shapes)
        return len(traced)

    # One for the blocks below, and one or two for a last block that a pooled path leaves.
    assert 0 < count(5) == count(3) <= 3


def test_other_settings_and_other_modes_are_traced_anew():
    inputs = given(make("bert", 2))
    rngs = {"dropout": jax.random.key(7)}

    def features(body, train):
        variables = body.init(jax.random.key(0), *inputs)
        run = jax.jit(lambda v: body.apply(v, *inputs, train=train, rngs=rngs).sequence)
        return np.asarray(run(variables))

    plain = make("bert", 2)
    other = make("bert", 2, activation="relu")
    found = [features(plain, False), features(other, False), features(plain, True)]
    again = features(plain, False)
    np.testing.assert_array_equal(found[0], again)
    for i, one in enumerate(found):
        for two in found[i + 1 :]:
            assert np.abs(one - two).max() > 1e-3


def test_what_runs_at_once_compiles_no_block(monkeypatch):
    compiled = []
    monkeypatch.setattr(traced_once, "_function", lambda *args: compiled.append(args))
    body = make("bert", 2)
    inputs = given(body)
    variables = body.init(jax.random.key(0), *inputs)
    assert np.isfinite(body.apply(variables, *inputs).pooled).all()
    assert not compiled


def test_only_the_layers_named_drop_elements():
    body = make("bert", 3)
    inputs = given(body)
    variables = body.init(jax.random.key(0), *inputs)

    def layers(*names):
        rngs = {"dropout": jax.random.key(7)}
        return body.apply(variables, *inputs, train=frozenset(names), rngs=rngs).layers

    still, top = layers(), layers("block_02")
    for name in ("embeddings", "block_00", "block_01"):
        np.testing.assert_array_equal(still[name], top[name])
    assert np.abs(still["block_02"] - top["block_02"]).max() > 1e-3
