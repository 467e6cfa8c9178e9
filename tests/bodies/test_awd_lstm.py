"""AWD-LSTM: sizes as published, its five dropouts, carried state, pooling, decoding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies, heads
from tlearn.model import Model, initialise, variables
from tlearn.params import flatten

ROWS, LENGTH, WORDS = 4, 10, 30
# Everything here runs a few times only.
QUICK = {"xla_backend_optimization_level": 0}
NONE = dict.fromkeys(
    ("output_dropout", "hidden_dropout", "input_dropout", "embedding_dropout", "weight_dropout"),
    0.0,
)
TINY = {"family": "awd_lstm", "vocab_size": WORDS, "width": 6, "hidden": 8, "depth": 2, **NONE}


def make(**changes):
    return bodies.build(TINY | changes)


def texts(seed=0, rows=ROWS, length=LENGTH):
    tokens = jax.random.randint(jax.random.key(seed), (rows, length), 0, WORDS, jnp.int32)
    return tokens, jnp.ones_like(tokens)


def draw(body, seed=1):
    drawn = jax.jit(body.init, compiler_options=QUICK)(jax.random.key(seed), *texts(length=2))
    return jax.tree.map(jnp.asarray, drawn)


@functools.cache
def compiled(body, train):
    return jax.jit(
        lambda v, t, s, c, k: body.apply(v, t, s, train=train, carry=c, rngs={"dropout": k}),
        compiler_options=QUICK,
    )


def run(body, variables, tokens, segments, train=False, key=5, carry=None):
    return compiled(body, train)(variables, tokens, segments, carry, jax.random.key(key))


def near(found, wanted, tolerance=2e-6):
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


def test_the_published_network():
    body = bodies.create("awd-lstm")
    rates = (0.4, 0.3, 0.4, 0.05, 0.5)
    assert tuple(getattr(body, name) for name in NONE) == rates
    assert (body.width, body.hidden, body.depth, body.bptt) == (400, 1150, 3, 70)
    given = jax.ShapeDtypeStruct((1, 4), jnp.int32)
    drawn = flatten(jax.eval_shape(body.init, jax.random.key(0), given, given)["params"])
    # By hand: 4u (in + u + 1) for each, with one bias where torch has two that act as their sum.
    wanted = 60002 * 400 + 4600 * (400 + 1150 + 1) + 4600 * (1150 + 1150 + 1)
    wanted += 1600 * (1150 + 400 + 1)
    assert sum(leaf.size for leaf in drawn.values()) == wanted
    assert {path.split("/")[0] for path in drawn} == set(body.layer_names)
    assert body.layer_names == ("embeddings", "lstm_0", "lstm_1", "lstm_2")
    assert bodies.build(bodies.describe(body)) == body
    assert all(path == path.lower() for path in drawn)


def test_the_stack_is_that_of_torch_and_a_tied_head_scores_by_its_table():
    torch = pytest.importorskip("torch")
    body = make()
    model = Model(body, heads.create("causal_lm", use_bias=True))
    tokens, segments = texts()
    params, _ = initialise(model, jax.random.key(2), tokens, segments)
    params["head/bias"] = jnp.linspace(-1.0, 1.0, WORDS)
    weights = {path: torch.from_numpy(np.array(value)) for path, value in params.items()}
    table = weights["body/embeddings/tokens/embedding"]
    x = table[torch.from_numpy(np.array(tokens)).long()]
    for i, units in enumerate((8, 6)):
        layer = torch.nn.LSTM(x.shape[-1], units, batch_first=True)
        with torch.no_grad():
            layer.weight_ih_l0.copy_(weights[f"body/lstm_{i}/input/kernel"].T)
            layer.weight_hh_l0.copy_(weights[f"body/lstm_{i}/recurrent/kernel"].T)
            layer.bias_ih_l0.copy_(weights[f"body/lstm_{i}/input/bias"])
            layer.bias_hh_l0.zero_()
            x, _ = layer(x)
    logits = x @ table.T + weights["head/bias"]
    near(model.apply(variables(params, {}), tokens, segments), logits, 1e-5)


def test_padding_on_either_side_changes_nothing():
    body = make(bptt=3)
    params = draw(body)
    tokens, segments = texts(length=5)
    alone = run(body, params, tokens, segments)
    for before in (0, 3, 5):
        widths = ((0, 0), (before, 5 - before))
        padded = run(
            body, params, jnp.pad(tokens, widths, constant_values=7), jnp.pad(segments, widths)
        )
        near(padded.sequence[:, before : before + 5], alone.sequence)
        near(padded.pooled, alone.pooled)
        jax.tree.map(near, padded.carry, alone.carry)


def test_packed_examples_do_not_see_each_other_and_a_carry_reaches_the_first_alone():
    body = make()
    params = draw(body)
    tokens, segments = texts()
    packed = segments.at[:, 4:].set(2)
    together = run(body, params, tokens, packed)
    second = run(body, params, tokens[:, 4:], segments[:, 4:])
    near(together.sequence[:, 4:], second.sequence)
    carry = jax.tree.map(jnp.ones_like, body.initial_carry(ROWS))
    carried = run(body, params, tokens, packed, carry=carry)
    assert np.abs(carried.sequence[:, :4] - together.sequence[:, :4]).max() > 1e-3
    near(carried.sequence[:, 4:], together.sequence[:, 4:])


def test_reading_on_is_reading_the_whole():
    body = make()
    params = draw(body)
    tokens, segments = texts()
    whole = run(body, params, tokens, segments)
    first = run(body, params, tokens[:, :6], segments[:, :6])
    second = run(body, params, tokens[:, 6:], segments[:, 6:], carry=first.carry)
    near(jnp.concatenate([first.sequence, second.sequence], 1), whole.sequence)
    jax.tree.map(near, second.carry, whole.carry)
    # The same by the two methods of decoding, the beginnings padded on the left.
    widths = ((0, 0), (2, 0))
    features, cache = body.apply(
        params,
        jnp.pad(tokens[:, :6], widths),
        jnp.pad(segments[:, :6], widths),
        room=4,
        method="begin",
    )
    near(features.sequence[:, 2:], whole.sequence[:, :6])
    for i in range(6, LENGTH):
        features, cache = body.apply(params, tokens[:, i : i + 1], cache, method="extend")
        near(features.sequence, whole.sequence[:, i : i + 1])


def test_pooling_reads_the_real_tokens():
    segments = jnp.array([[0, 0, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])
    tokens, _ = texts(length=5)
    params = draw(make())
    found = {
        how: run(make(pooling=how), params, tokens, segments)
        for how in ("concat", "last", "max", "mean", "none")
    }
    rows = [
        np.asarray(x)[np.asarray(s) > 0]
        for x, s in zip(found["last"].sequence, segments, strict=True)
    ]
    last, high, mean = (
        np.stack([f(x) for x in rows])
        for f in (lambda x: x[-1], lambda x: x.max(0), lambda x: x.mean(0))
    )
    near(found["last"].pooled, last)
    near(found["max"].pooled, high)
    near(found["mean"].pooled, mean)
    near(found["concat"].pooled, np.concatenate([last, high, mean], 1))
    assert found["none"].pooled is None
    assert make().feature_width == 18


def test_the_gradient_is_cut_and_yet_all_states_are_pooled():
    body = make(bptt=4, pooling="mean", depth=1)
    params, (tokens, segments) = draw(body), texts(length=8)

    def reach(read):
        """Which tokens' embeddings get a gradient from what is read, for rows of unlike tokens."""
        tokens = jnp.arange(8)[None]

        def value(params):
            return read(body.apply(params, tokens, jnp.ones_like(tokens)))

        table = jax.grad(value)(params)["params"]["embeddings"]["tokens"]["embedding"]
        return (np.abs(table[:8]).sum(1) > 0).tolist()

    assert reach(lambda f: f.sequence[:, -1].sum()) == [False] * 4 + [True] * 4
    assert reach(lambda f: f.pooled.sum()) == [True] * 8
    whole = make(bptt=0, pooling="mean", depth=1)
    near(run(body, params, tokens, segments).pooled, run(whole, params, tokens, segments).pooled)


