"""Tiny random models of transformers (PyTorch) that compute pre-training losses, and ours of them.

Only `tests` import this, after ``importorskip("torch")``. The peer computes in float64 from weights
of float32, so what differs is our rounding alone.
"""

import json

import jax.numpy as jnp
import numpy as np
import torch  # noqa: TID251
import transformers

from tlearn import bodies, heads, hub
from tlearn.hub.mapping import apply
from tlearn.hub.source import untagged
from tlearn.hub.tables.folders import hf_family
from tlearn.model import Model

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()

WORDS = 61
ENCODER = {
    "vocab_size": WORDS,
    "hidden_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 3,
    "intermediate_size": 36,
    "max_position_embeddings": 20,
    "type_vocab_size": 2,
}
DECODER = {
    "vocab_size": WORDS,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "n_positions": 20,
    "n_embd": 24,
    "n_layer": 1,
    "n_head": 3,
}
SIZES = {
    "BertForPreTraining": ENCODER,
    "AlbertForPreTraining": ENCODER | {"embedding_size": 14, "hidden_act": "gelu_new"},
    "ElectraForPreTraining": ENCODER | {"embedding_size": 14},
    "ElectraForMaskedLM": ENCODER
    | {"embedding_size": 14, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12},
    "GPT2LMHeadModel": DECODER,
    "OpenAIGPTLMHeadModel": DECODER,
    "T5ForConditionalGeneration": {
        "vocab_size": WORDS,
        "d_model": 24,
        "d_kv": 6,
        "d_ff": 40,
        "num_layers": 1,
        "num_decoder_layers": 1,
        "num_heads": 3,
        "decoder_start_token_id": 0,
    },
}


def build(name, seed=0):
    """A model in evaluation mode, all of whose numbers matter."""
    cls = getattr(transformers, name)
    config = cls.config_class(**SIZES[name])
    config._attn_implementation = "eager"
    model = cls(config).eval()
    drawn = torch.Generator().manual_seed(seed)
    spread = 0.1 if name.startswith("T5") else 0.2
    with torch.no_grad():
        for path, value in model.named_parameters():
            norm = ("norm" in path.lower() or "ln_" in path) and path.endswith("weight")
            value.copy_(spread * torch.randn(value.shape, generator=drawn) + float(norm))
    return model


def loaded(model, folder):
    """Our source of a model; the model itself goes on in float64."""
    model.save_pretrained(folder)
    source = hub.load(f"hf:{folder}")
    model.double()
    return source


def ours(source):
    """Our model and its parameters."""
    model = Model(body=bodies.build(source.body), head=heads.build(source.head))
    return model, {path: jnp.asarray(np.asarray(value)) for path, value in source.params.items()}


def gradients(model, folder):
    """The peer's gradients under our names: zeros where it has none."""
    arrays = hub.read_safetensors(folder / "model.safetensors").arrays
    shapes = {path: tuple(value.shape) for path, value in arrays.items()}
    family = hf_family(model.config.model_type)
    described = family.describe(json.loads((folder / "config.json").read_text()), shapes)
    found = {
        path: np.zeros(value.shape) if value.grad is None else value.grad.numpy().copy()
        for path, value in model.named_parameters(remove_duplicate=False)
        if path in shapes
    }
    return untagged(apply(family.table(described), found))[0]


def assert_gradients(mine, theirs):
    """Every gradient to 1e-5 of its largest number; what hardly matters by what does."""
    least = 1e-3 * max(np.abs(value).max() for value in theirs.values())
    assert mine.keys() == theirs.keys()
    for path, value in theirs.items():
        scale = max(np.abs(value).max(), least)
        # A softmax does not see what its keys' bias adds: that gradient is zero but for rounding.
        if path.endswith("attention/key/bias"):
            scale = max(scale, np.abs(theirs[path.replace("bias", "kernel")]).max())
        difference = np.abs(np.asarray(mine[path], np.float64) - value).max()
        assert difference <= 1e-5 * scale, f"{path}: {difference / scale:.1e}"


def long(array):
    return torch.tensor(np.asarray(array), dtype=torch.long)


def labels(targets):
    """Targets as PyTorch has them: -100 where there is nothing to predict."""
    return long(np.where(targets < 0, -100, targets))


def texts(rows=3, length=9, seed=1):
    """Tokens, segments and types of rows of unlike lengths."""
    draw = np.random.default_rng(seed)
    segments = (np.arange(length)[None] < length - 2 * np.arange(rows)[:, None]).astype(np.int32)
    tokens = np.where(segments > 0, draw.integers(4, WORDS, segments.shape), 0).astype(np.int32)
    types = (np.arange(length)[None] >= 3 * segments).astype(np.int32) * segments
    return tokens, segments, types


def masked(tokens, segments, predictions=3, seed=2):
    """Places and targets of a few tokens a row, the last of a row often nothing but filler."""
    draw = np.random.default_rng(seed)
    places = np.zeros((len(tokens), predictions), np.int32)
    targets = np.full(places.shape, -1, np.int32)
    for row, length in enumerate(segments.sum(1)):
        count = predictions - (row > 0)
        places[row, :count] = np.sort(draw.choice(length, count, replace=False))
        targets[row, :count] = draw.integers(4, WORDS, count)
    return places, targets


def everywhere(places, targets, length):
    """The targets where they stand, -1 at every other token."""
    whole = np.full((len(places), length), -1, np.int32)
    for row in range(len(places)):
        real = targets[row] >= 0
        whole[row, places[row, real]] = targets[row, real]
    return whole


def filled(batch):
    """The batch with one more row that must not count, and its mask."""
    rows = len(next(iter(batch.values())))
    more = {name: np.concatenate([value, value[:1]]) for name, value in batch.items()}
    return {name: jnp.asarray(value) for name, value in more.items()} | {
        "mask": jnp.asarray(np.arange(rows + 1) < rows, jnp.float32)
    }
