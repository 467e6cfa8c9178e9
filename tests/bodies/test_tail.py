"""A body above its frozen bottom: outputs and gradients of the whole body, from activations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies, heads
from tlearn.bodies.tail import Tail, below, tail_part, tail_problems
from tlearn.model import Model, shapes, variables
from tlearn.params import flatten
from tlearn.studies.boundary import (
    activations,
    boundary,
    boundary_features,
    tail_inputs,
    tail_leaves,
    tail_model,
)
from tlearn.transfer.plan import plan
from tlearn.transfer.strategy import Strategy

QUICK = {"xla_backend_optimization_level": 0}
TOKENS = {"vocab_size": 11, "width": 8}
BLOCKS = {"depth": 2, "heads": 2, "feed_forward": 8}
PATCHES = {"image_size": 8, "patch_size": 4, "in_channels": 1, "width": 8, "dropout": 0.2}
CONV = (("conv", 4, 3, 1, "same"), ("activation", "relu"), ("flatten",), ("dense", 5))
TINY = {
    "convnet": ("convnet", {"steps": CONV, "image_size": (8, 8), "in_channels": 1}),
    "resnet": (
        "resnet",
        {"stage_blocks": (1, 1), "stage_widths": (4, 8), "stem_width": 4, "drop_path": 0.3}
        | {"in_channels": 1, "remat": True},
    ),
    "mobilenet": (
        "mobilenet_v2",
        {"stages": ((1, 8, 1, 1),), "stem_width": 8, "final_width": 16, "in_channels": 1},
    ),
    "vit": ("vit", PATCHES | BLOCKS | {"pooling": "pooler", "drop_path": 0.3}),
    "bert": ("bert", TOKENS | BLOCKS | {"depth": 1, "positions": 8, "remat": True}),
    "albert": (
        "albert",
        TOKENS | BLOCKS | {"positions": 8, "embedding_width": 4, "depth": 4, "groups": 2},
    ),
    "gpt2": ("gpt", TOKENS | BLOCKS | {"positions": 8}),
    "t5": (
        "t5",
        TOKENS | BLOCKS | {"decoder_depth": 0, "head_size": 4, "pooling": "last", "remat": True},
    ),
    "awd_lstm": ("awd_lstm", {"vocab_size": 11, "width": 6, "hidden": 7, "depth": 2}),
    "word_vectors": ("word_vectors", TOKENS | {"lstm_width": 3, "dropout": 0.2}),
}
STARTS = {
    "convnet": "layer_02",
    "resnet": "stage_2",
    "mobilenet": "final",
    "vit": "block_01",
    "bert": "block_00",
    "albert": "group_01",
    "gpt2": "block_01",
    "t5": "encoder_block_01",
    "awd_lstm": "lstm_1",
    "word_vectors": "bilstm",
}


@functools.cache
def tiny(name):
    """A model, its inputs by name, and weights that nobody trained."""
    family, fields = TINY[name]
    model = Model(bodies.build({"family": family, **fields}), heads.Linear(3))
    rng = np.random.default_rng(1)
    segments = np.array([[1] * 6, [1] * 4 + [0] * 2, [1] * 2 + [0] * 4, [1] * 6], np.int32)
    every = {
        "image": rng.normal(size=(4, 8, 8, 1)).astype(np.float32),
        "tokens": rng.integers(0, 11, (4, 6)).astype(np.int32),
        "segments": segments,
        "types": np.zeros((4, 6), np.int32),
    }
    inputs = {name: every[name] for name in model.body.inputs}

    def drawn(path, like):
        noise = rng.normal(size=like.shape)
        near_one = path.endswith(("/scale", "/var"))
        return (1 + 0.1 * abs(noise) if near_one else 0.3 * noise).astype(np.float32)

    like = (jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs.values())
    params, statistics = ({p: drawn(p, v) for p, v in f.items()} for f in shapes(model, *like))
    return model, inputs, params, statistics


@pytest.mark.parametrize("name", TINY)
def test_features_and_gradients_are_those_of_the_whole_body(name):
    """Tried with the breaks: the output of another layer, no bias from T5's first block, a scope
    of the tail's own, a rematerialised block that is not recognised."""
    model, inputs, params, statistics = tiny(name)
    start = STARTS[name]
    tail = tail_model(model, start)
    read, kept = (tail_leaves(model, start, flat) for flat in (params, statistics))
    under = tuple(f"body/{layer}/" for layer in below(model.body, start))
    free = {path: value for path, value in params.items() if not path.startswith(under)}
    live = frozenset((*tail.body.layer_names, "head"))

    def loss(free, still, network, statistics, inputs):
        found, changed = network.apply(
            variables({**still, **free}, statistics),
            *inputs,
            train=live,
            rngs={"dropout": jax.random.key(3)},
            mutable=["batch_stats"],
        )
        return jnp.sum(found**2) + found[0, 0], flatten(changed.get("batch_stats", {}))

    @functools.partial(jax.jit, compiler_options=QUICK)
    def both(free, params, read, statistics, kept, inputs):
        # In the body's order: jit sorts the keys of what it is given.
        arrays = [inputs[name] for name in model.body.inputs]
        features = activations(model, start, params, statistics, arrays)
        given = tail_inputs(model, start, inputs, features)
        graded = jax.value_and_grad(loss, has_aux=True)
        return (
            graded(free, params, model, statistics, arrays),
            graded(free, read, tail, kept, given.values()),
        )

    whole, top = both(free, params, read, statistics, kept, inputs)
    ((value, moved), gradients), ((value_above, moved_above), above) = whole, top
    np.testing.assert_allclose(value_above, value, rtol=1e-6)
    largest = max(float(abs(g).max()) for g in gradients.values())
    for path, gradient in gradients.items():
        np.testing.assert_allclose(above[path], gradient, atol=2e-6 * largest, err_msg=path)
    assert largest > 0
    assert set(moved_above) == set(kept)
    for path, changed in moved_above.items():
        np.testing.assert_allclose(changed, moved[path], rtol=1e-5, atol=1e-6, err_msg=path)


