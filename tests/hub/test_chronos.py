"""A real T5 (Chronos-Bolt, a time-series model): its stacks, its forecast, its stored outputs.

The stored inputs and outputs are those of an independent implementation. No text goes in: the
stacks read vectors.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies, hub
from tlearn.params import unflatten

pytestmark = pytest.mark.data
CONTEXT, PATCH, QUANTILES, AHEAD = 512, 16, 9, 64


@pytest.fixture(scope="module")
def folder(shared_data):
    return shared_data / "w_chronos_bolt_t5"


@pytest.fixture(scope="module")
def reference(folder):
    with np.load(folder / "reference.npz") as held:
        return {name: held[name] for name in held if name != "note"}


@pytest.fixture(scope="module")
def source(folder):
    return hub.load(f"hf:{folder}")


@pytest.fixture(scope="module")
def forward(source):
    """Both stacks on vectors: (encoder's inputs, decoder's inputs) to features."""
    body = bodies.build(source.body)
    params = unflatten({p: np.asarray(a) for p, a in source.params.items()})["body"]

    @jax.jit
    def run(x, y):
        real = [jnp.ones(v.shape[:2], jnp.int32) for v in (x, y)]
        return body.apply(
            {"params": params}, None, real[0], None, real[1], embedded=x, decoder_embedded=y
        )

    return run


def close(found, wanted):
    assert np.abs(np.asarray(found) - wanted).max() <= 1e-5 * np.abs(wanted).max()


def own_end(arrays, name, x):
    """The checkpoint's own ends: a hidden layer, an output layer, and a linear way past both."""

    def affine(part, x):
        weight, bias = (np.asarray(arrays[f"{name}.{part}.{kind}"]) for kind in ("weight", "bias"))
        return x @ weight.T + bias

    hidden = np.maximum(affine("hidden_layer", x), 0)
    return affine("output_layer", hidden) + affine("residual_layer", x)


def test_it_is_a_t5_and_what_is_not_is_told(source):
    assert source.body["family"] == "t5"
    assert (source.body["depth"], source.body["decoder_depth"]) == (1, 1)
    assert source.head is None
    # 344,640 are published; 229,120 of them are the patch embedding and the output head.
    assert sum(array.size for array in source.params.values()) == 344_640 - 229_120
    assert any("output_patch_embedding" in note for note in source.provenance["assumed"])


def test_both_stacks_reproduce_the_stored_outputs(forward, reference):
    features = forward(reference["inputs_embeds"], reference["decoder_inputs_embeds"])
    close(features.layers["encoder_final"], reference["encoder_last_hidden"])
    close(features.sequence, reference["decoder_last_hidden"])


def test_the_whole_forecast_comes_out_from_the_series_alone(folder, source, forward, reference):
    arrays = hub.read_safetensors(folder / "model.safetensors").arrays
    context = reference["series"][:, :CONTEXT]
    mean = context.mean(1, keepdims=True)
    scale = context.std(1, keepdims=True)
    patches = ((context - mean) / scale).reshape(len(context), -1, PATCH)
    seen = np.ones_like(patches)
    x = own_end(arrays, "input_patch_embedding", np.concatenate([patches, seen], -1))
    words = np.asarray(source.params["body/embeddings/tokens/embedding"])
    start, end = (np.broadcast_to(words[i], (len(x), 1, words.shape[1])) for i in (0, 1))
    features = forward(np.concatenate([x, end], 1), start)
    made = own_end(arrays, "output_patch_embedding", np.asarray(features.sequence))
    made = made.reshape(len(x), QUANTILES, AHEAD) * scale[..., None] + mean[..., None]
    close(made, reference["forecast_quantiles"])
    median, truth = made[0, QUANTILES // 2], reference["series"][0, CONTEXT:]
    assert np.corrcoef(median, truth)[0, 1] > 0.99


def test_tokens_and_vectors_are_not_given_at_once(source):
    body = bodies.build(source.body)
    one = jnp.ones((1, 2), jnp.int32)
    with pytest.raises(ValueError, match="either tokens or their vectors"):
        body.init(jax.random.key(0), one, one, one, one, embedded=jnp.zeros((1, 2, 64)))
    with pytest.raises(ValueError, match=r"decoder_tokens .* got neither"):
        body.init(jax.random.key(0), one, one)