def shares(mask):
    return float((np.asarray(mask) == 0).mean())


def test_variational_dropout_has_one_mask_for_all_tokens_and_keeps_the_mean():
    body = make(width=64, input_dropout=0.4)
    params = draw(body)
    tokens, segments = texts(rows=16)
    plain = run(body, params, tokens, segments).layers["embeddings"]
    one, again, other = (
        run(body, params, tokens, segments, True, key).layers["embeddings"] for key in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    ratio = np.asarray(one) / np.asarray(plain)
    # The same elements of every token of a row, scaled up; other ones in other rows.
    near(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), 1e-5)
    assert not np.array_equal(ratio[0, 0], ratio[1, 0])
    np.testing.assert_allclose(np.unique(ratio.round(4)), [0, round(1 / 0.6, 4)], atol=1e-4)
    # 16 rows of 64 elements: a share of 0.4 with a standard error of 0.015.
    assert abs(shares(ratio[:, 0]) - 0.4) < 0.06


@pytest.mark.parametrize(("field", "layer"), [("hidden_dropout", 0), ("output_dropout", 1)])
def test_dropout_of_an_output_acts_behind_the_layer_that_is_pooled(field, layer):
    body = make(width=48, hidden=64, **{field: 0.3})
    params = draw(body)
    tokens, segments = texts(rows=8)
    plain = run(body, params, tokens, segments)
    found = run(body, params, tokens, segments, True)
    near(found.layers[f"lstm_{layer}"], plain.layers[f"lstm_{layer}"])
    if layer == 0:
        assert not np.allclose(found.sequence, plain.sequence)
        return
    near(found.pooled, plain.pooled)
    ratio = np.asarray(found.sequence) / np.asarray(plain.sequence)
    near(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), 1e-4)
    assert abs(shares(ratio[:, 0].round(4)) - 0.3) < 0.09


