"""ULMFiT's classifier: its blocks, its statistics that follow the plan, and its schedule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies, heads
from tlearn.bodies.features import Features
from tlearn.model import Model, initialise
from tlearn.objectives import Classification
from tlearn.params import flatten
from tlearn.train.schedules import Constant, parse
from tlearn.train.state import SourceWeights, init
from tlearn.train.step import Recipe, make_step
from tlearn.transfer.optimizer import adamw
from tlearn.transfer.plan import plan, plans
from tlearn.transfer.strategy import Strategy

QUICK = {"xla_backend_optimization_level": 0}
BODY = {"family": "awd_lstm", "vocab_size": 20, "width": 6, "hidden": 8, "depth": 2}


def pooled(seed=0, rows=8, width=18):
    drawn = np.random.default_rng(seed).standard_normal((rows, width)) * 3 + 1
    return Features(pooled=jnp.asarray(drawn, jnp.float32))


def test_two_blocks_as_in_torch():
    torch = pytest.importorskip("torch")
    head = heads.create("ulmfit", classes=3, dropout=0.0, hidden_dropout=0.0)
    assert head.hidden == 50
    features = pooled()
    tree = head.init(jax.random.key(0), features)
    flat = flatten(tree["params"])
    peer = torch.nn.Sequential(
        torch.nn.BatchNorm1d(18),
        torch.nn.Linear(18, 50),
        torch.nn.ReLU(),
        torch.nn.BatchNorm1d(50),
        torch.nn.Linear(50, 3),
    )
    with torch.no_grad():
        for place, name in ((1, "hidden"), (4, "dense")):
            kernel, bias = (np.array(flat[f"{name}/{part}"]) for part in ("kernel", "bias"))
            peer[place].weight.copy_(torch.from_numpy(kernel.T.copy()))
            peer[place].bias.copy_(torch.from_numpy(bias))
    given = torch.from_numpy(np.array(features.pooled))
    trained, changed = head.apply(tree, features, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(trained, peer(given).detach(), rtol=1e-5, atol=1e-5)
    statistics = flatten(changed["batch_stats"])
    for place, name in ((0, "norm_1"), (3, "norm_2")):
        near = {"rtol": 1e-5, "atol": 1e-5}
        np.testing.assert_allclose(statistics[f"{name}/mean"], peer[place].running_mean, **near)
        np.testing.assert_allclose(statistics[f"{name}/var"], peer[place].running_var, **near)
    peer.eval()
    still = head.apply({**tree, **changed}, features)
    np.testing.assert_allclose(still, peer(given).detach(), rtol=1e-5, atol=1e-5)


def test_its_dropouts_act_in_training_alone():
    head = heads.create("ulmfit", classes=3)
    features = pooled()
    tree = head.init(jax.random.key(0), features)

    def run(train, key):
        rngs = {"dropout": jax.random.key(key)}
        return head.apply(tree, features, train=train, rngs=rngs, mutable=["batch_stats"])[0]

    np.testing.assert_array_equal(run(False, 1), run(False, 2))
    assert not np.allclose(run(True, 1), run(True, 2))


def test_statistics_of_a_frozen_head_stand_still_and_of_a_trained_one_move():
    model = Model(bodies.build(BODY), heads.create("ulmfit", classes=3))
    tokens = jax.random.randint(jax.random.key(0), (4, 5), 0, 20, jnp.int32)
    batch = {
        "tokens": tokens,
        "segments": jnp.ones_like(tokens),
        "label": jnp.array([0, 1, 2, 0]),
        "mask": jnp.ones(4),
        "index": jnp.arange(4),
    }
    params, statistics = initialise(model, jax.random.key(1), tokens, batch["segments"])
    # The state is donated nowhere here, but a step must not share what it starts from.
    optimizer = adamw(0.1, Constant(), b1=0.7, b2=0.99)
    moved = {}
    for name, freeze in (
        ("head trains", "body"),
        ("head frozen", (("head/.*", True), (".*", False))),
    ):
        rows = plan(params, Strategy(freeze=freeze), layers=model.body.layer_names)
        state = init(rows, params, statistics, optimizer, total=10, key=jax.random.key(2))
        step = make_step(model, rows, Classification(3), Recipe(optimizer=optimizer))
        after, _ = jax.jit(step, compiler_options=QUICK)(state, batch, SourceWeights())
        moved[name] = {
            kind: any(
                not np.array_equal(before[path], value)
                for path, value in now.items()
                if path.startswith(part)
            )
            for kind, part, before, now in (
                ("head statistics", "head/", statistics, after.collections),
                ("head", "head/", params, after.params),
                ("body", "body/", params, after.params),
            )
        }
    assert moved["head trains"] == {"head statistics": True, "head": True, "body": False}
    assert moved["head frozen"] == {"head statistics": False, "head": False, "body": True}


def test_slanted_triangle_and_discriminative_rates_have_the_published_values():
    shape = parse("slanted-triangular:cut=10%,ratio=32")
    peak = 0.01
    found = [peak * float(shape.multiplier(t, 100)) for t in (0, 5, 10, 55, 100)]
    np.testing.assert_allclose(found, [3.125e-4, 5.15625e-3, 1e-2, 5.15625e-3, 3.125e-4], rtol=1e-5)
    body = bodies.build(BODY | {"depth": 3})
    given = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    model = Model(body, heads.create("ulmfit", classes=2))
    tree = jax.eval_shape(model.init, jax.random.key(0), given, given)
    params = flatten(tree["params"])
    rows = plan(params, Strategy(layer_decay=1 / 2.6), layers=body.layer_names).rows
    rates = {row.layer: row.rate for row in rows}
    wanted = dict(
        zip(("head", *body.layer_names[::-1]), (1, 0.38462, 0.14793, 0.05690, 0.02188), strict=True)
    )
    assert rates == pytest.approx(wanted, rel=1e-3)


def test_gradual_unfreezing_frees_one_layer_more_an_epoch():
    body = bodies.build(BODY)
    model = Model(body, heads.create("ulmfit", classes=2))
    given = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    params = flatten(jax.eval_shape(model.init, jax.random.key(0), given, given)["params"])
    gradual = plans(params, Strategy(unfreeze="gradual"), layers=body.layer_names)
    layers = [sorted({row.layer for row in one.rows if row.trainable}) for one in gradual]
    assert layers[0] == ["head"]
    assert layers[1] == ["head", "lstm_1"]
    assert layers[-1] == ["embeddings", "head", "lstm_0", "lstm_1"]


def test_activations_are_handed_on_in_training_alone():
    body = bodies.build(BODY)
    model = Model(body, heads.create("causal_lm", use_bias=True, activations=True))
    tokens = jax.random.randint(jax.random.key(0), (2, 5), 0, 20, jnp.int32)
    tree = model.init(jax.random.key(1), tokens, jnp.ones_like(tokens))

    def run(train):
        rngs = {"dropout": jax.random.key(2)}
        given = tokens, jnp.ones_like(tokens)
        return model.apply(tree, *given, train=train, rngs=rngs, method="both")

    assert run(False)[1].shape == (2, 5, 20)
    features, found = run(True)
    np.testing.assert_array_equal(found["dropped"], features.sequence)
    np.testing.assert_array_equal(found["raw"], features.layers["lstm_1"])
    assert not np.allclose(found["raw"], found["dropped"])
    table = tree["params"]["body"]["embeddings"]["tokens"]["embedding"]
    logits = np.asarray(found["dropped"]) @ np.asarray(table).T
    np.testing.assert_allclose(found["logits"], logits, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="use_bias=True"):
        heads.create("causal_lm", activations=True)


def test_impossible_fields_are_refused():
    with pytest.raises(ValueError, match="hidden width of at least 1"):
        heads.create("ulmfit", classes=2, hidden=0)
    with pytest.raises(ValueError, match=r"dropout is a share in \[0, 1\), got 1.0"):
        heads.create("ulmfit", classes=2, hidden_dropout=1.0)
