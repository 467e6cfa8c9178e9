"""Heads of texts: shapes, ties, what they read and what they cost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies, heads
from tlearn.bodies import Features
from tlearn.model import Model
from tlearn.params import flatten

WIDTH, VOCABULARY = 8, 20


def features(embedding=WIDTH, **changed):
    key = jax.random.split(jax.random.key(0), 3)
    return Features(
        pooled=jax.random.normal(key[0], (2, WIDTH)),
        sequence=jax.random.normal(key[1], (2, 5, WIDTH)),
        mask=jnp.ones((2, 5), bool),
        table=jax.random.normal(key[2], (VOCABULARY, embedding)),
    ).replace(**changed)


def made(name, given, **fields):
    head = heads.create(name, **fields)
    return head, head.init(jax.random.key(1), given)


@pytest.mark.parametrize(
    ("name", "fields", "shape"),
    [
        ("tagging", {"classes": 3}, (2, 5, 3)),
        ("span", {}, (2, 5, 2)),
        ("masked_lm", {}, (2, 5, VOCABULARY)),
        ("masked_lm", {"tied": False}, (2, 5, VOCABULARY)),
        ("replaced_token", {}, (2, 5)),
    ],
)
def test_shapes(name, fields, shape):
    given = features()
    head, variables = made(name, given, **fields)
    assert head.apply(variables, given).shape == shape
    assert heads.build(heads.describe(head)) == head


def test_pretraining_answers_two_questions():
    given = features(embedding=4)
    head, variables = made("pretraining", given, dropout=0.5)
    out = head.apply(variables, given)
    assert out["masked_lm"].shape == (2, 5, VOCABULARY)
    assert out["next_sentence"].shape == (2, 2)
    paths = flatten(variables["params"])
    assert paths["masked_lm/transform/dense/kernel"].shape == (WIDTH, 4)
    assert {path.split("/")[0] for path in paths} == {"masked_lm", "next_sentence"}


def test_a_tied_head_is_the_table_and_trains_it():
    given = features()
    head, variables = made("masked_lm", given)
    assert not [path for path in flatten(variables["params"]) if "decoder" in path]

    def score(table):
        return head.apply(variables, given.replace(table=table))[0, 0, 3]

    gradient = jax.grad(score)(given.table)
    assert np.abs(gradient[3]).max() > 0
    assert np.abs(np.delete(gradient, 3, axis=0)).max() == 0
    untied, own = made("masked_lm", given, tied=False)
    same = untied.apply(own, given)
    np.testing.assert_array_equal(same, untied.apply(own, given.replace(table=2 * given.table)))


def test_masked_lm_is_its_equation():
    given = features(embedding=4)
    head, variables = made("masked_lm", given, activation="relu", norm_epsilon=1e-3)
    p = flatten(variables["params"])
    x = given.sequence @ p["transform/dense/kernel"]
    x = jnp.maximum(x, 0)
    x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-3)
    np.testing.assert_allclose(head.apply(variables, given), x @ given.table.T, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "missing", "fields"),
    [
        ("tagging", "sequence", {"classes": 2}),
        ("span", "sequence", {}),
        ("replaced_token", "sequence", {}),
        ("masked_lm", "table", {}),
        ("pretraining", "pooled", {}),
    ],
)
def test_what_a_body_does_not_offer_is_named(name, missing, fields):
    with pytest.raises(ValueError, match=f"features.{missing}"):
        made(name, features(**{missing: None}), **fields)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("tagging", {"classes": 0, "dropout": 1.0}, "classes must be at least 1.*dropout"),
        ("masked_lm", {"activation": "gelu_nwe"}, "did you mean 'gelu_new'"),
        ("masked_lm", {"norm_epsilon": 0.0}, "norm_epsilon must be positive"),
        ("mlp", {"classes": 2, "activation": "gelo"}, "did you mean 'gelu'"),
    ],
)
def test_impossible_fields_are_refused(name, fields, message):
    with pytest.raises(ValueError, match=message):
        heads.create(name, **fields)


def test_mlps_activation_and_its_dropout_before_the_first_layer():
    given = features()
    head, variables = made(
        "mlp", given, classes=2, hidden=(6,), activation="tanh", kernel_init="scaled"
    )
    p = flatten(variables["params"])
    want = jnp.tanh(given.pooled @ p["hidden_1/kernel"]) @ p["dense/kernel"]
    np.testing.assert_allclose(head.apply(variables, given), want, atol=1e-5)

    def spread(drop_input):
        dropping = head.clone(dropout=0.5, drop_input=drop_input)
        ones = given.replace(pooled=jnp.zeros((400, WIDTH)).at[:, 0].set(1.0))
        out = dropping.apply(variables, ones, train=True, rngs={"dropout": jax.random.key(0)})
        # Where the only input that is not zero is dropped, so is the whole output.
        return float((jnp.abs(out).max(-1) == 0).mean())

    assert spread(True) > 0.4
    assert spread(False) < 0.1


def test_heads_that_read_the_pooled_vector_do_not_pay_for_the_whole_last_layer():
    body = bodies.create(
        "bert", vocab_size=40, width=16, depth=1, heads=2, feed_forward=64, positions=32
    )
    rows = [jnp.ones((4, 32), jnp.int32)] * 3

    def cost(head):
        model = Model(body=body, head=head)
        variables = jax.eval_shape(model.init, jax.random.key(0), *rows)
        compiled = jax.jit(lambda v: model.apply(v, *rows)).lower(variables).compile()
        return compiled.cost_analysis()["flops"]

    pooled, whole = (cost(heads.create(n, classes=2)) for n in ("linear", "tagging"))
    # Of the block, only keys and values are needed everywhere: 2 of 3 + 1 + 8 products of d * d.
    assert pooled < 0.4 * whole
