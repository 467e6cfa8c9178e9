"""Stored GPTs and T5s of transformers: loaded without torch, they compute and generate the same.

tests/fixtures/make_hf_decoders.py made them.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from entering import WATCH, entering

from tlearn import Model, bodies, heads, hub
from tlearn.generation import greedy
from tlearn.params import unflatten

FIXTURES = Path(__file__).parents[1] / "fixtures"
# Hidden states that are stored, of the last stack; a T5 encoder's are compared in test_hf_decoders.
STORED = {"hf_gpt": 3, "hf_gpt2": 3, "hf_t5": 3, "hf_t5_gated": 2}
LIMIT = 200_000


@pytest.mark.parametrize("name", STORED)
def test_logits_states_and_fifty_greedy_tokens_are_the_stored_ones(name):
    source = hub.load(f"hf:{FIXTURES / name}")
    model = Model(body=bodies.build(source.body), head=heads.build(source.head))
    with np.load(FIXTURES / name / "outputs.npz") as held:
        stored = dict(held)
    given = [jnp.asarray(stored[part]) for part in model.body.inputs]
    tree = unflatten({path: np.asarray(array) for path, array in source.params.items()})
    (features, logits), captured = jax.jit(
        lambda p, *x: model.apply({"params": p}, *x, method="both", **WATCH)
    )(tree, *given)
    real = np.asarray(given[-1]) > 0
    layers = [layer for layer in features.layers if not layer.startswith("encoder")]
    blocks = sorted(layer for layer in layers if "block" in layer)
    last = next((layer for layer in layers if layer.endswith("final")), blocks[-1])
    states = {f"hidden_{i + 1}": layer for i, layer in enumerate([*blocks[:-1], last])}
    found = {key: features.layers[layer] for key, layer in states.items()}
    found["hidden_0"] = entering(captured)[-1]
    assert len(found) == STORED[name]
    found["logits"] = logits
    assert set(stored) == {*found, *model.body.inputs, "made"}
    for key, value in found.items():
        wanted = stored[key][real]
        difference = np.abs(np.asarray(value)[real] - wanted).max()
        assert difference <= 1e-5 * np.abs(wanted).max(), key
    made = greedy(model, source.params, *given[:2], steps=stored["made"].shape[1])
    assert made.tokens.shape == (4, 50)
    np.testing.assert_array_equal(made.tokens, stored["made"])


@pytest.mark.parametrize("name", STORED)
def test_the_fixtures_stay_small(name):
    sizes = [path.stat().st_size for path in (FIXTURES / name).iterdir()]
    assert sum(sizes) <= LIMIT
