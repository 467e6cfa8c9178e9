"""GPT, GPT-2 and T5 against transformers: outputs, hidden states, gradients, and back again.

Tried with the breaks: exact GELU for ``gelu_new``, T5's head unscaled, the query and value parts of
the fused kernel exchanged, positions counted over left padding; each fails here.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies, heads, hub
from tlearn.generation import greedy
from tlearn.hub.mapping import apply, invert
from tlearn.hub.source import tagged
from tlearn.hub.tables.folders import hf_family
from tlearn.model import Model
from tlearn.params import flatten, unflatten

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

import decoder_peers as peers  # noqa: E402
from entering import WATCH, entering  # noqa: E402

GATED = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
ODD = {"relative_attention_num_buckets": 9, "relative_attention_max_distance": 7}
CASES = {
    "gpt2": ("GPT2LMHeadModel", {}, "right"),
    "gpt2-options": (
        "GPT2LMHeadModel",
        {
            "tie_word_embeddings": False,
            "scale_attn_by_inverse_layer_idx": True,
            "reorder_and_upcast_attn": True,
            "activation_function": "relu",
            "n_inner": 37,
            "layer_norm_epsilon": 1e-3,
            "n_layer": 3,
        },
        "left",
    ),
    "gpt2-classes": ("GPT2ForSequenceClassification", {"scale_attn_weights": False}, "left"),
    "gpt": ("OpenAIGPTLMHeadModel", {}, "left"),
    "t5": ("T5ForConditionalGeneration", {}, "right"),
    "t5-gated": ("T5ForConditionalGeneration", GATED | ODD, "left"),
    "t5-classes": ("T5ForSequenceClassification", {}, "right"),
}
MORE = {
    "t5-encoder": ("T5EncoderModel", {"feed_forward_proj": "gated-silu"}, "left"),
    "gpt-classes": ("OpenAIGPTForSequenceClassification", {"afn": "silu"}, "right"),
    "gpt2-body": ("GPT2Model", {"n_layer": 1, "n_head": 1}, "right"),
    "gpt2-tags": ("GPT2ForTokenClassification", {"n_embd": 40, "n_head": 5}, "left"),
    "gpt2-span": ("GPT2ForQuestionAnswering", {"activation_function": "gelu"}, "right"),
    "gpt-body": ("OpenAIGPTModel", {"afn": "relu", "n_embd": 40, "n_head": 5}, "right"),
    "gpt-untied": ("OpenAIGPTLMHeadModel", {"tie_word_embeddings": False}, "none"),
    "t5-body": ("T5Model", ODD | {"num_decoder_layers": 1, "feed_forward_proj": "gelu"}, "left"),
    "t5-tags": ("T5ForTokenClassification", {"d_kv": 8}, "right"),
    "t5-span": ("T5ForQuestionAnswering", {"num_labels": 2}, "right"),
    "t5-tied-gated": (
        "T5ForConditionalGeneration",
        {"feed_forward_proj": "gated-relu", "relative_attention_num_buckets": 64},
        "left",
    ),
}
# Of every class and padding, those that the default suite tries too.
DRAWN = {("gpt-body", "right"), ("gpt2-tags", "left"), ("t5-tied-gated", "none")}


def inputs_of(body, model_class, padding):
    tokens, segments = peers.tokens_and_segments(padding)
    if model_class == "T5ForSequenceClassification":
        # This class reads the place of the end token, and wants one in every row.
        last = (segments.cumsum(1) == segments.sum(1, keepdims=True)) & (segments > 0)
        tokens = np.where(last, 1, tokens).astype(np.int32)
    inputs = {"tokens": tokens, "segments": segments}
    if "decoder_tokens" in body.inputs:
        side = "right" if padding == "right" else "none"
        again = peers.tokens_and_segments(side, length=9, seed=6)
        inputs |= dict(zip(("decoder_tokens", "decoder_segments"), again, strict=True))
    return inputs


def assert_close(found, wanted, what, least=0.0):
    wanted = np.asarray(wanted)
    scale = max(np.abs(wanted).max(), least)
    difference = np.abs(np.asarray(found) - wanted).max()
    assert difference <= 1e-5 * scale, f"{what}: {difference / scale:.2e}"


def output_of(found):
    """The logits, however the class calls them; a body's last states."""
    if hasattr(found, "start_logits"):
        return torch.stack([found.start_logits, found.end_logits], -1)
    return found.logits if hasattr(found, "logits") else found.last_hidden_state


