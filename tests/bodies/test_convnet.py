"""A plain row of steps: shapes, layers, modes, and what cannot be built."""

import json

import jax
import numpy as np
import pytest

from tlearn import bodies

STEPS = (
    ("conv", 4, 3, 1, "same"),
    ("activation", "relu"),
    ("max_pool", 2, 2, "valid"),
    ("norm", 1e-3),
    ("conv", 6, 3, 2, "valid"),
    ("dropout", 0.5),
    ("flatten",),
    ("dense", 5),
    ("activation", "tanh"),
)


def built(**changes):
    fields = {"steps": STEPS, "image_size": (9, 12), "in_channels": 2}
    return bodies.build({"family": "convnet", **fields, **changes})


def drawn(body, image):
    return body.init(jax.random.key(0), image)


def test_layers_widths_and_description():
    body = built()
    image = jax.random.normal(jax.random.key(1), (3, 9, 12, 2))
    variables = drawn(body, image)
    features = body.apply(variables, image)
    assert body.layer_names == ("layer_01", "layer_02", "layer_03", "layer_04")
    assert set(variables["params"]) == set(features.layers) == set(body.layer_names)
    assert features.pooled.shape == (3, 5) == (3, body.feature_width)
    assert features.layers["layer_01"].shape == (3, 4, 6, 4)
    assert built(steps=STEPS[:7]).feature_width == 6 * 1 * 2
    again = bodies.build(json.loads(json.dumps(bodies.describe(body))))
    assert again == body


def test_only_layers_in_training_drop_and_move_statistics():
    body = built()
    image = jax.random.normal(jax.random.key(1), (3, 9, 12, 2))
    variables = drawn(body, image)

    def run(train, key=2):
        out, moved = body.apply(
            variables,
            image,
            train=train,
            rngs={"dropout": jax.random.key(key)},
            mutable=["batch_stats"],
        )
        return np.asarray(out.pooled), jax.tree.leaves(moved["batch_stats"])

    still, statistics = run(False)
    before = jax.tree.leaves(variables["batch_stats"])
    assert all(map(np.array_equal, statistics, before))
    dropped, statistics = run(frozenset({"layer_03"}))
    assert all(map(np.array_equal, statistics, before))
    assert not np.array_equal(dropped, still)
    normed, statistics = run(frozenset({"layer_02"}))
    assert not all(map(np.array_equal, statistics, before))
    assert not np.array_equal(normed, still)


WRONG = {
    "kind": ((("convolve", 3),), "is none of"),
    "count": ((("conv", 3, 3),), "takes"),
    "size": ((("conv", 0, 3, 1, "same"),), "size below 1"),
    "padding": ((("conv", 3, 3, 1, "torch"),), "neither 'same' nor 'valid'"),
    "activation": ((("dense", 3), ("activation", "softmax")), "no activation"),
    "nothing": ((("flatten",),), "no step has parameters"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_built_is_said(case):
    steps, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        built(steps=steps)


def test_pictures_of_another_size_are_refused_with_the_fix():
    body = built()
    with pytest.raises(ValueError, match="pictures of 8x8 pixels, but this network is for 9x12"):
        drawn(body, jax.numpy.zeros((1, 8, 8, 2)))
