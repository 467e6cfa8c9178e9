"""What vision folders' configs say, and what is refused by name; positions resized by name."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tlearn import bodies, hub
from tlearn.bodies import ImageFacts
from tlearn.hub.image_facts import (
    facts_from_preprocessor,
    facts_from_timm,
    preprocessor_from_facts,
    timm_from_facts,
)
from tlearn.hub.tables.folders import hf_family, timm_family

FOLDER = Path(__file__).resolve().parents[1] / "fixtures" / "vision"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def prepared(**config):
    return facts_from_preprocessor(json.dumps(config).encode())


def test_preprocessors_of_every_spelling():
    vit, assumed = prepared(
        size={"height": 224, "width": 224}, resample=2, image_mean=[0.5] * 3, image_std=[0.5] * 3,
        rescale_factor=0.00392156862745098,
    )  # fmt: skip
    assert vit == ImageFacts(mean=(0.5,) * 3, std=(0.5,) * 3, size=224)
    assert "squashed" in assumed[0]
    deit, assumed = prepared(
        size={"shortest_edge": 256}, do_center_crop=True, crop_size={"height": 224, "width": 224},
        resample=3, image_mean=MEAN, image_std=STD,
    )  # fmt: skip
    assert (deit.size, deit.crop, deit.interpolation) == (224, 0.875, "bicubic")
    assert assumed == ()
    resnet, _ = prepared(
        size={"shortest_edge": 224}, crop_pct=0.875, resample=3, image_mean=MEAN, image_std=STD
    )
    assert (resnet.size, resnet.crop) == (224, 0.875)
    old, _ = prepared(size=384, do_normalize=False, image_mean=MEAN, image_std=STD)
    assert (old.mean, old.std, old.size) == ((0.0,) * 3, (1.0,) * 3, 384)


def test_scales_other_than_0_to_1_are_turned_into_ours():
    """x · k, then (x − m) / s, is (u − m/K) / (s/K) of u = x / 255 with K = 255 k."""
    facts, _ = prepared(size=8, rescale_factor=1 / 127.5, image_mean=[1.0], image_std=[2.0])
    x = 200.0
    there = (x / 127.5 - 1.0) / 2.0
    assert (x / 255 - facts.mean[0]) / facts.std[0] == pytest.approx(there)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"size": {"height": 224, "width": 192}}, "224x192"),
        ({"size": 224, "resample": 9}, "resample is one of"),
        ({"size": 224, "image_mean": [0.5], "image_std": [0.0]}, "std must be positive"),
        ({"size": {"sides": 3}}, "cannot be right"),
    ],
)
def test_impossible_preprocessors_are_refused(config, message):
    with pytest.raises(hub.HubError, match=message):
        prepared(**config)


@pytest.mark.parametrize("crop", [1.0, 0.875])
def test_facts_are_written_and_read_again(crop):
    facts = ImageFacts(
        mean=tuple(MEAN), std=tuple(STD), size=224, crop=crop, interpolation="bicubic"
    )
    assert prepared(**preprocessor_from_facts(facts)) == (facts, ())
    assert facts_from_timm({"pretrained_cfg": timm_from_facts(facts)}) == (facts, ())


def load_with(tmp_path, name, changes, **files):
    folder = tmp_path / "folder"
    shutil.copytree(FOLDER / name, folder)
    config = json.loads((folder / "config.json").read_text())
    for key, value in changes.items():
        place = config
        *above, last = key.split("/")
        for part in above:
            place = place.setdefault(part, {})
        place[last] = value
    (folder / "config.json").write_text(json.dumps(config))
    for file, content in files.items():
        (folder / file.replace("__", ".")).write_text(json.dumps(content))
    return hub.load(f"hf:{folder}")


REFUSED = {
    "activation": ("hf_vit", {"hidden_act": "gellu"}, r"hidden_act='gellu'.*nearest: 'gelu'"),
    "oblong": ("hf_vit", {"image_size": [8, 12]}, "8x12: only squares"),
    "labels": ("hf_vit", {"id2label": {"0": "cat"}}, "names 1 labels, but the head has 5"),
    "size": ("hf_vit", {"image_size": 16}, r"positions.*\(1, 5, 16\).*\(1, 17, 16\)"),
    "width": ("hf_vit", {"hidden_size": 32}, r"shape \(16,\), wanted \(32,\)"),
    "stride": ("hf_resnet", {"downsample_in_bottleneck": True}, "stride in their first"),
    "first": ("hf_resnet", {"downsample_in_first_stage": True}, "first stage halves"),
    "clip": ("timm_vit", {"architecture": "vit_base_patch16_clip_224"}, "no clip, siglip"),
    "registers": ("timm_vit", {"model_args/reg_tokens": 4}, "reg_tokens=4"),
    "argument": ("timm_vit", {"model_args/num_haeds": 4}, "unknown argument 'num_haeds'"),
    "pool": ("timm_vit", {"model_args/global_pool": "map"}, "global_pool='map'"),
    "stem": ("timm_resnet", {"architecture": "resnet50d"}, "stem of three convolutions and"),
    "reduce": ("timm_resnet", {"model_args/block_reduce_first": 2}, "block_reduce_first=2"),
    "unknown": ("timm_resnet", {"architecture": "efficientnet_b0"}, "no family known here"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_change_the_function_is_refused_by_name(tmp_path, name):
    folder, changes, message = REFUSED[name]
    with pytest.raises(hub.HubError, match=f"(?s){message}"):
        load_with(tmp_path, folder, changes)


def test_labels_and_preparation_travel(tmp_path):
    names = ["cat", "dog", "bee", "ant", "fox"]
    source = load_with(
        tmp_path,
        "hf_vit",
        {"id2label": {str(i): name for i, name in enumerate(names)}},
        preprocessor_config__json={"size": 8, "image_mean": MEAN, "image_std": STD, "resample": 3},
    )
    assert source.label_names == tuple(names)
    assert source.facts.interpolation == "bicubic"
    assert source.facts.size == 8
    other = load_with(tmp_path / "other", "hf_vit", {}, preprocessor_config__json={"size": 16})
    assert other.facts.size == other.body["image_size"] == 8
    assert any("the body takes 8" in line for line in other.provenance["assumed"])
    timm = hub.load(f"hf:{FOLDER / 'timm_vit'}")
    assert (timm.facts.size, timm.facts.crop, timm.facts.mean) == (16, 0.9, (0.5, 0.5, 0.5))


@pytest.mark.parametrize("name", ["hf_vit", "hf_deit", "hf_resnet", "timm_vit", "timm_resnet"])
def test_a_written_config_describes_the_same(name):
    config = json.loads((FOLDER / name / "config.json").read_text())
    arrays = hub.read_safetensors(FOLDER / name / "model.safetensors").arrays
    shapes = {key: tuple(value.shape) for key, value in arrays.items()}
    if name.startswith("timm"):
        family = timm_family(config["architecture"])
    else:
        family = hf_family(config["model_type"])
    first = family.describe(config, shapes)
    described = family.describe(config | family.write(_full(first)), shapes)
    assert described == first


def _full(described):
    import dataclasses

    body = bodies.describe(bodies.build(described.body))
    return dataclasses.replace(described, body=body)


def test_positions_are_resized_by_name_and_only_so(tmp_path):
    source = hub.load(f"hf:{FOLDER / 'hf_deit'}")
    table = "body/embeddings/positions"
    old = np.asarray(source.params[table])
    shapes = {path: np.zeros(value.shape, np.float32) for path, value in source.params.items()}
    shapes[table] = np.zeros((1, 2 + 9, old.shape[2]), np.float32)
    with pytest.raises(hub.HubError, match=r"resize=\[.*'position_grid'\)\] resizes"):
        hub.reconcile(source, shapes, {})
    params, _, report = hub.reconcile(source, shapes, {}, resize=[(table, "position_grid")])
    new = np.asarray(params[table])
    np.testing.assert_array_equal(new[:, :2], old[:, :2])
    # The middle of 3x3 lies in the middle of 2x2.
    np.testing.assert_allclose(new[0, 2 + 4], old[0, 2:].mean(0), atol=1e-6)
    assert report.paths("resized") == (table,)
    for shape, message in (((1, 10, 16), "must be squares"), (old.shape, "positions already")):
        shapes[table] = np.zeros(shape, np.float32)
        with pytest.raises(hub.HubError, match=message):
            hub.reconcile(source, shapes, {}, resize=[(table, "position_grid")])
    shapes[table] = np.zeros((1, 11, 16), np.float32)
    with pytest.raises(hub.HubError, match="mode is"):
        hub.reconcile(source, shapes, {}, resize=[(table, "position_grid", "nearest")])
