"""ALBERT shares its blocks: one set of parameters, many turns, the promises of any body."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies
from tlearn.params import flatten

TINY = {
    "vocab_size": 40,
    "embedding_width": 4,
    "width": 8,
    "depth": 3,
    "heads": 2,
    "feed_forward": 12,
    "positions": 12,
}


def make(**fields):
    return bodies.build({"family": "albert", **TINY, **fields})


def rows():
    draw = np.random.default_rng(0)
    tokens = jnp.asarray(draw.integers(1, 40, (2, 7)), jnp.int32)
    segments = jnp.asarray([[1] * 7, [1] * 4 + [0] * 3], jnp.int32)
    return tokens, segments, jnp.asarray(draw.integers(0, 2, (2, 7)), jnp.int32)


def drawn(body):
    return jax.jit(body.init)(jax.random.key(0), *rows())


def run(body, variables, train=False):
    apply = jax.jit(
        lambda v: body.apply(v, *rows(), train=train, rngs={"dropout": jax.random.key(1)})
    )
    return apply(variables)


def test_layers_cover_every_parameter():
    body = make(groups=2, inner_blocks=2)
    paths = flatten(drawn(body)["params"])
    assert {path.split("/")[0] for path in paths} == set(body.layer_names)
    assert "group_01/block_01/attention/query/kernel" in paths
    assert set(run(body, drawn(body)).layers) == set(body.layer_names)


def test_one_group_in_two_turns_is_two_groups_with_the_same_weights():
    once, twice = make(depth=2, groups=1), make(depth=2, groups=2)
    shared = drawn(once)["params"]
    parted = {**shared, "group_01": shared["group_00"]}
    one, two = run(once, {"params": shared}), run(twice, {"params": parted})
    np.testing.assert_allclose(one.sequence, two.sequence, atol=1e-6)
    changed = jax.tree.map(lambda x: x + 0.1, shared["group_00"])
    other = run(twice, {"params": {**parted, "group_01": changed}})
    assert np.abs(other.sequence - two.sequence).max() > 1e-3


def test_the_pooled_path_is_the_whole_path_with_dropout_too():
    body = make(dropout=0.3, attention_dropout=0.2, pooling="first")
    variables = drawn(body)
    for train in (False, True):
        features = run(body, variables, train)
        np.testing.assert_allclose(features.pooled, features.sequence[:, 0], atol=1e-6)
    assert np.abs(run(body, variables, True).pooled - run(body, variables).pooled).max() > 1e-3


def test_turns_of_a_group_drop_different_elements_and_a_frozen_group_none():
    body = make(dropout=0.5)
    variables = drawn(body)
    still = run(body, variables, frozenset())
    np.testing.assert_array_equal(still.sequence, run(body, variables).sequence)
    moved = run(body, variables, frozenset({"group_00"}))
    np.testing.assert_array_equal(moved.layers["embeddings"], still.layers["embeddings"])
    assert np.abs(moved.sequence - still.sequence).max() > 1e-3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"groups": 4}, "groups=4 are more than depth=3"),
        ({"embedding_width": 8}, "must be projected"),
        ({"heads": 3}, "no multiple of heads=3"),
        ({"activation": "gelu_nwe", "pooling": "some"}, "pooling is one of"),
    ],
)
def test_impossible_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        make(**fields)


def test_recomputing_blocks_changes_nothing():
    plain, again = (make(depth=1, dropout=0.2, remat=remat) for remat in (False, True))
    variables = drawn(plain)

    def gradient(body):
        def loss(v):
            out = body.apply(v, *rows(), train=True, rngs={"dropout": jax.random.key(1)})
            return jnp.square(out.sequence).sum() + out.pooled.sum()

        return jax.jit(jax.grad(loss))(variables)

    for a, b in zip(*map(jax.tree.leaves, (gradient(plain), gradient(again))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