def test_embedding_dropout_drops_whole_words_wherever_they_stand():
    body = make(vocab_size=400, embedding_dropout=0.25)
    params = draw(body)
    tokens = jnp.stack([jnp.arange(400), jnp.arange(400)[::-1]])
    segments = jnp.ones_like(tokens)
    plain = run(body, params, tokens, segments).layers["embeddings"]
    found = run(body, params, tokens, segments, True)
    ratio = np.asarray(found.layers["embeddings"]) / np.asarray(plain)
    np.testing.assert_array_equal(ratio[0], ratio[1][::-1])
    near(ratio, np.broadcast_to(ratio[..., :1], ratio.shape), 1e-5)
    np.testing.assert_allclose(np.unique(ratio.round(4)), [0, round(1 / 0.75, 4)], atol=1e-4)
    # 400 words: a share of 0.25 with a standard error of 0.022.
    assert abs(shares(ratio[0, :, 0]) - 0.25) < 0.09
    # A tied head scores every word, dropped or not.
    np.testing.assert_array_equal(
        found.table, params["params"]["embeddings"]["tokens"]["embedding"]
    )


def test_recurrent_weights_are_dropped_from_once_for_the_whole_sequence():
    """The states of every token are those of an undropped LSTM with one thinned matrix."""
    body = make(depth=1, weight_dropout=0.5)
    params = draw(body)
    tokens, segments = texts()
    found = run(body, params, tokens, segments, True)
    recurrent = np.asarray(params["params"]["lstm_0"]["recurrent"]["kernel"])

    def gradient(kernel):
        tree = {"params": jax.tree.map(jnp.asarray, params["params"])}
        tree["params"]["lstm_0"]["recurrent"]["kernel"] = kernel
        x = body.apply(tree, tokens, segments, train=True, rngs={"dropout": jax.random.key(5)})
        return x.sequence.sum()

    # What was dropped gets no gradient from any token; the mask is read off it.
    mask = np.asarray(jax.grad(gradient)(jnp.asarray(recurrent))) != 0
    assert abs(1 - mask.mean() - 0.5) < 0.17  # 144 weights: a standard error of 0.042.
    thinned = {"params": {**params["params"]}}
    layer = thinned["params"]["lstm_0"]
    thinned["params"]["lstm_0"] = {
        **layer,
        "recurrent": {"kernel": jnp.asarray(mask * recurrent * 2)},
    }
    near(found.sequence, run(body, thinned, tokens, segments).sequence, 1e-5)
    other = run(body, params, tokens, segments, True, key=6)
    assert not np.allclose(other.sequence, found.sequence)


