"""GPT and T5 bodies: sizes as published, decoding equal to reading whole, packing, pooling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies, heads
from tlearn.bodies.relative import buckets_of
from tlearn.params import flatten, unflatten

# Counted with transformers on torch's meta device, from each published config; the papers round
# them (GPT: 117M; GPT-2: 117M, 345M, 762M, 1542M; T5: 60M, 220M, 770M, 3B, 11B).
COUNTS = {
    "openai-gpt": 116_534_784,
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "t5-small": 60_506_624,
    "t5-base": 222_903_552,
    "t5-large": 737_668_096,
    "t5-3b": 2_851_598_336,
    "t5-11b": 11_307_321_344,
    "t5-v1_1-small": 76_961_152,
    "t5-v1_1-base": 247_577_856,
    "t5-v1_1-large": 783_150_080,
    "t5-v1_1-xl": 2_849_757_184,
    "t5-v1_1-xxl": 11_135_332_352,
    "flan-t5-base": 247_577_856,
}
GPT = {
    "family": "gpt",
    "vocab_size": 40,
    "width": 16,
    "depth": 2,
    "heads": 4,
    "feed_forward": 24,
    "positions": 20,
}
T5 = {
    "family": "t5",
    "vocab_size": 40,
    "width": 16,
    "depth": 2,
    "decoder_depth": 2,
    "heads": 4,
    "head_size": 6,
    "feed_forward": 24,
    "relative_buckets": 8,
    "relative_distance": 9,
}
TINY = {
    "gpt": GPT | {"pre_norm": False},
    "gpt2": GPT,
    "t5": T5,
    "t5-gated": T5 | {"gated": True, "activation": "gelu_new"},
    "t5-encoder": T5 | {"decoder_depth": 0},
    "t5-shifted": T5 | {"shifted": True},
}
ROWS, LENGTH = 3, 8


def make(name, **changes):
    return bodies.build(TINY[name] | changes)


def inputs(body, seed=0, length=LENGTH):
    keys = jax.random.split(jax.random.key(seed), 2)
    given = []
    for key in keys[: len(body.inputs) // 2]:
        tokens = jax.random.randint(key, (ROWS, length), 3, 40, jnp.int32)
        given += [tokens, jnp.ones_like(tokens)]
    return given


def draw(body):
    """Weights without a compiled program: random, with norms about 1."""
    shapes = flatten(jax.eval_shape(body.init, jax.random.key(0), *inputs(body))["params"])
    rng = np.random.default_rng(1)
    drawn = {
        path: jnp.asarray(
            rng.standard_normal(leaf.shape) * 0.3 + path.endswith("scale"), jnp.float32
        )
        for path, leaf in shapes.items()
    }
    return {"params": unflatten(drawn)}


def near(found, wanted, tolerance=5e-6):
    assert np.abs(found - wanted).max() <= tolerance * max(np.abs(wanted).max(), 1)


# Tracing 48 blocks takes seconds: the sizes that only repeat are left to the longer run.
SLOW = {"gpt2-large", "gpt2-xl", "t5-large", "t5-3b", "t5-11b"}
SLOW |= {"t5-v1_1-large", "t5-v1_1-xl", "t5-v1_1-xxl"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in COUNTS]
)
def test_parameter_counts_are_the_published_ones(name):
    body = bodies.create(name)
    given = [jax.ShapeDtypeStruct((1, 4), jnp.int32) for _ in body.inputs]
    drawn, features = jax.eval_shape(
        lambda key, *x: body.init_with_output(key, *x)[::-1], jax.random.key(0), *given
    )
    newer = "v1_1" in name or "flan" in name
    head = heads.create("causal_lm", tied=not newer, scaled=name.startswith("t5") and not newer)
    own = jax.eval_shape(head.init, jax.random.key(0), features)
    count = sum(leaf.size for leaf in jax.tree.leaves((drawn, own)))
    assert count == COUNTS[name]


@pytest.mark.parametrize("name", TINY)
def test_layers_cover_every_parameter_and_none_is_named_by_flax(name):
    body = make(name)
    paths = list(flatten(draw(body)["params"]))
    assert {path.split("/")[0] for path in paths} == set(body.layer_names)
    assert all(path == path.lower() for path in paths)
    assert bodies.build(bodies.describe(body)) == body
    tables = [path for path in paths if path.endswith("relative/embedding")]
    wanted = {"gpt": 0, "gpt2": 0, "t5-encoder": 1}.get(name, 2)
    assert len(tables) == wanted
    assert all("block_00" in path for path in tables)


@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_decoding_with_kept_keys_is_reading_the_whole(name):
    body = make(name)
    variables, given = draw(body), inputs(body)
    whole = jax.jit(body.apply)(variables, *given).sequence
    if name.startswith("t5"):
        start = jnp.zeros((ROWS, 1), jnp.int32)
        target = jnp.concatenate([start, given[2][:, 1:]], 1)
        whole = jax.jit(body.apply)(variables, *given[:2], target, given[3]).sequence
        features, cache = body.apply(variables, *given[:2], room=LENGTH - 1, method="begin")
        read, rest = 1, target
    else:
        read, rest = 3, given[0]
        features, cache = body.apply(
            variables, *(x[:, :read] for x in given), room=LENGTH - read, method="begin"
        )
    near(features.sequence, whole[:, :read])
    extend = jax.jit(lambda v, x, kept: body.apply(v, x, kept, method="extend"))
    for i in range(read, LENGTH):
        features, cache = extend(variables, rest[:, i : i + 1], cache)
        near(features.sequence, whole[:, i : i + 1])


@pytest.mark.parametrize("name", ["gpt", "t5-gated", "t5-shifted"])
def test_packed_and_padded_rows_give_what_single_rows_give(name):
    body = make(name, pooling="last")
    variables = draw(body)
    run = jax.jit(body.apply)
    long, short = (jax.random.randint(jax.random.key(n), (1, n), 3, 40) for n in (5, 3))
    twice = len(body.inputs) // 2

    def padded(tokens, number, before):
        widths = ((0, 0), (before, LENGTH - before - tokens.shape[1]))
        row = jnp.pad(tokens, widths, constant_values=7)
        return row, number * jnp.pad(jnp.ones_like(tokens), widths)

    alone = run(variables, *[long, jnp.ones_like(long)] * twice)
    right, left = (run(variables, *padded(long, 1, before) * twice) for before in (0, 3))
    for features, before in ((right, 0), (left, 3)):
        near(features.sequence[:, before : before + 5], alone.sequence)
        near(features.pooled, alone.pooled)
        assert np.isfinite(features.sequence).all()
    second = run(variables, *padded(short, 1, 0) * twice)
    first = jnp.arange(LENGTH)[None] < 5
    rows = zip(padded(long, 1, 0), padded(short, 2, 5), strict=True)
    packed = [jnp.where(first, one, other) for one, other in rows]
    found = run(variables, *packed * twice).sequence
    near(found, jnp.concatenate([alone.sequence, second.sequence[:, :3]], 1))


@pytest.mark.parametrize("name", ["gpt2", "t5-gated"])
def test_the_pooled_path_is_the_whole_path_with_the_same_elements_dropped(name):
    body = make(name, pooling="last", dropout=0.4)
    variables, given = draw(body), inputs(body)
    segments = jnp.array([[1] * 8, [1] * 5 + [0] * 3, [0] * 2 + [1] * 6])
    given = [segments if i % 2 else x for i, x in enumerate(given)]
    last = jnp.array([7, 4, 7])
    for train in (False, True):
        features = jax.jit(
            lambda v, *x, train=train: body.apply(
                v, *x, train=train, rngs={"dropout": jax.random.key(2)}
            )
        )(variables, *given)
        near(features.pooled, features.sequence[jnp.arange(ROWS), last])


@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_only_the_pooled_place_of_the_last_block_is_computed_where_only_it_is_read(name):
    body = make(name, pooling="last", width=64, feed_forward=256, depth=1)
    variables = jax.eval_shape(body.init, jax.random.key(0), *inputs(body))

    def flops(read):
        given = [jax.ShapeDtypeStruct((2, 16), jnp.int32) for _ in body.inputs]
        lowered = jax.jit(lambda v, *x: read(body.apply(v, *x))).lower(variables, *given)
        return lowered.compile().cost_analysis()["flops"]

    assert flops(lambda f: f.pooled) < 0.75 * flops(lambda f: f.sequence)


def test_recomputing_and_bfloat16():
    plain, remat, half = (
        make("t5", depth=1, decoder_depth=1, **field)
        for field in ({}, {"remat": True}, {"dtype": "bfloat16"})
    )
    variables, given = draw(plain), inputs(plain)

    def gradient(body):
        def loss(v):
            features = body.apply(v, *given, train=True, rngs={"dropout": jax.random.key(5)})
            return jnp.square(features.sequence).sum()

        return jax.jit(jax.grad(loss))(variables)

    pairs = zip(jax.tree.leaves(gradient(plain)), jax.tree.leaves(gradient(remat)), strict=True)
    for one, other in pairs:
        near(other, one, 1e-5)
    exact, rough = (jax.jit(b.apply)(variables, *given) for b in (plain, half))
    assert rough.sequence.dtype == jnp.bfloat16
    assert rough.pooled.dtype == jnp.float32
    assert 0 < np.abs(rough.pooled - exact.pooled).max() < 0.1 * np.abs(exact.pooled).max()


def test_a_frozen_layer_drops_nothing():
    body = make("gpt2", dropout=0.5, embedding_dropout=0.5)
    variables, given = draw(body), inputs(body)
    chosen = frozenset({"block_01"})
    run = jax.jit(lambda k: body.apply(variables, *given, train=chosen, rngs={"dropout": k}).layers)
    one, other = run(jax.random.key(1)), run(jax.random.key(2))
    np.testing.assert_array_equal(one["block_00"], other["block_00"])
    assert not np.array_equal(one["block_01"], other["block_01"])


def test_buckets_of_t5_by_hand():
    distances = np.array([-200, -128, -20, -8, -7, -1, 0, 1, 7, 8, 20, 200])
    np.testing.assert_array_equal(
        buckets_of(distances, 32, 128, bidirectional=True),
        [15, 15, 10, 8, 7, 1, 0, 17, 23, 24, 26, 31],
    )
    np.testing.assert_array_equal(
        buckets_of(distances, 32, 128, bidirectional=False),
        [31, 31, 17, 8, 7, 1, 0, 0, 0, 0, 0, 0],
    )


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("gpt2", {"heads": 3, "dropout": 1.0}, r"no multiple of heads=3.*dropout is a chance"),
        ("gpt2", {"pooling": "first"}, "pooling is one of 'last'"),
        ("t5", {"relative_buckets": 2, "head_size": 0}, r"head_size.*at least 4"),
        ("t5", {"relative_distance": 4}, "more than relative_buckets // 2 = 4"),
        ("t5-encoder", {"shifted": True}, "shifted needs one"),
        ("t5", {"start_token": 40}, "outside the vocabulary"),
    ],
)
def test_impossible_fields_are_refused_all_at_once(name, fields, message):
    with pytest.raises(ValueError, match=message):
        make(name, **fields)


def test_texts_beyond_the_position_table_are_refused():
    body = make("gpt2")
    long = jnp.ones((1, 21), jnp.int32)
    with pytest.raises(ValueError, match=r"21 tokens.*20 positions.*max_length=20"):
        jax.eval_shape(body.init, jax.random.key(0), long, long)


def test_an_encoder_alone_decodes_nothing():
    body = make("t5-encoder")
    variables, given = draw(body), inputs(body)
    with pytest.raises(ValueError, match="decoder_depth=0"):
        body.apply(variables, *given, room=1, method="begin")
