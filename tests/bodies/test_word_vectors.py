"""Word vectors as a body: pooling, the BiLSTM beside torch's, rows that hold several examples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies
from tlearn.params import flatten

TOKENS = jnp.array([[3, 1, 4, 1, 5], [9, 2, 6, 0, 0], [0, 0, 5, 3, 5], [0, 0, 0, 0, 0]])
SEGMENTS = jnp.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [0, 0, 0, 0, 0]])


def make(**changes):
    return bodies.create("word_vectors", **{"vocab_size": 12, "width": 6} | changes)


def draw(body, seed=0):
    return drawn(body, seed)


@functools.cache
def drawn(body, seed):
    return body.init(jax.random.key(seed), TOKENS, SEGMENTS)


def run(body, variables, tokens=TOKENS, segments=SEGMENTS, train=False, key=1):
    return compiled(body, train)(variables, tokens, segments, jax.random.key(key))


@functools.cache
def compiled(body, train):
    def apply(variables, tokens, segments, key):
        return body.apply(variables, tokens, segments, train=train, rngs={"dropout": key})

    return jax.jit(apply, compiler_options={"xla_backend_optimization_level": 0})


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pooling_is_over_real_words_only(pooling):
    body = make(pooling=pooling)
    variables = draw(body)
    table = np.asarray(variables["params"]["embeddings"]["tokens"]["embedding"])
    features = run(body, variables)
    for row, tokens in enumerate(([3, 1, 4, 1, 5], [9, 2, 6], [5, 3, 5])):
        wanted = getattr(table[tokens], pooling)(0)
        np.testing.assert_allclose(features.pooled[row], wanted, atol=1e-6)
    np.testing.assert_array_equal(features.pooled[3], 0)
    np.testing.assert_array_equal(features.mask, SEGMENTS > 0)
    np.testing.assert_array_equal(features.table, table)


@pytest.mark.parametrize("lstm_width", [0, 5])
def test_layers_and_widths_are_as_declared(lstm_width):
    body = make(lstm_width=lstm_width)
    variables = draw(body)
    features = run(body, variables)
    assert features.pooled.shape == (4, body.feature_width)
    assert tuple(sorted(features.layers)) == tuple(sorted(body.layer_names))
    paths = flatten(variables["params"])
    assert {path.split("/")[0] for path in paths} == set(body.layer_names)
    assert bodies.build(bodies.describe(body)) == body


def test_several_examples_in_a_row_and_padding_on_either_side_change_nothing():
    body = make(lstm_width=5)
    variables = draw(body)
    alone = run(body, variables).sequence
    packed_tokens = jnp.array([[3, 1, 4, 1, 5, 9, 2, 6, 0, 5, 3, 5]])
    packed_segments = jnp.array([[1, 1, 1, 1, 1, 2, 2, 2, 0, 3, 3, 3]])
    packed = run(body, variables, packed_tokens, packed_segments).sequence[0]
    np.testing.assert_allclose(packed[:5], alone[0], atol=1e-6)
    np.testing.assert_allclose(packed[5:8], alone[1, :3], atol=1e-6)
    np.testing.assert_allclose(packed[9:], alone[2, 2:], atol=1e-6)
    np.testing.assert_array_equal(packed[8], 0)
    shifted = run(body, variables, jnp.roll(TOKENS[1:2], 2), jnp.roll(SEGMENTS[1:2], 2)).sequence
    np.testing.assert_allclose(shifted[0, 2:], alone[1, :3], atol=1e-6)


def test_dropout_acts_only_where_a_layer_trains():
    body = make(lstm_width=5, dropout=0.5)
    variables = draw(body)
    still = run(body, variables)
    top = run(body, variables, train=frozenset({"bilstm"}))
    np.testing.assert_array_equal(top.layers["embeddings"], still.layers["embeddings"])
    assert not np.array_equal(top.layers["bilstm"], still.layers["bilstm"])
    both = run(body, variables, train=True)
    assert not np.array_equal(both.layers["embeddings"], still.layers["embeddings"])


def test_padding_gets_no_gradient_and_forget_gates_start_open():
    body = make(lstm_width=5)
    variables = draw(body)

    def loss(params):
        return jnp.square(body.apply({"params": params}, TOKENS[1:], SEGMENTS[1:]).pooled).sum()

    grads = flatten(jax.jit(jax.grad(loss))(variables["params"]))
    np.testing.assert_array_equal(grads["embeddings/tokens/embedding"][0], 0)
    assert np.abs(grads["embeddings/tokens/embedding"][5]).max() > 0
    bias = flatten(variables["params"])["bilstm/forward/recurrent/bias"]
    np.testing.assert_array_equal(bias, [0] * 5 + [1] * 5 + [0] * 10)


@pytest.mark.torch
def test_the_bilstm_and_its_gradients_are_torchs():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    peer = torch.nn.LSTM(6, 5, batch_first=True, bidirectional=True).double()
    table = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)
    params = {"embeddings": {"tokens": {"embedding": table}}, "bilstm": {}}
    for name, end in (("forward", ""), ("backward", "_reverse")):
        found = {k: v.detach().numpy().astype(np.float32) for k, v in peer.named_parameters()}
        params["bilstm"][name] = {
            "input": {"kernel": found[f"weight_ih_l0{end}"].T},
            "recurrent": {
                "kernel": found[f"weight_hh_l0{end}"].T,
                "bias": found[f"bias_ih_l0{end}"] + found[f"bias_hh_l0{end}"],
            },
        }
    tokens, lengths = np.asarray(TOKENS[:2]), [5, 3]
    body = make(lstm_width=5)
    given = run(body, {"params": params}, TOKENS[:2], SEGMENTS[:2]).sequence
    x = torch.tensor(table[tokens], dtype=torch.float64)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
    wanted, _ = torch.nn.utils.rnn.pad_packed_sequence(peer(packed)[0], batch_first=True)
    np.testing.assert_allclose(given, wanted.detach().numpy(), rtol=1e-5, atol=1e-6)
    torch.square(wanted).sum().backward()

    def loss(params):
        features = body.apply({"params": params}, TOKENS[:2], SEGMENTS[:2])
        return jnp.square(features.sequence).sum()

    grads = flatten(jax.jit(jax.grad(loss))(params))
    for path, name in (
        ("bilstm/forward/input/kernel", "weight_ih_l0"),
        ("bilstm/backward/recurrent/kernel", "weight_hh_l0_reverse"),
    ):
        expected = dict(peer.named_parameters())[name].grad.numpy().T
        np.testing.assert_allclose(grads[path], expected, rtol=1e-5, atol=1e-5)


def test_rematerialising_changes_no_gradient():
    variables = draw(make(lstm_width=5))

    def gradients(body):
        def loss(params):
            rngs = {"dropout": jax.random.key(0)}
            features = body.apply({"params": params}, TOKENS, SEGMENTS, train=True, rngs=rngs)
            return jnp.square(features.pooled).sum()

        return jax.tree.leaves(jax.jit(jax.grad(loss))(variables["params"]))

    bodies_ = (make(lstm_width=5, dropout=0.3, remat=remat) for remat in (False, True))
    for a, b in zip(*map(gradients, bodies_), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_impossible_fields_are_refused_all_at_once():
    with pytest.raises(ValueError, match=r"pooling is one of.*vocab_size=0.*dropout is a share"):
        make(vocab_size=0, pooling="last", dropout=1.0)
