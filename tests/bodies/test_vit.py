"""What vision transformers promise, and the published counts of their parameters."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies, heads
from tlearn.params import flatten

QUICK = {"xla_backend_optimization_level": 0}
TINY = {
    "image_size": 8,
    "patch_size": 4,
    "width": 16,
    "depth": 2,
    "heads": 2,
    "feed_forward": 24,
}
FORMS = {
    "class": {},
    "distilled": {"distilled_token": True, "layer_scale": 0.1},
    "pooler": {"pooling": "pooler", "pooler_width": 12, "qkv_bias": False},
    "mean": {"pooling": "mean", "norm": "pooled", "prefix_positions": False},
    "bare": {"pooling": "mean", "class_token": False, "norm": "none", "head_size": 4},
}


def make(form="class", **changes):
    return bodies.create("vit", **TINY | FORMS[form] | changes)


def pictures(count=4, size=8):
    return jax.random.normal(jax.random.key(7), (count, size, size, 3))


def draw(body, seed=0):
    size = body.image_size
    image = jax.ShapeDtypeStruct((1, size, size, body.in_channels), jnp.float32)
    shapes = jax.eval_shape(body.init, jax.random.key(0), image)
    rng = np.random.default_rng(seed)
    # Nothing is compiled for them, and no block is nearly nothing as it is when drawn at 0.02.
    return jax.tree.map(
        lambda x: jnp.asarray((x.ndim == 1) + 0.2 * rng.normal(size=x.shape), jnp.float32), shapes
    )


def run(body, variables, image, train=False, key=1):
    return compiled(body, train)(variables, image, jax.random.key(key))


@functools.cache
def compiled(body, train):
    def apply(variables, image, key):
        return body.apply(variables, image, train=train, rngs={"dropout": key})

    return jax.jit(apply, compiler_options=QUICK)


@pytest.mark.parametrize("form", FORMS)
def test_features_and_layers_are_as_declared(form):
    body = make(form)
    variables = draw(body)
    features = run(body, variables, pictures())
    prefix = int(body.class_token) + int(body.distilled_token)
    assert features.pooled.shape == (4, body.feature_width)
    assert features.sequence.shape == (4, 4 + prefix, 16)
    assert features.maps[0].shape == (4, 2, 2, 16)
    np.testing.assert_array_equal(features.maps[0].reshape(4, 4, 16), features.sequence[:, prefix:])
    assert set(features.layers) == set(body.layer_names)
    paths = list(flatten(variables["params"]))
    assert {path.split("/")[0] for path in paths} == set(body.layer_names)
    assert {p.rsplit("/", 1)[1] for p in paths} <= {
        "kernel", "bias", "scale", "positions", "class_token", "distilled_token"
    }  # fmt: skip
    assert bodies.build(json.loads(json.dumps(bodies.describe(body)))) == body


@pytest.mark.parametrize("form", ["class", "distilled"])
def test_the_pooled_path_is_the_whole_one_bit_for_bit_in_training(form):
    body = make(form, dropout=0.3, attention_dropout=0.3, drop_path=0.5)
    features = run(body, draw(body), pictures(), train=True)
    np.testing.assert_allclose(features.pooled, features.sequence[:, 0], rtol=2e-6, atol=2e-6)
    assert not np.allclose(features.pooled, run(body, draw(body), pictures()).pooled, atol=1e-2)


def test_pooling_by_the_mean_leaves_the_tokens_without_a_place_out():
    body = make("mean", norm="final")
    features = run(body, draw(body), pictures())
    np.testing.assert_allclose(features.pooled, features.sequence[:, 1:].mean(1), atol=1e-6)


@pytest.mark.parametrize("field", ["dropout", "attention_dropout", "drop_path"])
def test_chance_acts_only_where_a_layer_trains(field):
    body = make(**{field: 0.5})
    variables, image = draw(body), pictures(16)
    chosen = frozenset({"block_01"})
    one, two = (run(body, variables, image, chosen, key).layers for key in (1, 2))
    assert not np.array_equal(one["block_01"], two["block_01"])
    still = run(body, variables, image).layers
    for name in ("embeddings", "block_00"):
        np.testing.assert_array_equal(one[name], still[name])


def test_drop_path_grows_with_depth_from_nothing():
    body = make(drop_path=0.9)
    variables, image = draw(body), pictures(64)
    dropped = run(body, variables, image, train=True)
    still = run(body, variables, image)
    np.testing.assert_array_equal(dropped.layers["block_00"], still.layers["block_00"])
    x, y = dropped.layers["block_00"], dropped.layers["block_01"]
    share = float((np.abs(x - y).max((1, 2)) == 0).mean())
    # Both parts of the last block are skipped with 0.9 each.
    assert 0.6 < share < 0.95


def test_attention_scale_is_the_heads_own_unless_given():
    usual, given, other = make(), make(attention_scale=8**-0.5), make(attention_scale=0.1)
    variables = draw(usual)
    pooled = [run(body, variables, pictures()).pooled for body in (usual, given, other)]
    np.testing.assert_array_equal(pooled[0], pooled[1])
    assert np.abs(pooled[0] - pooled[2]).max() > 1e-3


def test_patches_are_a_convolution_and_spare_pixels_are_left_out():
    body = make(image_size=10)
    variables = draw(body)
    params = variables["params"]["embeddings"]
    image = pictures(2, 10)
    whole = jax.lax.conv_general_dilated(
        image, params["patches"]["kernel"], (4, 4), "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip
    wanted = whole.reshape(2, 4, 16) + params["patches"]["bias"].reshape(1, 1, -1)
    wanted += params["positions"][:, 1:]
    given = run(body, variables, image).layers["embeddings"][:, 1:]
    np.testing.assert_allclose(given, wanted, atol=1e-5)


def test_rematerialising_and_bfloat16():
    plain, remat, half = make(dropout=0.2), make(dropout=0.2, remat=True), make(dtype="bfloat16")
    variables, image = draw(plain), pictures()

    def value(body):
        rngs = {"dropout": jax.random.key(5)}

        def loss(params):
            features = body.apply({"params": params}, image, train=True, rngs=rngs)
            return jnp.square(features.pooled).sum()

        grad = jax.jit(jax.value_and_grad(loss), compiler_options=QUICK)
        return grad(variables["params"])

    for a, b in zip(jax.tree.leaves(value(plain)), jax.tree.leaves(value(remat)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    rough = run(half, variables, image)
    assert rough.sequence.dtype == jnp.bfloat16
    assert rough.pooled.dtype == jnp.float32
    exact = run(make(), variables, image).pooled
    assert 0 < np.abs(rough.pooled - exact).max() < 0.1 * np.abs(exact).max()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 10, "heads": 3}, "heads=3 do not divide width=10"),
        ({"class_token": False}, "without a class_token, pooling is 'mean'"),
        ({"patch_size": 9, "dropout": 1.0}, r"holds no patch.*dropout is a share"),
        ({"pooling": "max", "norm": "pre"}, "pooling is one of.*norm is one of"),
    ],
)
def test_impossible_fields_are_refused_all_at_once(fields, message):
    with pytest.raises(ValueError, match=message):
        make(**fields)


def test_another_size_of_pictures_names_the_way_out():
    with pytest.raises(ValueError, match=r"8x8 pixels, got 12x12.*position_grid"):
        jax.eval_shape(make().init, jax.random.key(0), jnp.zeros((1, 12, 12, 3)))


# timm's models of these names with their thousand classes; ViT-H/14 as in Dosovitskiy et al. 2021.
COUNTS = {
    "vit-tiny-patch16": 5_717_416,
    "vit-small-patch16": 22_050_664,
    "vit-small-patch32": 22_878_952,
    "vit-base-patch16": 86_567_656,
    "vit-base-patch32": 88_224_232,
    "vit-large-patch16": 304_326_632,
    "vit-large-patch32": 306_535_400,
    "vit-huge-patch14": 632_045_800,
    "deit-tiny": 5_717_416,
    "deit-small": 22_050_664,
    "deit-base": 86_567_656,
    "deit-tiny-distilled": 5_910_800,
    "deit-small-distilled": 22_436_432,
    "deit-base-distilled": 87_338_192,
}


def count(name):
    body = bodies.create(name)
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    variables = jax.eval_shape(body.init, jax.random.key(0), image)
    features = jax.eval_shape(body.apply, variables, image)
    head = heads.create("distilled" if body.distilled_token else "linear", classes=1000)
    own = jax.eval_shape(head.init, jax.random.key(0), features)
    return sum(leaf.size for leaf in jax.tree.leaves((variables, own)))


# Tracing is most of the cost: one of each kind by default.
QUICKLY = ("vit-tiny-patch16", "vit-base-patch32", "vit-huge-patch14", "deit-tiny-distilled")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in QUICKLY else pytest.mark.slow) for n in COUNTS],
)
def test_parameter_counts_are_the_published_ones(name):
    assert count(name) == COUNTS[name]


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_those_of_timm(name):
    from timm_peer import import_timm

    size, _, rest = name.removeprefix("vit-").removeprefix("deit-").partition("-")
    if name.startswith("vit"):
        architecture = f"vit_{size}_{rest}_224"
    else:
        architecture = f"deit_{size}{'_distilled' if rest else ''}_patch16_224"
    model = import_timm().create_model(architecture, num_classes=1000, device="meta")
    assert sum(value.numel() for value in model.parameters()) == COUNTS[name]