def test_one_number_scales_all_dropouts():
    rates = dict(zip(NONE, (0.4, 0.3, 0.4, 0.05, 0.5), strict=True))
    halved = make(dropout_scale=0.5, **rates)
    spelt = make(**{name: rate / 2 for name, rate in rates.items()})
    params, (tokens, segments) = draw(halved), texts()
    near(
        run(halved, params, tokens, segments, True).sequence,
        run(spelt, params, tokens, segments, True).sequence,
    )
    off = run(make(dropout_scale=0.0, **rates), params, tokens, segments, True)
    near(off.sequence, run(halved, params, tokens, segments).sequence)
    with pytest.raises(ValueError, match=r"weight_dropout times dropout_scale .* 0.5 times 2"):
        make(dropout_scale=2.0, **rates)


def test_evaluation_is_deterministic_and_a_frozen_layer_drops_nothing():
    rates = dict(zip(NONE, (0.4, 0.3, 0.4, 0.2, 0.5), strict=True))
    body = make(**rates)
    params, (tokens, segments) = draw(body), texts()
    still = [run(body, params, tokens, segments, False, key) for key in (1, 2)]
    np.testing.assert_array_equal(still[0].sequence, still[1].sequence)
    top = [run(body, params, tokens, segments, frozenset({"lstm_1"}), key) for key in (1, 2)]
    np.testing.assert_array_equal(top[0].layers["lstm_0"], still[0].layers["lstm_0"])
    assert not np.array_equal(top[0].layers["lstm_1"], top[1].layers["lstm_1"])
    np.testing.assert_array_equal(top[0].layers["embeddings"], still[0].layers["embeddings"])
    bottom = run(body, params, tokens, segments, frozenset({"embeddings"}), 1)
    assert not np.array_equal(bottom.layers["embeddings"], still[0].layers["embeddings"])


def test_recomputing_changes_no_output_and_no_gradient():
    rates = dict(zip(NONE, (0.4, 0.3, 0.4, 0.2, 0.5), strict=True))
    plain, remat = make(**rates), make(remat=True, **rates)
    params, (tokens, segments) = draw(plain), texts()

    def value(body):
        def loss(params):
            key = {"dropout": jax.random.key(3)}
            return jnp.square(
                body.apply(params, tokens, segments, train=True, rngs=key).sequence
            ).sum()

        return jax.jit(jax.value_and_grad(loss), compiler_options=QUICK)(params)

    jax.tree.map(lambda a, b: near(a, b, 1e-5), value(remat), value(plain))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 0, "weight_dropout": 1.0}, "depth must be at least 1.*weight_dropout times"),
        ({"pooling": "first", "bptt": -1}, "pooling is one of 'concat'.*bptt must be at least 0"),
    ],
)
def test_impossible_fields_are_refused_all_at_once(fields, message):
    with pytest.raises(ValueError, match=message):
        make(**fields)
