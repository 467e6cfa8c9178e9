"""Stored encoders of transformers load by one spec and compute what was stored, without torch.

tests/fixtures/make_hf_encoders.py made them.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies, heads, hub
from tlearn.params import unflatten

FIXTURES = Path(__file__).parents[1] / "fixtures"
NAMES = ("hf_bert", "hf_roberta", "hf_distilbert", "hf_albert", "hf_electra")


def close(got, want, real):
    assert got.shape == want.shape
    error = np.abs(got - want)
    scale = np.abs(want).max()
    assert (error[real] if got.shape[:2] == real.shape else error).max() <= 1e-5 * scale


@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_hidden_states_are_the_stored_ones(name):
    source = hub.load(f"hf:{FIXTURES / name}")
    stored = np.load(FIXTURES / name / "outputs.npz")
    inputs = [jnp.asarray(stored[entry]) for entry in ("tokens", "segments", "types")]
    body, head = bodies.build(source.body), heads.build(source.head)

    @jax.jit
    def compute(flat):
        tree = unflatten(flat)
        features = body.apply({"params": tree["body"]}, *inputs, train=False)
        found = head.apply({"params": tree["head"]}, features, train=False)
        return found if isinstance(found, dict) else {"logits": found}, features.layers

    outputs, layers = compute({path: np.asarray(x) for path, x in source.params.items()})
    real = stored["segments"] > 0
    for part, value in outputs.items():
        close(value, stored[part], real)
    if source.body["family"] == "albert":
        # Its two groups of two blocks are applied once each: every second hidden state.
        states = {"embeddings": "hidden_0", "group_00": "hidden_2", "group_01": "hidden_4"}
    else:
        blocks = [layer for layer in body.layer_names if layer != "pooler"]
        states = {layer: f"hidden_{i}" for i, layer in enumerate(blocks)}
    for layer, key in states.items():
        close(layers[layer], stored[key], real)


def test_labels_and_dropout_travel():
    albert = hub.load(f"hf:{FIXTURES / 'hf_albert'}", read=False)
    assert albert.label_names == ("bad", "so-so", "good")
    assert albert.head is not None
    assert albert.head["dropout"] == 0.1
    roberta = hub.load(f"hf:{FIXTURES / 'hf_roberta'}", read=False)
    assert roberta.body["position_offset"] == 2
    assert roberta.body["pooling"] == "first"
    assert (roberta.head or {})["activation"] == "tanh"


@pytest.mark.parametrize("name", NAMES)
def test_export_writes_the_same_bytes_of_weights(name, tmp_path):
    source = hub.load(f"hf:{FIXTURES / name}")
    hub.export_folder(source, tmp_path / "out")
    there = hub.read_safetensors(FIXTURES / name / "model.safetensors").arrays
    back = hub.read_safetensors(tmp_path / "out" / "model.safetensors").arrays
    assert back.keys() == there.keys()
    assert all(np.array_equal(back[path], there[path]) for path in there)
