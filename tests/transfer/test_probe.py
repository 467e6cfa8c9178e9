"""Heads on cached features: many in one program equal to each alone, compiled once."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tlearn.data.streams import permutation
from tlearn.heads.classifiers import MLP, Linear
from tlearn.train.schedules import parse
from tlearn.transfer import probe
from tlearn.transfer.optimizer import adamw, sgd
from tlearn.transfer.probe import train_heads

N, WIDTH, CLASSES, BATCH = 50, 6, 3, 16
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, CLASSES, N)
FEATURES = (RNG.normal(size=(N, WIDTH)) + 2 * np.eye(CLASSES, WIDTH)[LABELS]).astype(np.float32)
HEAD = Linear(CLASSES)
LINEAR = parse("linear:warmup=10%")
OPTIMIZERS = {
    "sgd": sgd(1.0, LINEAR, momentum=0.9),
    "adamw": adamw(1.0, LINEAR),
    "clipped": adamw(1.0, parse("constant"), clip=0.1),
}
GRID = {"rates": [0.1, 0.02], "decays": [0.0, 0.05], "seeds": [0, 3, 4]}


def fit(optimizer="adamw", head=HEAD, features=FEATURES, **options):
    optimizer = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer
    settings = {"updates": 30, "batch_size": BATCH, "optimizer": optimizer} | GRID
    return train_heads(head, features, LABELS, **settings | options)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_many_heads_in_one_program_equal_each_alone(optimizer):
    together = fit(optimizer)
    assert len(together) == 12
    for i in (0, 4, 11):
        grid = (together.rates[i], together.decays[i], together.seeds[i])
        assert grid == (GRID["rates"][i // 6], GRID["decays"][i // 3 % 2], GRID["seeds"][i % 3])
        alone = fit(optimizer, rates=grid[:1], decays=grid[1:2], seeds=[int(grid[2])])
        for path, value in together.run(i).items():
            np.testing.assert_allclose(alone.run(0)[path], value, atol=1e-6)
        np.testing.assert_allclose(alone.losses[0], together.losses[i], atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 2, 5, 8])
def test_chunks_change_nothing(chunk):
    whole, parts = fit(), fit(chunk=chunk)
    for path, value in whole.params.items():
        np.testing.assert_allclose(parts.params[path], value, atol=1e-6)
    assert parts.losses.shape == (12, 30)
    np.testing.assert_array_equal(whole.seeds, parts.seeds)


def test_equals_a_plain_loop_with_optax():
    rate, decay, seed, updates = 0.05, 0.1, 3, 30
    schedule = [rate * float(LINEAR.multiplier(u, updates)) for u in range(updates)]
    tx = optax.adamw(
        lambda count: jnp.asarray(schedule)[count],
        weight_decay=decay,
        mask={"kernel": True, "bias": False},
    )
    w = {"kernel": jnp.zeros((WIDTH, CLASSES)), "bias": jnp.zeros(CLASSES)}
    state = tx.init(w)

    @jax.jit
    def update(w, state, x, y, mask):
        def loss(w):
            logits = x @ w["kernel"] + w["bias"][None]
            each = optax.softmax_cross_entropy_with_integer_labels(logits, y)
            return jnp.sum(each * mask) / jnp.sum(mask)

        value, grads = jax.value_and_grad(loss)(w)
        updates, state = tx.update(grads, state, w)
        return optax.apply_updates(w, updates), state, value

    losses = []
    for u in range(updates):
        epoch, step = divmod(u, 4)
        rows = permutation(seed, "order", N, epoch)[step * BATCH : (step + 1) * BATCH]
        rows, mask = np.resize(rows, BATCH), np.arange(BATCH) < len(rows)
        w, state, value = update(w, state, FEATURES[rows], LABELS[rows], mask)
        losses.append(value)
    got = fit(rates=[rate], decays=[decay], seeds=[seed])
    for path in w:
        np.testing.assert_allclose(got.run(0)[f"head/dense/{path}"], w[path], atol=2e-6)
    np.testing.assert_allclose(got.losses[0], losses, atol=1e-6)


def test_other_numbers_compile_nothing():
    fit()
    compiled = probe._train._cache_size()
    other = fit(
        rates=[0.3, 0.4], decays=[0.2, 0.3], seeds=[7, 8, 9], optimizer=adamw(0.123, LINEAR)
    )
    assert probe._train._cache_size() == compiled
    assert not np.allclose(other.losses, fit().losses)


def test_every_example_comes_once_an_epoch_and_the_order_is_that_of_seed_and_epoch():
    rows, mask = probe._rows(None, 5, N, BATCH, 8)
    assert rows.shape == mask.shape == (8, BATCH)
    for epoch in range(2):
        visited = rows[4 * epoch : 4 * epoch + 4][mask[4 * epoch : 4 * epoch + 4] > 0]
        np.testing.assert_array_equal(visited, permutation(5, "order", N, epoch))
    small, mask = probe._rows(None, 5, 3, 8, 2)
    assert mask.sum() == 6
    assert (small < 3).all()
    reverse = fit(order=lambda seed, epoch, n: np.arange(n)[::-1], seeds=[0, 1])
    np.testing.assert_array_equal(
        reverse.run(0)["head/dense/bias"], reverse.run(1)["head/dense/bias"]
    )


def test_views_take_turns_by_epoch():
    views = np.stack([FEATURES, np.zeros_like(FEATURES)])
    one = fit(features=views, rates=[0.1], decays=[0.0], seeds=[0], updates=4)
    same = fit(rates=[0.1], decays=[0.0], seeds=[0], updates=4)
    np.testing.assert_allclose(one.losses[0, 0], same.losses[0, 0], atol=1e-6)
    np.testing.assert_allclose(one.losses, same.losses, atol=1e-6)
    two = fit(features=views, rates=[0.1], decays=[0.0], seeds=[0], updates=8)
    kernel = fit(features=views[::-1], rates=[0.1], decays=[0.0], seeds=[0], updates=4)
    assert (np.asarray(kernel.run(0)["head/dense/kernel"]) == 0).all(), "epoch 0 saw zeros only"
    assert not np.allclose(two.losses[0, 4:], same.losses[0])


def test_any_head_trains_and_scores():
    head = MLP(CLASSES, hidden=(8,), dropout=0.1)
    heads = fit(head=head, updates=60, optimizer=adamw(1.0, parse("cosine")))
    scores = heads.score(FEATURES, LABELS, rows=20)
    assert scores.count == N
    assert scores.accuracy.shape == (12,)
    assert scores.accuracy.max() > 0.85
    assert heads.losses[:, -1].mean() < heads.losses[:, 0].mean()
    first = [heads.run(i)["head/hidden_1/kernel"] for i in (0, 1)]
    assert not np.allclose(first[0], first[1]), "seeds draw their own start"
    by_hand = head.apply(
        {
            "params": {
                "dense": nest(heads.run(5), "dense"),
                "hidden_1": nest(heads.run(5), "hidden_1"),
            }
        },
        probe.Features(pooled=jnp.asarray(FEATURES)),
    )
    assert scores.right[5] == np.sum(np.argmax(by_hand, axis=1) == LABELS)
    want = optax.softmax_cross_entropy_with_integer_labels(by_hand, jnp.asarray(LABELS)).sum()
    assert scores.loss[5] == pytest.approx(float(want), rel=1e-5)


def nest(flat, layer):
    return {name: flat[f"head/{layer}/{name}"] for name in ("kernel", "bias")}


def test_initial_values_may_be_given():
    start = [
        {"head/dense/kernel": jnp.ones((WIDTH, CLASSES)), "head/dense/bias": jnp.zeros(CLASSES)}
    ]
    heads = fit(initial=start, rates=[1e-12], decays=[0.0], seeds=[0], updates=1)
    np.testing.assert_allclose(heads.run(0)["head/dense/kernel"], 1.0)


def test_a_stored_half_precision_is_trained_in_float32():
    heads = fit(features=jnp.asarray(FEATURES, jnp.bfloat16), seeds=[0])
    exact = fit(seeds=[0])
    assert heads.params["head/dense/kernel"].dtype == np.float32
    np.testing.assert_allclose(heads.losses, exact.losses, atol=0.05)


def test_misuse_is_named_all_at_once():
    with pytest.raises(ValueError, match="rates are") as caught:
        fit(rates=[0.0], decays=[-1.0], seeds=[], updates=0)
    for part in ("decays are", "seeds is empty", "updates (0)"):
        assert part in str(caught.value)
    with pytest.raises(ValueError, match="0 to 1"):
        fit(head=Linear(2))
    with pytest.raises(ValueError, match="one class number"):
        fit(features=FEATURES[:10])
