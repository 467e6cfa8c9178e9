"""Stored models of transformers and timm give what torch gave, without torch.

The folders were made by `tests/fixtures/make_vision.py`.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies, heads, hub
from tlearn.model import Model, variables
from tlearn.params import flatten

FOLDER = Path(__file__).resolve().parents[1] / "fixtures" / "vision"
NEAR = 1e-5
# Hidden states that are stored; those of timm are compared in test_vision_parity.
STORED = {"hf_vit": 3, "hf_deit": 3, "hf_resnet": 3, "timm_vit": 0, "timm_resnet": 0}
NAMES = tuple(STORED)


def near(given, wanted):
    assert given.shape == wanted.shape
    return np.abs(np.asarray(given) - wanted).max() <= NEAR * np.abs(wanted).max()


@pytest.mark.parametrize("name", NAMES)
def test_outputs_hidden_states_and_the_gradient_through_all_layers(name):
    stored = np.load(FOLDER / name / "outputs.npz")
    source = hub.load(f"hf:{FOLDER / name}")
    body = bodies.build(source.body)
    model = Model(body=body, head=heads.build(source.head))
    state = variables(
        {path: np.asarray(value) for path, value in source.params.items()},
        {path: np.asarray(value) for path, value in source.collections.items()},
    )
    picture = jnp.asarray(stored["picture"])
    probe = np.random.default_rng(11).normal(size=stored["outputs"].shape).astype(np.float32)

    @jax.jit
    def compute(state):
        def loss(params):
            features, logits = model.apply({**state, "params": params}, picture, method="both")
            return (logits * probe).sum(), (features.layers, logits)

        grads, (layers, logits) = jax.grad(loss, has_aux=True)(state["params"])
        return flatten(grads), layers, logits

    grads, layers, logits = compute(state)
    assert near(logits, stored["outputs"])
    hidden = [stored[key] for key in stored.files if key.startswith("hidden_")]
    assert len(hidden) == STORED[name]
    for layer, wanted in zip(body.layer_names[: len(hidden)], hidden, strict=True):
        wanted = wanted.transpose(0, 2, 3, 1) if wanted.ndim == 4 else wanted
        assert near(layers[layer], wanted), layer
    first = {"vit": "body/embeddings/patches/kernel", "resnet": "body/stem/conv/kernel"}
    assert near(grads[first[source.body["family"]]], stored["gradient"])


def test_the_folders_are_small():
    for name in NAMES:
        assert sum(path.stat().st_size for path in (FOLDER / name).iterdir()) <= 200_000
