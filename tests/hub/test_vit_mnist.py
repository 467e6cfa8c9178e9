"""A real vision transformer with an odd attention scale and a head of its own.

Measured once with the slow test: 9794 of MNIST's 10,000 test pictures, as published with it.
"""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from tlearn import bodies, heads, hub
from tlearn.data.idx import read_idx
from tlearn.hub.tables.vit_pytorch import FAMILY
from tlearn.model import Model, variables

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def folder(shared_data):
    return shared_data / "w_vit_mnist"


@pytest.fixture(scope="module")
def logits(folder):
    source = hub.load(str(folder))
    model = Model(body=bodies.build(source.body), head=heads.build(source.head))
    state = variables({path: np.asarray(value) for path, value in source.params.items()}, {})
    mean, std = source.facts.mean[0], source.facts.std[0]

    @jax.jit
    def compute(images):
        x = images.astype(np.float32)[..., None] / 255
        return model.apply(state, (x - mean) / std)

    return compute


def test_what_the_arrays_cannot_show_is_read_from_the_config(folder):
    source = hub.load(str(folder))
    assert source.body["attention_scale"] == 0.125
    assert (source.body["heads"], source.body["norm"]) == (8, "none")
    assert source.head["family"] == "mlp"
    assert source.head["activation"] == "gelu"
    assert source.facts.mean == (0.1307,)
    assert sum(value.size for value in source.params.values()) == 213_642


def test_stored_logits(folder, logits):
    stored = np.load(folder / "reference.npz")
    given = logits(stored["images_uint8"])
    assert np.abs(given - stored["logits"]).max() <= 1e-5 * np.abs(stored["logits"]).max()


def test_the_config_is_written_and_read_again(folder):
    config = json.loads((folder / "config.json").read_text())
    raw = hub.read_torch(folder / "vit_mnist.pth").arrays
    shapes = {name: tuple(array.shape) for name, array in raw.items()}
    described = FAMILY.describe(config, shapes)
    full = bodies.describe(bodies.build(described.body))
    written = FAMILY.write(dataclasses.replace(described, body=full))
    assert FAMILY.describe(written, shapes) == described


def test_contradictions_are_named_all_at_once(folder, tmp_path):
    shutil.copy(folder / "vit_mnist.pth", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config |= {"pool": "mean", "attention_scale": "odd", "heads": 0, "final_norm": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(hub.HubError) as error:
        hub.load(str(tmp_path))
    for part in ("pool='mean'", "attention_scale is", "heads must be", "final_norm=True"):
        assert part in str(error.value)


@pytest.mark.slow
def test_accuracy_on_all_test_pictures(shared_data, logits):
    images = read_idx(shared_data / "mnist" / "t10k-images-idx3-ubyte.gz")
    labels = read_idx(shared_data / "mnist" / "t10k-labels-idx1-ubyte.gz")
    assert len(images) == 10_000
    guessed = [np.asarray(logits(images[i : i + 500])).argmax(1) for i in range(0, 10_000, 500)]
    assert (np.concatenate(guessed) == labels).sum() == 9794
