"""Small models of our own with random weights, as a run would leave them: one for every family."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from tlearn import bodies, heads, hub
from tlearn.bodies.facts import ImageFacts, TextFacts
from tlearn.hub.verify import example_inputs
from tlearn.model import Model, shapes, variables

WORDS = 60
SMALL = {"vocab_size": WORDS, "width": 16, "depth": 2, "heads": 2, "feed_forward": 24}
GPT = {**SMALL, "positions": 20}
T5 = {**SMALL, "head_size": 6}
VIT = {"width": 16, "depth": 2, "heads": 2, "feed_forward": 24, "image_size": 8, "patch_size": 4}
RESNET = {"stage_blocks": (1, 2), "stage_widths": (8, 16), "in_channels": 1}
MLP = {"family": "mlp", "hidden": (16,)}
BERTS = {**SMALL, "positions": 20}
LABELS = ("ant", "bee", "cat")
CLASSES = {"family": "linear", "classes": 3}

MODELS = {
    "BertForSequenceClassification": ("bert-tiny", BERTS, CLASSES),
    "BertForTokenClassification": (
        "bert-tiny",
        {**BERTS, "pooling": "first"},
        {"family": "tagging", "classes": 3},
    ),
    "BertModel": ("bert-tiny", BERTS, None),
    "RobertaForSequenceClassification": (
        "roberta-base",
        {**BERTS, "positions": 22},
        {**MLP, "classes": 3, "activation": "tanh"},
    ),
    "RobertaForMaskedLM": (
        "roberta-base",
        {**BERTS, "positions": 22},
        {"family": "masked_lm", "norm_epsilon": 1e-5},
    ),
    "DistilBertForSequenceClassification": (
        "distilbert-base",
        BERTS,
        {**MLP, "classes": 3, "activation": "relu", "drop_input": False},
    ),
    "AlbertForSequenceClassification": ("albert-base", {**BERTS, "embedding_width": 8}, CLASSES),
    "ElectraForSequenceClassification": (
        "electra-small",
        {**BERTS, "embedding_width": 8},
        {**MLP, "classes": 3, "activation": "gelu"},
    ),
    "OpenAIGPTLMHeadModel": ("openai-gpt", {**GPT, "feed_forward": 64}, {"family": "causal_lm"}),
    "GPT2LMHeadModel": ("gpt2", GPT, {"family": "causal_lm"}),
    "GPT2ForSequenceClassification": ("gpt2", GPT, {**CLASSES, "use_bias": False}),
    "GPT2Model": ("gpt2", GPT, None),
    "T5EncoderModel": ("t5-small", {**T5, "decoder_depth": 0}, None),
    "T5ForTokenClassification": (
        "t5-small",
        {**T5, "decoder_depth": 0},
        {"family": "tagging", "classes": 3},
    ),
    "T5ForConditionalGeneration": (
        "t5-v1_1-small",
        {**T5, "decoder_depth": 1},
        {"family": "causal_lm", "tied": False},
    ),
    "ViTForImageClassification": ("vit-tiny-patch16", VIT, CLASSES),
    "DeiTForImageClassificationWithTeacher": (
        "deit-tiny-distilled",
        VIT,
        {"family": "distilled", "classes": 3},
    ),
    "ResNetForImageClassification": ("resnet18", RESNET, CLASSES),
    "ResNetModel": ("resnet18", RESNET, None),
}
"""By the class of transformers that computes the same: body, its changes, head."""

IMAGES = ImageFacts((0.4,), (0.3,), size=16, crop=0.8, interpolation="bicubic", channels=1)
COLOURS = ImageFacts((0.4, 0.5, 0.6), (0.3, 0.2, 0.1), size=8)
TEXTS = TextFacts(vocab_size=WORDS, max_length=20, pad=1, special=(("bos", 2), ("eos", 3)))


@functools.cache
def make(name):
    """A source of the table above."""
    body_name, changes, head = MODELS[name]
    return drawn(bodies.create(body_name, **changes), head)


def drawn(body, head, seed=0, **fields):
    """A source with numbers that a wrong mapping could not hide."""
    config = bodies.describe(body)
    model = Model(body, heads.build(head or {"family": "linear", "classes": 1}))
    params, statistics = shapes(model, *example_inputs(body, config))
    draw = np.random.default_rng(seed)
    params = {p: numbers(draw, p, v) for p, v in params.items() if head or p.startswith("body/")}
    statistics = {p: numbers(draw, p, v) for p, v in statistics.items()}
    return described(body, head, params=params, collections=statistics, **fields)


def described(body, head, **fields):
    """A source, by default one without numbers."""
    config = bodies.describe(body)
    text = "tokens" in body.inputs
    facts = TEXTS if text else IMAGES if config["in_channels"] == 1 else COLOURS
    head = None if head is None else heads.describe(heads.build(head))
    labels = LABELS if head and "classes" in head else None
    given = {"params": {}, "collections": {}, "label_names": labels, "facts": facts}
    return hub.Source(**{**given, "body": config, "head": head, **fields})


def numbers(draw, path, like):
    noise = draw.normal(0, 0.25, like.shape)
    noise = 1 + np.abs(noise) if path.endswith(("scale", "var")) else noise
    return noise.astype(np.float32)


def batch(source, seed=1, rows=3, length=7, answer=4):
    """A batch by input name: texts of several lengths padded on the right, or pictures."""
    draw = np.random.default_rng(seed)
    body = bodies.build(source.body)
    if body.inputs == ("image",):
        f = source.facts
        return {"image": draw.normal(size=(rows, f.size, f.size, f.channels)).astype(np.float32)}
    # Encoders of T5 end on the last token; classifiers look for it by the padding token.
    segments = (np.arange(length) < np.array([[length], [length - 2], [3]])[:rows]).astype(np.int32)
    tokens = draw.integers(4, WORDS, (rows, length)).astype(np.int32)
    made = {"tokens": np.where(segments, tokens, 1).astype(np.int32), "segments": segments}
    made["types"] = np.zeros_like(segments)
    made |= {f"decoder_{name}": made[name][:, :answer] for name in ("tokens", "segments")}
    return {name: made[name] for name in body.inputs}


def compute(source, given):
    """What the model gives for a batch: the head's outputs, or pooled features and sequence."""
    body = bodies.build(source.body)
    inputs = [jnp.asarray(given[name]) for name in body.inputs]
    if source.head is not None:
        model = Model(body, heads.build(source.head))
        return jax.jit(model.apply)(variables(source.params, source.collections), *inputs)
    flat = [
        {p.removeprefix("body/"): v for p, v in arrays.items()}
        for arrays in (source.params, source.collections)
    ]
    found = jax.jit(functools.partial(body.apply, train=False))(variables(*flat), *inputs)
    kept = {"pooled": found.pooled, "sequence": found.sequence}
    return {name: value for name, value in kept.items() if value is not None}


def same(again, source, ignored=()):
    """Bit for bit the same model; ``ignored`` fields of configs matter in training only."""
    assert again.digest == source.digest
    for mine, theirs in ((again.body, source.body), (again.head or {}, source.head or {})):
        assert {k: v for k, v in mine.items() if k not in ignored} == {
            k: v for k, v in theirs.items() if k not in ignored
        }
    assert (again.head is None) == (source.head is None)
    assert again.label_names == source.label_names