def compare(model_class, changes, padding, folder):
    theirs = peers.build(model_class, **changes)
    source = hub.load(f"hf:{peers.save(theirs, folder)}")
    body = bodies.build(source.body)
    inputs = inputs_of(body, model_class, padding)
    arrays = [jnp.asarray(inputs[name]) for name in body.inputs]
    found = peers.run(theirs, inputs)
    wanted = output_of(found)
    real = inputs.get("decoder_segments", inputs["segments"]) > 0
    mask = real if wanted.ndim == 3 else np.ones(len(wanted), bool)
    weight = np.random.default_rng(0).standard_normal(wanted.shape).astype(np.float32)
    weight = weight * mask.reshape(mask.shape + (1,) * (wanted.ndim - mask.ndim)) / mask.sum()
    (wanted * torch.tensor(weight)).sum().backward()

    def loss(params):
        if source.head is None:
            features, captured = body.apply({"params": params["body"]}, *arrays, **WATCH)
            out = features.sequence
        else:
            model = Model(body=body, head=heads.build(source.head))
            (features, out), captured = model.apply(
                {"params": params}, *arrays, method="both", **WATCH
            )
        return (out * weight).sum(), (features, out, entering(captured))

    params = unflatten({path: jnp.asarray(np.asarray(a)) for path, a in source.params.items()})
    compute = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (_, (features, out, entered)), gradient = compute(params)
    assert_close(np.asarray(out)[mask], wanted.detach().numpy()[mask], "outputs")
    compared = check_states(found, features, entered, inputs)
    depths = [getattr(body, name, 0) for name in ("depth", "decoder_depth")]
    assert compared == sum(depth + 1 for depth in depths if depth)
    # Gradients go through the same table as the weights.
    described = described_of(theirs, folder)
    table = hf_family(theirs.config.model_type).table(described)
    mapped = apply(table, peers.gradients_of(theirs))
    largest = max(np.abs(value).max() for value in mapped.values())
    for path, value in flatten(gradient).items():
        # What hardly matters is measured by what does; a bias of keys, by rounding alone, not at
        # all: it moves all scores of a query alike.
        nothing = path.endswith("attention/key/bias")
        least = largest if nothing else 1e-2 * largest
        assert_close(value, mapped[f"params/{path}"], path, least=least)
    return theirs, source


def described_of(model, folder):
    import json

    raw = hub.read_safetensors(folder / "model.safetensors").arrays
    config = json.loads((folder / "config.json").read_text())
    shapes = {name: tuple(array.shape) for name, array in raw.items()}
    return hf_family(model.config.model_type).describe(config, shapes)


def check_states(found, features, entered, inputs):
    """Compares every state of every stack, and counts them."""
    compared = 0
    stacks = {"": ("hidden_states", "segments")}
    if any(name.startswith("decoder") for name in features.layers):
        stacks = {
            "encoder_": ("encoder_hidden_states", "segments"),
            "decoder_": ("decoder_hidden_states", "decoder_segments"),
        }
    elif any(name.startswith("encoder") for name in features.layers):
        stacks = {"encoder_": ("hidden_states", "segments")}
    for first, (prefix, (attribute, segments)) in zip(entered, stacks.items(), strict=True):
        states = getattr(found, attribute, None)
        assert states is not None
        blocks = sorted(name for name in features.layers if name.startswith(f"{prefix}block"))
        # Their last state is the normalised one, where there is a last normalisation.
        final = f"{prefix}final"
        names = [*blocks[:-1], final if final in features.layers else blocks[-1]]
        mask = inputs.get(segments, inputs["segments"]) > 0
        ours = {f"{prefix}embeddings": first} | {name: features.layers[name] for name in names}
        for (name, value), state in zip(ours.items(), states, strict=True):
            assert_close(np.asarray(value)[mask], state.detach().numpy()[mask], name)
            compared += 1
        if prefix != "decoder_":
            np.testing.assert_array_equal(features.layers["embeddings"], first)
    return compared