def test_features_come_in_the_order_of_the_examples_however_they_are_cut():
    model, inputs, params, statistics = tiny("resnet")
    whole = boundary_features(model, params, statistics, inputs, "stage_2", batch=8)
    cut = boundary_features(model, params, statistics, inputs, "stage_2", batch=3)
    assert whole.shape == (4, 8, 8, 4)
    np.testing.assert_allclose(cut, whole, rtol=1e-5, atol=1e-6)
    pooled = boundary_features(model, params, statistics, inputs, "head")
    assert pooled.shape == (4, model.body.feature_width)


def test_only_what_runs_is_read():
    model, _, params, statistics = tiny("resnet")
    for flat in (params, statistics):
        layers = {path.split("/")[1] for path in tail_leaves(model, "stage_2", flat)}
        assert layers & {"stem", "stage_1"} == set()
    assert set(tail_leaves(model, "head", params)) == {"head/dense/kernel", "head/dense/bias"}
    model, _, params, _ = tiny("t5")
    under = [p for p in tail_part(model.body, "encoder_final", params) if "block" in p]
    assert under == ["body/encoder_block_00/attention/relative/embedding"]


def test_the_boundary_is_where_a_plan_begins_to_train():
    model, _, params, _ = tiny("bert")

    def at(freeze, **modes):
        asked = Strategy(freeze=freeze, modes=tuple(modes.items()))
        return boundary(model, plan(params, asked, layers=model.body.layer_names))

    assert at("none") is None
    assert at("bottom:1") == "block_00"
    assert at("body") == "head"
    assert at("body", pooler="statistics") == "pooler"
    assert at("bottom:1", embeddings="statistics") is None
    assert at((("body/embeddings/tokens/.*", True), (".*", False))) is None


def test_what_cannot_start_above_its_input_is_told():
    body = tiny("bert")[0].body
    with pytest.raises(ValueError, match=r"'block_1' is no layer.*did you mean 'block_00'\?"):
        Tail(body, "block_1")
    with pytest.raises(ValueError, match="no layer above the first"):
        Tail(body, "embeddings")
    decoding = bodies.build({"family": "t5", **TINY["t5"][1], "decoder_depth": 1})
    (problem,) = tail_problems(decoding, "encoder_block_01")
    assert "encoder alone" in problem
    (problem,) = tail_problems(heads.Linear(3), "block_01")
    assert "none of the bodies albert, awd_lstm" in problem
    model, inputs, params, statistics = tiny("bert")
    some = {"tokens": inputs["tokens"]}
    with pytest.raises(ValueError, match="not given: segments, types"):
        boundary_features(model, params, statistics, some, "block_00")
