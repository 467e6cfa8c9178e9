"""Whole checkpoints: recognised strictly, loaded whole, written in torch's names, and back."""

import json

import hub_files as hf
import jax
import ml_dtypes
import numpy as np
import pytest

from tlearn import bodies, heads, hub
from tlearn.bodies.facts import ImageFacts
from tlearn.hub import HubError
from tlearn.hub.mapping import expand, invert
from tlearn.hub.recognise import families
from tlearn.hub.source import Source, tagged
from tlearn.model import Model, variables

CIFAR = {"stage_blocks": (2, 1), "stage_widths": (4, 8), "stem_width": 4}
IMAGENET = {"stem": "imagenet", "shortcut": "B", "stem_width": 4}
MOBILENET = [(1, 1, 1), (6, 2, 2), (6, 3, 2), (6, 4, 2), (6, 3, 1), (6, 3, 2), (6, 1, 1)]
BODIES = {
    "resnet_cifar": ("resnet20", CIFAR),
    "resnet_cifar_b": ("resnet20", CIFAR | {"shortcut": "B"}),
    "resnet_torchvision": ("resnet20", IMAGENET | {"stage_widths": (4, 4, 8)}),
    "resnet_torchvision_bottleneck": (
        "resnet20",
        IMAGENET | {"stage_blocks": (1, 2), "stage_widths": (4, 4), "block": "bottleneck"},
    ),
    "mobilenet_v2_torchvision": (
        "mobilenet_v2",
        {
            "stages": tuple((t, 8, n, s) for t, n, s in MOBILENET),
            "stem_width": 8,
            "final_width": 16,
        },
    ),
}


def drawn(body, head=None, seed=0):
    """Random values for every leaf of a model, without compiling it."""
    image = jax.ShapeDtypeStruct((1, 64, 64, body.in_channels), "float32")
    model = Model(body=body, head=head or heads.create("linear", classes=3))
    shapes = jax.eval_shape(lambda key, x: model.init(key, x), jax.random.key(0), image)
    rng = np.random.default_rng(seed)
    flat = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)
    }
    values = {n: rng.uniform(0.5, 1, leaf.shape).astype(np.float32) for n, leaf in flat.items()}
    return hub_parts(values)


def hub_parts(values):
    params = {n.removeprefix("params/"): v for n, v in values.items() if n.startswith("params/")}
    statistics = {
        n.removeprefix("batch_stats/"): v for n, v in values.items() if n.startswith("batch_")
    }
    return params, statistics


def made(case="resnet_cifar", **changes):
    name, fields = BODIES[case]
    body, head = bodies.create(name, **fields), heads.create("linear", classes=3)
    params, statistics = drawn(body, head)
    given = {
        "params": params,
        "collections": statistics,
        "body": bodies.describe(body),
        "head": heads.describe(head),
        "label_names": ("ant", "bee", "wasp"),
        "facts": ImageFacts(mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 2.0), size=64),
    }
    return Source(**(given | changes))


def assert_equal(one, other):
    assert one.digest == other.digest
    assert (one.body, one.head) == (other.body, other.head)
    assert (one.label_names, one.facts) == (other.label_names, other.facts)


def foreign_arrays(source, case):
    name = "resnet_cifar" if case == "resnet_cifar_b" else case.removesuffix("_bottleneck")
    table = families()[name].table(source.body, source.head["classes"])
    return invert(table, tagged(source.params, source.collections))


