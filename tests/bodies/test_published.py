"""Parameter counts and shapes of the published networks, without drawing a weight."""

import jax
import jax.numpy as jnp
import pytest

from tlearn import bodies, heads
from tlearn.bodies.mobilenet_v2 import round_width
from tlearn.params import flatten

COUNTS = {
    "resnet20": (10, 269_722),
    "resnet32": (10, 464_154),
    "resnet44": (10, 658_586),
    "resnet56": (10, 853_018),
    "resnet110": (10, 1_727_962),
    "resnet18": (1000, 11_689_512),
    "resnet34": (1000, 21_797_672),
    "resnet50": (1000, 25_557_032),
    "resnet101": (1000, 44_549_160),
    "resnet152": (1000, 60_192_808),
    "bit-r50x1": (1000, 25_549_352),
    "mobilenet_v2": (1000, 3_504_872),
}


def shapes(body, size):
    image = jax.ShapeDtypeStruct((1, size, size, body.in_channels), jnp.float32)
    key = jax.random.key(0)
    variables = jax.eval_shape(body.init, key, image)
    return variables, jax.eval_shape(body.apply, variables, image)


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_the_published_ones(name):
    classes, published = COUNTS[name]
    body = bodies.create(name)
    variables, features = shapes(body, 32)
    head = heads.create("linear", classes=classes)
    head_variables = jax.eval_shape(head.init, jax.random.key(0), features)
    leaves = jax.tree.leaves((variables["params"], head_variables["params"]))
    assert sum(leaf.size for leaf in leaves) == published


def test_imagenet_maps_have_strides_4_to_32():
    _, features = shapes(bodies.create("resnet50"), 224)
    assert [m.shape[1:] for m in features.maps] == [
        (56, 56, 256),
        (28, 28, 512),
        (14, 14, 1024),
        (7, 7, 2048),
    ]
    _, features = shapes(bodies.create("mobilenet_v2"), 224)
    assert [m.shape[1] for m in features.maps] == [112, 56, 28, 14, 7]


def test_paths_follow_the_naming_contract():
    variables, _ = shapes(bodies.create("resnet50"), 32)
    paths = flatten(variables["params"])
    assert "stem/conv/kernel" in paths
    assert "stage_3/block_06/conv_3/kernel" in paths
    assert "stage_1/block_01/shortcut_norm/scale" in paths
    variables, _ = shapes(bodies.create("mobilenet_v2"), 32)
    paths = flatten(variables["params"])
    assert "stage_1/block_01/expand_conv/kernel" not in paths
    assert "stage_2/block_01/expand_conv/kernel" in paths
    assert "stage_7/block_01/depthwise_norm/bias" in paths
    assert "final/conv/kernel" in paths


def test_rounding_never_loses_more_than_a_tenth():
    for width in range(8, 400):
        rounded = round_width(width)
        assert rounded % 8 == 0
        assert rounded >= 0.9 * width


def test_narrow_mobilenets_keep_their_last_width():
    assert bodies.create("mobilenet_v2", width_multiplier=0.35).feature_width == 1280
    assert bodies.create("mobilenet_v2", width_multiplier=1.4).feature_width == 1792


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stage_blocks": (1, 2), "stage_widths": (4,)}, "one entry a stage"),
        ({"block": "botleneck"}, "block is one of 'basic', 'bottleneck'"),
        ({"drop_path": 1.0}, r"\[0, 1\)"),
        ({"stem": "big", "dtype": "float16"}, "stem is one of.*dtype is one of"),
    ],
)
def test_impossible_fields_are_refused_all_at_once(fields, message):
    with pytest.raises(ValueError, match=message):
        bodies.create("resnet20", **fields)


def test_group_norm_that_does_not_divide_a_width_says_so():
    body = bodies.create("resnet20", norm="group", norm_groups=32)
    with pytest.raises(ValueError, match=r"32 groups cannot divide 16 channels.*norm_groups"):
        shapes(body, 8)


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_parameter_counts_are_those_of_timm(name):
    from timm_peer import import_timm

    model = import_timm().create_model(name, device="meta")
    assert sum(value.numel() for value in model.parameters()) == COUNTS[name][1]
