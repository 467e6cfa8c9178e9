"""What every registered body promises, checked on tiny members of each family."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies
from tlearn.bodies.registry import BODIES
from tlearn.params import flatten

TINY_RESNET = {"stage_blocks": (1, 2), "stage_widths": (4, 8), "stem_width": 4}
TINY_MOBILENET = {
    "stages": ((1, 8, 1, 1), (2, 16, 2, 2)),
    "stem_width": 8,
    "final_width": 24,
    "width_multiplier": 0.5,
}
TINY = {
    "resnet-a": ("resnet", TINY_RESNET),
    "resnet-b-small": ("resnet", TINY_RESNET | {"shortcut": "B", "stem": "small"}),
    "bottleneck": (
        "resnet",
        TINY_RESNET | {"block": "bottleneck", "shortcut": "B", "stem": "imagenet"},
    ),
    "resnet-group": ("resnet", TINY_RESNET | {"norm": "group", "norm_groups": 2}),
    "bit": ("bit", {**TINY_RESNET, "norm_groups": 2}),
    "mobilenet_v2": ("mobilenet_v2", TINY_MOBILENET),
}
BATCHED = [name for name in TINY if name not in ("resnet-group", "bit")]


def make(name, **changes):
    family, fields = TINY[name]
    return bodies.build({"family": family, **fields, **changes})


def pictures(channels=3, count=4):
    return jax.random.normal(jax.random.key(7), (count, 16, 16, channels))


def draw(body, seed=0):
    image = jnp.zeros((1, 16, 16, body.in_channels))
    return jax.jit(body.init)(jax.random.key(seed), image)


def run(body, variables, image, train=False, key=1):
    features, changed = jax.jit(
        lambda v, x, k: body.apply(v, x, train=train, mutable=["batch_stats"], rngs={"dropout": k})
    )(variables, image, jax.random.key(key))
    return features, flatten(changed.get("batch_stats", {}))


def test_every_family_is_covered():
    """Families that are no convolutions of pictures have test files of their own."""
    here = {family for family, _ in TINY.values()}
    others = [
        path.read_text("utf-8")
        for path in Path(__file__).parents[1].rglob("test_*.py")
        if path != Path(__file__) and path.name != "test_registry.py"
    ]
    assert here <= set(BODIES.families)
    for family in set(BODIES.families) - here:
        assert any(f'"{family}"' in text for text in others), f"no test names {family!r}"


@pytest.mark.parametrize("name", TINY)
def test_features_have_the_declared_shapes(name):
    body = make(name)
    features, _ = run(body, draw(body), pictures())
    assert features.pooled.shape == (4, body.feature_width)
    assert features.pooled.dtype == jnp.float32
    assert set(features.layers) == set(body.layer_names)  # jit sorts the keys
    rows = [m.shape[1] for m in features.maps]
    assert rows == sorted(set(rows), reverse=True)
    last = features.layers[body.layer_names[-1]]
    np.testing.assert_allclose(features.pooled, last.mean((1, 2)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", TINY)
def test_layers_cover_every_parameter_and_nothing_is_named_by_flax(name):
    body = make(name)
    variables = draw(body)
    for collection in variables.values():
        paths = list(flatten(collection))
        assert {path.split("/")[0] for path in paths} == set(body.layer_names)
        parts = {part for path in paths for part in path.split("/")}
        assert not [
            part
            for part in parts
            if re.fullmatch(r".*[A-Z].*|.*_\d+$", part)
            and not re.fullmatch(r"(stage|block|conv|norm)_\d+", part)
        ]
        leaves = {path.rsplit("/", 1)[1] for path in paths}
        assert leaves <= {"kernel", "scale", "bias", "mean", "var"}


@pytest.mark.parametrize("name", TINY)
def test_describe_and_build_are_inverses_through_json(name):
    import json

    body = make(name, drop_path=0.25)
    assert bodies.build(json.loads(json.dumps(bodies.describe(body)))) == body


@pytest.mark.parametrize("name", TINY)
def test_init_is_reproducible_and_seeded(name):
    body = make(name)
    one, again, other = (flatten(draw(body, seed)["params"]) for seed in (3, 3, 4))
    for path, value in one.items():
        np.testing.assert_array_equal(value, again[path])
        if path.endswith("kernel"):
            assert not np.array_equal(value, other[path])


@pytest.mark.parametrize("name", BATCHED)
def test_only_layers_in_training_move_their_statistics(name):
    """Tried with the break: BatchNorm given ``train=True`` whatever its layer."""
    body = make(name)
    variables = draw(body)
    before = flatten(variables["batch_stats"])
    chosen = frozenset(body.layer_names[-2:-1])
    _, after = run(body, variables, pictures(), train=chosen)
    for path, value in before.items():
        same = np.array_equal(value, after[path])
        assert same == (path.split("/")[0] not in chosen), path
    _, frozen = run(body, variables, pictures(), train=False)
    assert all(np.array_equal(value, frozen[path]) for path, value in before.items())


@pytest.mark.parametrize("name", ["resnet-a", "mobilenet_v2"])
def test_drop_path_acts_only_where_a_layer_trains(name):
    body = make(name, drop_path=0.9)
    variables = draw(body)
    image = pictures(count=16)
    layer = "stage_2"
    two = [run(body, variables, image, frozenset({layer}), key)[0].layers for key in (1, 2)]
    assert not np.array_equal(two[0][layer], two[1][layer])
    below = [run(body, variables, image, frozenset({"stem"}), key)[0].layers for key in (1, 2)]
    np.testing.assert_array_equal(below[0][layer], below[1][layer])


@pytest.mark.parametrize("name", ["resnet-a", "mobilenet_v2"])
def test_rematerialising_changes_no_output_and_no_gradient(name):
    plain, remat = make(name, drop_path=0.3), make(name, drop_path=0.3, remat=True)
    variables, image = draw(plain), pictures()

    def value(body):
        def loss(params):
            features, changed = body.apply(
                {**variables, "params": params},
                image,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(5)},
            )
            return jnp.square(features.pooled).sum(), changed

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])

    assert jax.tree.structure(draw(remat)) == jax.tree.structure(variables)
    for a, b in zip(jax.tree.leaves(value(plain)), jax.tree.leaves(value(remat)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_remat_keeps_fewer_activations():
    def kept(remat):
        body = make("resnet-a", remat=remat, stage_blocks=(4, 1))
        variables, image = draw(body), pictures()
        loss = lambda p: body.apply({**variables, "params": p}, image).pooled.sum()  # noqa: E731
        _, pull = jax.vjp(loss, variables["params"])
        return sum(leaf.size for leaf in jax.tree.leaves(pull))

    assert kept(True) < 0.6 * kept(False)


@pytest.mark.parametrize("name", TINY)
def test_bfloat16_computes_with_float32_parameters_and_statistics(name):
    full, half = make(name), make(name, dtype="bfloat16")
    variables = draw(half)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    exact, _ = run(full, variables, pictures(), train=True)
    rough, statistics = run(half, variables, pictures(), train=True)
    assert rough.layers["stem"].dtype == jnp.bfloat16
    assert rough.pooled.dtype == jnp.float32
    assert all(value.dtype == jnp.float32 for value in statistics.values())
    difference = np.abs(rough.pooled - exact.pooled).max()
    assert 0 < difference < 0.1 * np.abs(exact.pooled).max()


@pytest.mark.parametrize("name", ["resnet-a", "mobilenet_v2"])
def test_wrong_channels_are_an_error_that_names_the_fix(name):
    body = make(name)
    with pytest.raises(ValueError, match=r"3 channel.*got 1.*adapt_input_channels"):
        jax.eval_shape(body.init, jax.random.key(0), jnp.zeros((1, 16, 16, 1)))


def test_one_program_on_four_devices_gives_what_one_device_gives():
    """Batch statistics span the devices; gradients are of the whole batch."""
    body = make("resnet-a")
    variables, image = draw(body), pictures(count=8)

    def loss(params, image):
        features, changed = body.apply(
            {**variables, "params": params}, image, train=True, mutable=["batch_stats"]
        )
        return jnp.square(features.pooled).mean(), changed

    grad = jax.jit(jax.value_and_grad(loss, has_aux=True))
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    one = grad(variables["params"], image)
    four = grad(variables["params"], jax.device_put(image, spread))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(four), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