@pytest.mark.parametrize("name", CASES)
def test_outputs_states_and_gradients_are_those_of_transformers(name, tmp_path):
    compare(*CASES[name], tmp_path)


@pytest.mark.parametrize(
    ("name", "padding"),
    [
        pytest.param(n, p, marks=[pytest.mark.slow] * ((n, p) not in DRAWN))
        for n in CASES | MORE
        for p in ("none", "left", "right")
    ],
)
def test_the_same_for_every_class_and_padding(name, padding, tmp_path):
    model_class, changes, _ = (CASES | MORE)[name]
    if name in ("t5-classes", "t5-span") and padding == "left":
        pytest.skip("transformers lets the decoder see the padding on the left")
    compare(model_class, changes, padding, tmp_path)


@pytest.mark.parametrize("name", ["gpt2-options", "gpt-classes", "t5-gated", "t5-classes"])
def test_what_comes_in_goes_out_bit_for_bit_and_transformers_reads_it(name, tmp_path):
    model_class, changes, padding = (CASES | MORE)[name]
    theirs = peers.build(model_class, **changes)
    folder = peers.save(theirs, tmp_path / "there")
    source = hub.load(f"hf:{folder}")
    family, described = hf_family(theirs.config.model_type), described_of(theirs, folder)
    raw = hub.read_safetensors(folder / "model.safetensors").arrays
    back = invert(family.table(described), tagged(source.params, source.collections))
    assert back.keys() == raw.keys()
    assert all(np.array_equal(back[key], raw[key]) for key in raw)
    shapes = {key: tuple(array.shape) for key, array in raw.items()}
    assert family.describe(family.write(described), shapes) == described

    again = hub.export_folder(source, tmp_path / "again")
    returned = type(theirs).from_pretrained(again, attn_implementation="eager").eval()
    inputs = inputs_of(bodies.build(source.body), model_class, padding)
    with torch.no_grad():
        wanted, found = (output_of(peers.run(m, inputs)) for m in (theirs, returned))
    np.testing.assert_array_equal(found.numpy(), wanted.numpy())
    assert hub.load(f"hf:{again}").digest == source.digest


GENERATING = {
    "gpt2": ("GPT2LMHeadModel", {"n_positions": 64}, "left"),
    "gpt": ("OpenAIGPTLMHeadModel", {"n_positions": 64, "tie_word_embeddings": False}, "left"),
    # With more decoder than encoder blocks, transformers' own cache fails.
    "t5": ("T5ForConditionalGeneration", {"num_decoder_layers": 2, "scale": 0.25}, "right"),
    "t5-gated": ("T5ForConditionalGeneration", GATED | {"num_decoder_layers": 1}, "left"),
}


# The stored models (test_hf_decoder_fixtures) generate with all four.
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n in ("gpt", "t5"))) for n in GENERATING],
)
def test_fifty_greedy_tokens_are_those_of_generate(name, tmp_path):
    model_class, changes, padding = GENERATING[name]
    theirs = peers.build(model_class, **changes)
    source = hub.load(f"hf:{peers.save(theirs, tmp_path)}")
    model = Model(body=bodies.build(source.body), head=heads.build(source.head))
    tokens, segments = peers.tokens_and_segments(padding)
    wanted = peers.generate(theirs, tokens, segments, 50)
    found = greedy(model, source.params, tokens, segments, steps=50)
    assert wanted.shape == (4, 50)
    np.testing.assert_array_equal(found.tokens, wanted)
    # And the same end: a token that one row makes early.
    end = int(wanted[-1, 3])
    wanted = peers.generate(theirs, tokens, segments, 50, end)
    found = greedy(model, source.params, tokens, segments, steps=50, ends=(end,))
    np.testing.assert_array_equal(np.asarray(found.tokens)[:, : wanted.shape[1]], wanted)
    assert int(found.lengths[-1]) <= 4


