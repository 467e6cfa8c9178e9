"""Models are written whole or not at all, and read back only if nothing about them is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_loading import assert_equal, made

from tlearn import hub
from tlearn.hub import HubError, model_folder


def test_round_trip_from_the_run_or_its_model_folder(tmp_path):
    source = made(provenance={"spec": "torch:a.pt", "licence": "MIT"})
    place = hub.save_model(tmp_path / "run", source)
    assert place == tmp_path / "run" / "model"
    assert sorted(p.name for p in place.iterdir()) == ["model.json", "model.safetensors"]
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["model"]
    for folder in (tmp_path / "run", place):
        loaded = hub.load(f"run:{folder}")
        assert_equal(loaded, source)
        assert loaded.provenance["licence"] == "MIT"
        assert loaded.provenance["origin"]["spec"] == "torch:a.pt"
    names = hub.read_safetensors(place / "model.safetensors").arrays
    assert "params/body/stem/conv/kernel" in names
    assert "batch_stats/body/stem/norm/mean" in names


def test_a_body_alone(tmp_path):
    source = made()
    body = {path: a for path, a in source.params.items() if path.startswith("body/")}
    alone = made(params=body, head=None, label_names=None, facts=None)
    hub.save_model(tmp_path, alone)
    assert_equal(hub.load(f"run:{tmp_path}"), alone)


def test_saving_again_replaces_the_whole(tmp_path):
    old, new = made(), made("resnet_cifar_b")
    hub.save_model(tmp_path, old)
    hub.save_model(tmp_path, new)
    assert_equal(hub.load(f"run:{tmp_path}"), new)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def full_disk(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("when", ["weights", "json", "sync", "first rename", "second rename"])
def test_a_failed_save_leaves_the_good_model(tmp_path, monkeypatch, when):
    old = made()
    hub.save_model(tmp_path, old)
    with monkeypatch.context() as patch:
        if when == "weights":
            patch.setattr(model_folder, "write_safetensors", full_disk)
        elif when == "json":
            patch.setattr(Path, "write_text", full_disk)
        elif when == "sync":
            patch.setattr("os.fsync", full_disk)
        else:
            real, calls = Path.rename, []

            def rename(self, other):
                calls.append(self)
                if len(calls) == (1 if when == "first rename" else 2):
                    full_disk()
                return real(self, other)

            patch.setattr(Path, "rename", rename)
        with pytest.raises(HubError, match="No space left on device; what was there before is in"):
            hub.save_model(tmp_path, made("resnet_cifar_b"))
    assert_equal(hub.load(f"run:{tmp_path}"), old)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_what_a_kill_leaves_is_read_and_swept(tmp_path):
    old, new = made(), made("resnet_cifar_b")
    hub.save_model(tmp_path, old)
    # Killed between the two renames, with the new model not yet in place.
    (tmp_path / "model").rename(tmp_path / ".model-previous")
    (tmp_path / ".model-new-x").mkdir()
    assert_equal(hub.load(f"run:{tmp_path}"), old)
    hub.save_model(tmp_path, new)
    assert_equal(hub.load(f"run:{tmp_path}"), new)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def altered(tmp_path, change):
    hub.save_model(tmp_path, made())
    path = tmp_path / "model" / "model.json"
    described = json.loads(path.read_text())
    change(described)
    path.write_text(json.dumps(described))
    with pytest.raises(HubError) as error:
        hub.load(f"run:{tmp_path}")
    return str(error.value)


def put(*keys, value):
    def change(described):
        for key in keys[:-1]:
            described = described[key]
        described[keys[-1]] = value

    return change


ALTERED = {
    "format": (put("format", value=2), "has the format 2; this version reads 1"),
    "unknown key": (put("boddy", value=1), "unknown keys [\"'boddy' (nearest: ['body'])\"]"),
    "missing key": (lambda d: d.pop("facts"), "misses ['facts']"),
    "family": (put("body", "family", value="resnt"), "did you mean 'resnet'"),
    "field": (put("body", "dpeth", value=3), "unknown field of body 'resnet' 'dpeth'"),
    "body": (put("body", value=[1]), "the body's config is no dictionary"),
    "width": (put("body", "stage_widths", value=[4, 16]), "has the shape (8,), wanted (16,)"),
    "depth": (put("body", "stage_blocks", value=[1, 1]), "block_02/conv_1/kernel' is unknown"),
    "endless": (put("body", "stage_blocks", value=[10**5] * 2), "asks for 200000 blocks"),
    "endless stages": (put("body", "stage_widths", value=[1] * 20_000), "more than 10000 values"),
    "giant": (put("body", "stem_width", value=10**18), "holds the number 1e+18"),
    "classes": (put("head", "classes", value=4), "label names for 4 outputs"),
    "labels": (put("label_names", value=[1, 2, 3]), "label names must be a list of texts"),
    "label count": (put("label_names", value=["a"]), "1 label names for 3 outputs"),
    "facts": (put("facts", "std", value=[0, 1, 1]), "facts are impossible: "),
    "fact keys": (put("facts", value={"mean": 1}), "facts need exactly the keys"),
    "provenance": (put("provenance", value=3), "provenance must be a dictionary"),
    "known labels": (put("provenance", value={"known_labels": {"x": 1}}), "known_labels must map"),
    "weights": (put("weights_sha256", value="0" * 64), "is not the file that was saved"),
}


@pytest.mark.parametrize("case", ALTERED)
def test_altered_descriptions_are_named(tmp_path, case):
    change, message = ALTERED[case]
    if case == "classes":
        message = "wanted (4,)"
    assert message in altered(tmp_path, change)


def test_torn_and_foreign_folders(tmp_path):
    hub.save_model(tmp_path / "run", made())
    weights = tmp_path / "run" / "model" / "model.safetensors"
    whole = weights.read_bytes()
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    weights.write_bytes(flipped)
    with pytest.raises(HubError, match="is not the file that was saved"):
        hub.load(f"run:{tmp_path / 'run'}")
    weights.write_bytes(whole[:-1])
    with pytest.raises(HubError, match="is no sound safetensors file"):
        hub.load(f"run:{tmp_path / 'run'}")
    weights.write_bytes(whole)
    (tmp_path / "run" / "model" / "model.json").write_text("[" * 100_000)
    with pytest.raises(HubError, match="nested too deeply"):
        hub.load(f"run:{tmp_path / 'run'}")
    with pytest.raises(HubError, match=r"no run folder .*rum; nearest: run"):
        hub.load(f"run:{tmp_path / 'rum'}")
    with pytest.raises(
        HubError, match=r"is no run folder with a model: it needs model/model\.safe"
    ):
        hub.load(f"run:{tmp_path}")
    with pytest.raises(HubError, match="load it with 'run:"):
        hub.load(f"safetensors:{weights}")


def test_names_outside_the_model_are_refused(tmp_path):
    source = made()
    hub.save_model(tmp_path, source)
    weights = tmp_path / "model" / "model.safetensors"
    arrays = dict(hub.read_safetensors(weights).arrays)
    arrays["optimizer/step"] = np.zeros(1)
    hub.write_safetensors(weights, arrays)
    path = tmp_path / "model" / "model.json"
    described = json.loads(path.read_text())
    del described["weights_sha256"]
    path.write_text(json.dumps(described))
    with pytest.raises(HubError, match="'optimizer/step' begins with neither params/ nor batch_"):
        hub.load(f"run:{tmp_path}")