@pytest.mark.parametrize("case", BODIES)
def test_load_of_export_is_the_same_bit_for_bit(tmp_path, case):
    source = made(case)
    file = hub.export_torch_names(source, tmp_path / "out" / "a.safetensors")
    assert_equal(hub.load(f"safetensors:{file}"), source)
    assert [path.name for path in file.parent.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("case", BODIES)
@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files_with_wrapper_and_counters(tmp_path, case, legacy):
    source = made(case)
    arrays = foreign_arrays(source, case)
    counters = {
        name.replace("running_mean", "num_batches_tracked"): np.array(5, np.int64)
        for name in arrays
        if name.endswith("running_mean")
    }
    path = tmp_path / "a.pt"
    hf.write_state_dict(path, arrays | counters, legacy, "state_dict", "module.")
    loaded = hub.load(f"torch:{path}", label_names=source.label_names, facts=source.facts)
    assert_equal(loaded, source)
    assert loaded.provenance["stripped_prefix"] == "module."
    assert loaded.provenance["aside"] == {"epoch": 7, "best": 91.5}
    assert loaded.provenance["format"] == "torch"
    assert len(loaded.provenance["sha256"]) == 64


@pytest.mark.parametrize(
    ("table", "body", "entries"),
    [
        # What torch's own state dicts of these networks count, counters included.
        ("resnet_torchvision", "resnet18", 122),
        ("resnet_torchvision", "resnet50", 320),
        ("mobilenet_v2_torchvision", "mobilenet_v2", 314),
        ("resnet_cifar", "resnet20", 19 * 6 + 2),
    ],
)
def test_tables_know_as_many_names_as_the_published_networks(table, body, entries):
    config = bodies.describe(bodies.create(body))
    assert len(expand(families()[table].table(config, 1000))) == entries


def test_numpy_archives_load_too(tmp_path):
    source = made()
    np.savez_compressed(tmp_path / "a.npz", **foreign_arrays(source, "resnet_cifar"))
    loaded = hub.load(f"npz:{tmp_path / 'a.npz'}", label_names=source.label_names, licence="MIT")
    assert loaded.digest == source.digest
    assert loaded.facts is None
    assert loaded.provenance["licence"] == "MIT"


def test_narrow_floats_are_cast_and_every_cast_is_named(tmp_path):
    source = made()
    arrays = foreign_arrays(source, "resnet_cifar")
    arrays["conv1.weight"] = arrays["conv1.weight"].astype(np.float16)
    arrays["bn1.weight"] = arrays["bn1.weight"].astype(ml_dtypes.bfloat16)
    arrays["linear.bias"] = arrays["linear.bias"].astype(np.float64)
    hub.write_safetensors(tmp_path / "a.safetensors", arrays)
    loaded = hub.load(f"safetensors:{tmp_path / 'a.safetensors'}")
    assert loaded.provenance["casts"] == {
        "body/stem/conv/kernel": "float16",
        "body/stem/norm/scale": "bfloat16",
        "head/dense/bias": "float64",
    }
    assert {array.dtype for array in loaded.params.values()} == {np.dtype(np.float32)}
    params, statistics = drawn(bodies.build(loaded.body), heads.build(loaded.head), seed=1)
    _, _, report = hub.reconcile(loaded, params, statistics)
    assert set(report.paths("cast")) == set(loaded.provenance["casts"])
    arrays["linear.bias"] = np.array([1, 2, 3])
    hub.write_safetensors(tmp_path / "a.safetensors", arrays)
    with pytest.raises(HubError, match="'head/dense/bias' has the type int64"):
        hub.load(f"safetensors:{tmp_path / 'a.safetensors'}")


def broken(tmp_path, change):
    arrays = foreign_arrays(made(), "resnet_cifar")
    change(arrays)
    hub.write_safetensors(tmp_path / "a.safetensors", arrays)
    with pytest.raises(HubError) as error:
        hub.load(f"safetensors:{tmp_path / 'a.safetensors'}")
    return str(error.value)


def test_checkpoints_that_are_not_quite_a_family(tmp_path):
    def rename(old, new):
        return lambda arrays: arrays.update({new: arrays.pop(old)})

    message = broken(tmp_path, rename("linear.bias", "linear.offset"))
    assert "nearest to resnet_cifar, but these are missing:\n  'linear.bias'" in message
    message = broken(tmp_path, rename("layer1.0.bn2.bias", "layer1.0.bn2.offset"))
    assert "'layer1.0.bn2.bias' is missing (nearest: 'layer1.0.bn2.offset')" in message
    message = broken(tmp_path, lambda a: a.pop("layer1.1.conv1.weight"))
    assert "'layer1.1.conv2.weight' is not in the table" in message
    message = broken(tmp_path, lambda a: a.pop("layer1.0.conv2.weight"))
    assert "'layer1.0.conv2.weight' is missing" in message
    message = broken(tmp_path, lambda a: a.update({"conv1.weight": np.zeros((4, 3, 5, 5), "f4")}))
    assert "its names are those of resnet_cifar, but conv1 is 5x5" in message
    message = broken(tmp_path, lambda a: a.update({"layer2.0.bn1.bias": np.zeros(9, np.float32)}))
    assert "'body/stage_2/block_01/norm_1/bias' has the shape (9,), wanted (8,)" in message
    message = broken(tmp_path, lambda a: (a.clear(), a.update({"bert.x": np.zeros(2, "f4")})))
    assert "its 1 names belong to no known family" in message
    assert "'bert.x'" in message
    assert "its config.json, which is missing beside it: put the model's own there" in message


@pytest.mark.parametrize("kind", ["safetensors", "npz", "torch"])
def test_the_one_file_of_a_checkpoint_folder_sends_to_its_folder(kind, tmp_path):
    arrays = {"bert.x": np.zeros(2, np.float32)}
    file = tmp_path / "model.safetensors"
    if kind == "npz":
        file = tmp_path / "model.npz"
        np.savez(file, **arrays)
    elif kind == "torch":
        file = tmp_path / "pytorch_model.bin"
        hf.write_state_dict(file, arrays)
    else:
        hub.write_safetensors(file, arrays)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(HubError) as error:
        hub.load(f"{kind}:{file}")
    assert str(error.value).endswith(
        f"config.json lies beside it: load the folder: 'hf:{tmp_path}'"
    )
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(HubError, match="names neither model_type nor architecture"):
        hub.load(f"{kind}:{file}")


def test_a_headless_checkpoint_needs_its_family_named(tmp_path):
    source = made()
    arrays = foreign_arrays(source, "resnet_cifar")
    arrays = {name: a for name, a in arrays.items() if not name.startswith("linear")}
    hub.write_safetensors(tmp_path / "a.safetensors", arrays)
    spec = f"safetensors:{tmp_path / 'a.safetensors'}"
    with pytest.raises(HubError, match="no head on purpose, say family='resnet_cifar'"):
        hub.load(spec)
    loaded = hub.load(spec, family="resnet_cifar")
    assert loaded.head is None
    assert not any(path.startswith("head/") for path in loaded.params)
    with pytest.raises(HubError, match=r"no mapping table 'resnet_cifer'; nearest: 'resnet_cifar'"):
        hub.load(spec, family="resnet_cifer")


def test_wide_bottlenecks_and_other_mobilenets_are_other_families(tmp_path):
    arrays = foreign_arrays(made("resnet_torchvision_bottleneck"), "resnet_torchvision")
    arrays["layer1.0.conv3.weight"] = np.zeros((8, 4, 1, 1), np.float32)
    hub.write_safetensors(tmp_path / "a.safetensors", arrays)
    with pytest.raises(HubError, match=r"layer1\.0\.conv3 goes from 4 to 8 channels"):
        hub.load(f"safetensors:{tmp_path / 'a.safetensors'}")
    arrays = foreign_arrays(made("mobilenet_v2_torchvision"), "mobilenet_v2_torchvision")
    arrays["features.3.conv.0.0.weight"] = np.zeros((24, 8, 1, 1), np.float32)
    hub.write_safetensors(tmp_path / "a.safetensors", arrays)
    with pytest.raises(HubError, match="24 channels out of 8, but stage 2 expands by 6"):
        hub.load(f"safetensors:{tmp_path / 'a.safetensors'}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet20.th", r"names no weights: write KIND:PATH .* as in 'torch:resnet20.th'"),
        ("tourch:a.th", "as in 'torch:a.th'"),
        ("torch:", "names no weights"),
        ("hug:bert", "write KIND:PATH"),
        ("torch:nowhere.th", "there is no weight file nowhere.th"),
        ("run:nowhere", "there is no run folder nowhere"),
    ],
)
def test_specs_that_name_nothing(tmp_path, monkeypatch, spec, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HubError, match=message):
        hub.load(spec)


