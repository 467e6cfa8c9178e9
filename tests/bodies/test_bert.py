"""BERT's body: padding, packing, pooling, dropout, pruning, and what a step of it costs.

Costs are products counted from shapes: of the last block only keys and values are computed for all
places where a head reads one (with `BLOCK` below, 18 % of that block, so that a body of depth n
costs (n - 0.82)/n of the whole). The compiled programs are within 10 % of that count.

Breaks tried: positions counted from the row's start; the mask without the example's number; a key
drawn anew for the pooled path; the whole last block read by the pooled path; freezing by a rate
of 0.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
from tlearn import bodies, heads
from tlearn.bodies.embeddings import first_place, last_place, places
from tlearn.model import Model, shapes
from tlearn.objectives import Classification
from tlearn.params import flatten
from tlearn.train.schedules import Constant
from tlearn.train.state import SourceWeights, init
from tlearn.train.step import Recipe, make_step
from tlearn.transfer.optimizer import adamw
from tlearn.transfer.plan import plan
from tlearn.transfer.strategy import Strategy

TINY = {
    "vocab_size": 50,
    "width": 16,
    "depth": 2,
    "heads": 2,
    "feed_forward": 32,
    "positions": 24,
    "init_std": 0.3,
}
KINDS = {
    "bert": {},
    "distilbert": {"types": 0, "pooling": "first"},
    "roberta": {"types": 1, "position_offset": 2, "norm_epsilon": 1e-5, "pooling": "first"},
    "electra": {"embedding_width": 8, "pooling": "first"},
}


def make(kind="bert", **changes):
    return bodies.build({"family": "bert", **TINY, **KINDS[kind], **changes})


def rows(lengths, width, seed=0):
    """Examples of random tokens, and the same padded on the right."""
    rng = np.random.default_rng(seed)
    examples = [rng.integers(1, 50, n) for n in lengths]
    tokens = np.stack([np.pad(x, (0, width - len(x))) for x in examples])
    segments = np.stack([np.pad(np.ones(n, int), (0, width - n)) for n in lengths])
    return examples, (jnp.asarray(tokens), jnp.asarray(segments), jnp.zeros_like(tokens))


def draw(body, seed=0):
    inputs = [jnp.zeros((1, 4), jnp.int32)] * 3
    return jax.jit(body.init, compiler_options=tiny.QUICK)(jax.random.key(seed), *inputs)


def run(body, variables, inputs, train=False, seed=1):
    f = lambda v, key, *x: body.apply(v, *x, train=train, rngs={"dropout": key})  # noqa: E731
    run = jax.jit(f, compiler_options=tiny.QUICK)
    return run(variables, jax.random.key(seed), *inputs)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_packed_and_padded_examples_are_those_alone(kind):
    body = make(kind)
    variables = draw(body)
    lengths = (5, 3, 5)
    examples, padded = rows(lengths, 8)
    found = run(body, variables, padded)
    packed = np.concatenate(examples)[None]
    segments = np.repeat([1, 2, 3], lengths)[None]
    pad = ((0, 0), (0, 3))
    packed, segments = (jnp.asarray(np.pad(x, pad)) for x in (packed, segments))
    together = run(body, variables, (packed, segments, jnp.zeros_like(packed)))
    moved = [[np.roll(r, 8 - n) for r, n in zip(x, lengths, strict=True)] for x in padded]
    moved = [jnp.asarray(np.stack(x)) for x in moved]
    left = run(body, variables, moved)
    start = 0
    for i, n in enumerate(lengths):
        alone = run(body, variables, single(examples[i]))
        for name in ("embeddings", "block_00", "block_01"):
            want = alone.layers[name][0]
            for got in (
                found.layers[name][i, :n],
                left.layers[name][i, 8 - n :],
                together.layers[name][0, start : start + n],
            ):
                np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found.pooled[i], alone.pooled[0], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(left.pooled[i], alone.pooled[0], rtol=1e-5, atol=1e-5)
        start += n
    np.testing.assert_allclose(together.pooled[0], found.pooled[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found.mask, padded[1] > 0)


def single(tokens):
    tokens = jnp.asarray(tokens)[None]
    return tokens, jnp.ones_like(tokens), jnp.zeros_like(tokens)


def test_places_restart_with_every_example():
    segments = jnp.array([[1, 1, 2, 2, 2, 0], [0, 0, 1, 1, 3, 3], [0, 0, 0, 0, 0, 0]])
    assert places(segments)[:2].tolist() == [[0, 1, 0, 1, 2, 0], [0, 1, 0, 1, 0, 1]]
    assert first_place(segments).tolist() == [0, 2, 0]
    assert last_place(segments).tolist() == [4, 5, 5]


def test_position_offset_and_types_choose_their_rows():
    """RoBERTa's first token has the position after the padding token's."""
    body = make("roberta", positions=12)
    variables = draw(body)
    tokens = jnp.array([[5, 6, 7]])
    inputs = (tokens, jnp.ones_like(tokens), jnp.zeros_like(tokens))
    before = run(body, variables, inputs).sequence
    table = variables["params"]["embeddings"]["positions"]["embedding"]
    for row in range(12):
        changed = jax.tree.map(lambda x: x, variables)
        changed["params"]["embeddings"]["positions"]["embedding"] = table.at[row].add(1.0)
        same = np.array_equal(run(body, changed, inputs).sequence, before)
        assert same == (row not in (2, 3, 4)), row


@pytest.mark.parametrize("pooling", ["pooler", "first", "last", "mean", "max", "none"])
def test_pooled_is_what_its_name_says(pooling):
    body = make(pooling=pooling)
    variables = draw(body)
    lengths = (5, 3, 8)
    _, inputs = rows(lengths, 8)
    found = run(body, variables, inputs)
    if pooling == "none":
        assert found.pooled is None
        return
    real = [np.asarray(found.sequence[i, :n]) for i, n in enumerate(lengths)]
    how = {"last": lambda x: x[-1], "mean": lambda x: x.mean(0), "max": lambda x: x.max(0)}
    want = np.stack([how.get(pooling, lambda x: x[0])(x) for x in real])
    if pooling == "pooler":
        dense = variables["params"]["pooler"]["dense"]
        want = np.tanh(want @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"]))
        np.testing.assert_array_equal(found.pooled, found.layers["pooler"])
    np.testing.assert_allclose(found.pooled, want, rtol=1e-5, atol=1e-6)
    assert set(found.layers) == set(body.layer_names)
    np.testing.assert_array_equal(
        found.table, variables["params"]["embeddings"]["tokens"]["embedding"]
    )


def test_the_pooled_path_drops_what_the_whole_one_drops():
    """In training mode, whether or not the compiler has dropped the whole path."""
    body = make(pooling="first", dropout=0.3, attention_dropout=0.3)
    variables = draw(body)
    _, inputs = rows((5, 3, 8), 8)
    f = lambda v, key, *x: body.apply(v, *x, train=True, rngs={"dropout": key})  # noqa: E731
    both = jax.jit(f)(variables, jax.random.key(1), *inputs)
    alone = jax.jit(lambda *args: f(*args).pooled)(variables, jax.random.key(1), *inputs)
    np.testing.assert_array_equal(alone, both.pooled)
    np.testing.assert_allclose(both.pooled, both.sequence[:, 0], rtol=1e-5, atol=1e-6)
    rest = run(body, variables, inputs)
    assert np.abs(rest.pooled - both.pooled).max() > 0.1


def test_only_layers_in_training_drop_anything():
    body = make(dropout=0.5, attention_dropout=0.5)
    variables = draw(body)
    _, inputs = rows((5, 3, 8), 8)
    rest = run(body, variables, inputs)
    chosen = run(body, variables, inputs, train=frozenset({"block_01"}))
    for name in ("embeddings", "block_00"):
        np.testing.assert_array_equal(chosen.layers[name], rest.layers[name])
    assert not np.array_equal(chosen.layers["block_01"], rest.layers["block_01"])
    again = run(body, variables, inputs, train=frozenset({"block_01"}), seed=2)
    assert not np.array_equal(chosen.layers["block_01"], again.layers["block_01"])


def test_rematerialising_changes_no_output_and_no_gradient():
    plain, remat = make(), make(remat=True)
    variables = draw(plain)
    _, inputs = rows((5, 3, 8), 8)

    def value(body):
        f = lambda v: body.apply(v, *inputs, train=True, rngs={"dropout": jax.random.key(3)})  # noqa: E731
        loss = lambda v: jnp.square(f(v).pooled).sum()  # noqa: E731
        return jax.jit(jax.value_and_grad(loss), compiler_options=tiny.QUICK)(variables)

    for a, b in zip(jax.tree.leaves(value(plain)), jax.tree.leaves(value(remat)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_bfloat16_computes_with_float32_parameters():
    body = make(dtype="bfloat16")
    variables = draw(body)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    _, inputs = rows((5, 8), 8)
    rough, exact = run(body, variables, inputs), run(make(), variables, inputs)
    assert rough.sequence.dtype == jnp.bfloat16
    assert rough.pooled.dtype == jnp.float32
    assert 0 < np.abs(rough.pooled - exact.pooled).max() < 0.1


def test_drawn_as_published():
    """Normal of standard deviation 0.02 cut at two of it; zeros; ones."""
    body = make(width=64, feed_forward=256, vocab_size=500, init_std=0.02)
    flat = flatten(draw(body)["params"])
    cut = 0.02 * 0.8796  # What is left of the deviation after the cut.
    for path, value in flat.items():
        if path.endswith(("kernel", "tokens/embedding")):
            assert np.abs(value).max() <= 0.04 + 1e-6
            np.testing.assert_allclose(np.std(value), cut, rtol=0.05)
        elif path.endswith("scale"):
            np.testing.assert_array_equal(value, 1.0)
        elif path.endswith("bias"):
            np.testing.assert_array_equal(value, 0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_describe_and_build_are_inverses_and_every_direct_child_is_a_layer(kind):
    body = make(kind, dropout=0.2)
    assert bodies.build(json.loads(json.dumps(bodies.describe(body)))) == body
    layers = {path.split("/")[0] for path in flatten(draw(body)["params"])}
    assert layers == set(body.layer_names)


def test_what_cannot_be_built_is_told_at_once():
    with pytest.raises(
        ValueError, match=r"activation is one of.*width=18 is no multiple of heads=4"
    ):
        make(activation="geluu", width=18, heads=4)
    with pytest.raises(ValueError, match=r"dropout is a chance.*positions=2 leaves no room"):
        make(positions=2, position_offset=2, dropout=1.0)
    body = make("roberta")
    with pytest.raises(
        ValueError, match=r"23 tokens is longer than the 22 positions.*truncate to 22"
    ):
        jax.eval_shape(body.init, jax.random.key(0), *[jnp.zeros((1, 23), jnp.int32)] * 3)


BLOCK = {"width": 128, "heads": 2, "feed_forward": 512, "depth": 3, "positions": 64}
BATCH, LENGTH = 8, 32
OPTIMIZER = adamw(1e-3, Constant(), clip=1.0)


def big(pooling="first", **changes):
    """Wide enough for products to be nearly all that is counted."""
    return make(**BLOCK, pooling=pooling, dropout=0.1, attention_dropout=0.1, **changes)


def like(*shape, dtype=jnp.int32):
    return jax.ShapeDtypeStruct(shape, dtype)


GIVEN = {
    **{name: like(BATCH, LENGTH) for name in ("tokens", "segments", "types")},
    "label": like(BATCH),
    "mask": like(BATCH, dtype=jnp.float32),
    "index": like(BATCH),
}


def block_cost(queries):
    """Products of one block: keys and values of all places, the rest of `queries` a row."""
    d, f = BLOCK["width"], BLOCK["feed_forward"]
    kept = 2 * BATCH * LENGTH * 2 * d * d
    return kept + 2 * BATCH * queries * (2 * d * d + 2 * d * f) + 4 * BATCH * queries * LENGTH * d


def test_a_head_on_one_place_costs_one_place_of_the_last_block():
    share = block_cost(1) / block_cost(LENGTH)
    assert share == pytest.approx(0.18, abs=0.01)

    def cost(pooling, read):
        body = big(pooling)
        variables = jax.eval_shape(body.init, jax.random.key(0), *[like(1, 4)] * 3)
        f = jax.jit(lambda v, *x: getattr(body.apply(v, *x), read), compiler_options=tiny.QUICK)
        return tiny.flops(f, variables, *[like(BATCH, LENGTH)] * 3)

    whole, one = cost("none", "sequence"), cost("first", "pooled")
    n = BLOCK["depth"]
    assert 1.0 <= whole / (n * block_cost(LENGTH)) <= 1.1
    assert 1.0 <= one / ((n - 1) * block_cost(LENGTH) + block_cost(1)) <= 1.1
    assert one / whole == pytest.approx((n - 1 + share) / n, abs=0.01)
    # Read both, and both are computed.
    assert cost("first", "sequence") == pytest.approx(whole, rel=0.01)


@pytest.mark.parametrize(
    ("freeze", "remat"),
    [
        ("none", False),
        ("bottom:2", False),
        ("bottom:2", True),
        ("bottom:3", False),
        ("body", False),
    ],
)
def test_a_step_costs_what_the_design_counts(freeze, remat):
    body = big(remat=remat)
    network = Model(body, heads.Linear(3, kernel_init="scaled", dropout=0.1))
    params, _ = shapes(network, *[like(1, 4)] * 3)
    rows_ = plan(params, Strategy(freeze=freeze), layers=body.layer_names)
    begin = lambda p: init(rows_, p, {}, OPTIMIZER, total=10, key=jax.random.key(0))  # noqa: E731
    state = jax.eval_shape(begin, params)
    step = make_step(network, rows_, Classification(3), Recipe(optimizer=OPTIMIZER))
    step = jax.jit(step, donate_argnums=0, compiler_options=tiny.QUICK)
    n, d = BLOCK["depth"], BLOCK["width"]
    forward = [block_cost(LENGTH)] * (n - 1) + [block_cost(1)]
    frozen = min(max(rows_.frozen_depth - 1, 0), n)
    want = sum(forward) + 2 * sum(forward[frozen:])
    if remat:
        # Once more, but for the last product: its factors are enough for the gradients.
        last_product = 2 * BATCH * d * BLOCK["feed_forward"]
        places_ = [LENGTH] * (n - 1) + [1]
        want += sum(forward[frozen:]) - last_product * sum(places_[frozen:])
    if 0 < frozen < n:
        # The input of the lowest trained block needs no gradient.
        last = frozen == n - 1
        want -= 2 * BATCH * d * d * (2 * LENGTH + 1 if last else 3 * LENGTH)
    ratio = tiny.flops(step, state, GIVEN, SourceWeights()) / want
    assert 1.0 <= ratio <= 1.1, f"{freeze}: {ratio:.4f}"
    trained = sum(row.size for row in rows_.rows if row.trainable)
    held = sum(leaf.size * 4 for leaf in jax.tree.leaves((state.slots.first, state.slots.second)))
    assert held == 8 * trained


def test_the_same_step_on_one_and_on_four_devices():
    body = make()
    variables = draw(body)
    _, inputs = rows((5, 3, 8, 2), 8)

    def loss(v, *x):
        y = body.apply(v, *x, train=True, rngs={"dropout": jax.random.key(3)})
        return jnp.square(y.pooled).mean()

    grad = jax.jit(jax.value_and_grad(loss), compiler_options=tiny.QUICK)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    one, four = grad(variables, *inputs), grad(variables, *jax.device_put(inputs, spread))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(four), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