REFUSED = {
    "two heads": ("GPT2DoubleHeadsModel", {}, {}, r"DoubleHeadsModel.*multiple_choice_head"),
    "an encoder beside": (
        "GPT2Model",
        {},
        {"add_cross_attention": True, "activation_function": "gelu_nwe"},
        r"add_cross_attention=True.*'gelu_nwe' is no activation.*nearest: 'gelu_new'",
    ),
    "fewer blocks": (
        "OpenAIGPTModel",
        {},
        {"n_layer": 3},
        r"n_layer=3, but the names count \[0, 1\]",
    ),
    "an end beyond the vocabulary": ("GPT2Model", {}, {"eos_token_id": 61}, "eos is token 61"),
    "a decoder alone": ("T5Model", {}, {"is_decoder": True, "d_kv": 0}, r"is_decoder=True.*d_kv"),
    "no gate": ("T5Model", {}, {"is_gated_act": True}, "is_gated_act=True contradicts"),
    "labels": (
        "T5ForSequenceClassification",
        {},
        {"id2label": {"0": "a", "1": "b"}},
        "id2label must name the 3 outputs",
    ),
    "a head that is gone": (
        "T5Model",
        {},
        {"architectures": ["T5ForSequenceClassification"]},
        "classification_head",
    ),
    "an own head that is gone": (
        "T5ForConditionalGeneration",
        {},
        {"tie_word_embeddings": False},
        "'lm_head.weight' is missing",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_compute_something_else_is_refused_by_name(name):
    model_class, changes, lies, message = REFUSED[name]
    theirs = peers.build(model_class, **changes)
    shapes = {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
    config = theirs.config.to_dict() | {"architectures": [model_class]} | lies
    if not lies.get("tie_word_embeddings", True):
        del shapes["lm_head.weight"]
    with pytest.raises(hub.HubError, match=f"(?s){message}"):
        hf_family(config["model_type"]).describe(config, shapes)


def test_early_files_hold_copies_and_constants_that_are_checked_or_dropped():
    theirs = peers.build("T5ForConditionalGeneration")
    arrays = {key: value.numpy() for key, value in theirs.state_dict().items()}
    unread = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    arrays[unread] = np.zeros((32, 5), np.float32)
    assert {"encoder.embed_tokens.weight", "lm_head.weight"} <= arrays.keys()
    family, config = hf_family("t5"), theirs.config.to_dict()
    shapes = {key: value.shape for key, value in arrays.items()}
    described = family.describe(config, shapes)
    assert described.head["tied"]
    apply(family.table(described), arrays)
    with pytest.raises(hub.HubError, match=r"'lm_head.weight' must equal 'shared.weight'"):
        apply(family.table(described), arrays | {"lm_head.weight": arrays["lm_head.weight"] + 1})

    theirs = peers.build("GPT2LMHeadModel")
    arrays = {
        key.removeprefix("transformer."): value.numpy()
        for key, value in theirs.state_dict().items()
    }
    mask = np.tril(np.ones((1, 1, 40, 40), bool))
    arrays |= {"h.0.attn.bias": mask, "h.1.attn.masked_bias": np.array(-1e4, np.float32)}
    family, config = hf_family("gpt2"), theirs.config.to_dict()
    config["architectures"] = ["GPT2LMHeadModel"]
    described = family.describe(config, {key: value.shape for key, value in arrays.items()})
    assert (described.prefix, described.head["family"]) == ("", "causal_lm")
    mapped = apply(family.table(described), arrays)
    fused = np.concatenate(
        [mapped[f"params/body/block_01/attention/{n}/bias"] for n in ("query", "key", "value")]
    )
    np.testing.assert_array_equal(fused, arrays["h.1.attn.c_attn.bias"])