def test_export_refuses_what_torch_code_would_compute_otherwise(tmp_path):
    name, fields = BODIES["resnet_cifar"]
    for change, reason in [
        ({"padding": "same"}, "padding='same'"),
        ({"norm": "group", "norm_groups": 2}, "norm='group'"),
        ({"stem": "small"}, "stem='small'"),
        ({"norm_epsilon": 1e-3}, "norm_epsilon=0.001"),
    ]:
        body = bodies.create(name, **fields | change)
        params, statistics = drawn(body)
        source = made(params=params, collections=statistics, body=bodies.describe(body))
        with pytest.raises(HubError, match=reason):
            hub.export_torch_names(source, tmp_path / "a.safetensors")
    head = heads.create("cosine", classes=3)
    params, statistics = drawn(bodies.create(name, **fields), head)
    source = made(params=params, head=heads.describe(head))
    with pytest.raises(HubError, match="only linear heads can be exported"):
        hub.export_torch_names(source, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_export_of_a_run(tmp_path):
    source = made()
    hub.save_model(tmp_path / "run", source)
    file = hub.export_torch_names(f"run:{tmp_path / 'run'}", tmp_path / "a.safetensors")
    assert_equal(hub.load(f"safetensors:{file}"), source)
    assert json.loads(hub.read_safetensors(file).aside["tlearn"])["label_names"][1] == "bee"


def test_sources_check_themselves():
    with pytest.raises(HubError, match="2 label names for 3 outputs"):
        made(label_names=("ant", "bee"))
    with pytest.raises(HubError, match="same label name"):
        made(label_names=("ant", "bee", "ant"))
    with pytest.raises(HubError, match="no config of the head"):
        made(head=None)
    assert "3 label names" in str(made())


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "logits", "tolerance"),
    [
        ("torch:w_resnet_cifar10/resnet20-12fca82f.th", "logits_resnet20", 1e-4),
        ("torch:w_resnet_cifar10/resnet32-d509ac18.th", "logits_resnet32", 1e-4),
        (
            "safetensors:w_mobilenet_v2_imagenet/mobilenet_v2_dequantized_fp16.safetensors",
            "logits",
            1e-3,
        ),
    ],
)
def test_real_weights_give_the_stored_logits(shared_data, tmp_path, file, logits, tolerance):
    kind, _, place = file.partition(":")
    source = hub.load(f"{kind}:{shared_data / place}")
    stored = np.load((shared_data / place).parent / "reference.npz")
    mean, std = np.float32(source.facts.mean), np.float32(source.facts.std)
    few = 2 if "mobilenet" in file else 10
    images = (stored["images_uint8_nhwc"][:few].astype(np.float32) / 255 - mean) / std
    model = Model(body=bodies.build(source.body), head=heads.build(source.head))
    given = jax.jit(model.apply)(variables(source.params, source.collections), images)
    assert np.abs(np.asarray(given) - stored[logits][:few]).max() <= tolerance
    if "mobilenet" in file:
        assert (source.label_index("ant"), source.label_index("bee")) == (310, 309)
        assert set(source.provenance["casts"].values()) == {"float16"}
        assert source.facts.crop == 0.875
    else:
        said = [source.label_names[i] for i in np.asarray(given).argmax(1)]
        assert sum(said == stored["classes"]) >= 7
    exported = hub.export_torch_names(source, tmp_path / "a.safetensors")
    assert hub.load(f"safetensors:{exported}").digest == source.digest
