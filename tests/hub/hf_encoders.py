"""Random encoders of transformers (PyTorch), and what they compute, as a peer for ours."""

import dataclasses
import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()

ACTIVATIONS = ("gelu", "gelu_new", "relu", "silu")
HEADS = {
    "Bert": (
        "Model",
        "ForPreTraining",
        "ForMaskedLM",
        "ForNextSentencePrediction",
        "ForSequenceClassification",
        "ForTokenClassification",
        "ForQuestionAnswering",
    ),
    "Roberta": (
        "Model",
        "ForMaskedLM",
        "ForSequenceClassification",
        "ForTokenClassification",
        "ForQuestionAnswering",
    ),
    "Albert": (
        "Model",
        "ForPreTraining",
        "ForMaskedLM",
        "ForSequenceClassification",
        "ForTokenClassification",
        "ForQuestionAnswering",
    ),
}
HEADS["XLMRoberta"] = HEADS["Camembert"] = HEADS["DistilBert"] = HEADS["Roberta"]
HEADS["Electra"] = (*HEADS["Roberta"], "ForPreTraining")


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows of tokens, padded on one side."""

    tokens: np.ndarray
    segments: np.ndarray
    types: np.ndarray


def random_config(family: str, seed: int, **fixed):
    """A small config with sizes, activation, epsilon and labels drawn by the seed."""
    draw = random.Random(f"{family} {seed}")
    heads = draw.choice((2, 3, 4))
    width, epsilon = heads * draw.choice((4, 6)), draw.choice((1e-12, 1e-5, 1e-3))
    depth, feed_forward = draw.choice((1, 2, 3)), draw.randint(20, 40)
    chosen = {
        "vocab_size": draw.randint(40, 90),
        "max_position_embeddings": draw.randint(14, 30),
        "tie_word_embeddings": draw.random() < 0.7,
        "num_labels": draw.choice((1, 2, 5)),
    }
    activation = draw.choice(ACTIVATIONS)
    if family == "DistilBert":
        chosen |= {"dim": width, "n_layers": depth, "n_heads": heads, "hidden_dim": feed_forward}
        chosen["activation"] = activation
    else:
        chosen |= {
            "hidden_size": width,
            "num_hidden_layers": depth,
            "num_attention_heads": heads,
            "intermediate_size": feed_forward,
            "hidden_act": activation,
            "layer_norm_eps": epsilon,
            "type_vocab_size": draw.choice((1, 2, 3)),
        }
    if family == "Albert":
        chosen["num_hidden_groups"] = draw.randint(1, depth)
        chosen["inner_group_num"] = draw.choice((1, 2))
        chosen["embedding_size"] = width - 2
    if family == "Electra":
        chosen["embedding_size"] = draw.choice((width, width - 2))
    return getattr(transformers, f"{family}Config")(**{**chosen, **fixed})


def random_model(name: str, config, seed: int, **options):
    """A model in evaluation mode, all of whose numbers matter."""
    if name.endswith(("ForPreTraining", "ForQuestionAnswering", "ForNextSentencePrediction")):
        config.num_labels = 2
    model = getattr(transformers, name)(config, **options).eval()
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for path, value in model.named_parameters():
            norm = "norm" in path.lower() and path.endswith("weight")
            value.copy_(0.3 * torch.randn(value.shape, generator=drawn) + float(norm))
    return model


def random_batch(config, seed: int, left: bool = False, rows: int = 3, length: int = 9) -> Batch:
    """Rows of unlike lengths; what stands in the padding is not the padding token's row alone."""
    draw = np.random.default_rng(seed)
    pad = config.pad_token_id
    segments = np.ones((rows, length), np.int32)
    for row in range(1, rows):
        gap = slice(0, 2 * row) if left else slice(length - 2 * row, length)
        segments[row, gap] = 0
    tokens = draw.integers(4, config.vocab_size, (rows, length)).astype(np.int32)
    types = draw.integers(0, getattr(config, "type_vocab_size", 1), (rows, length))
    return Batch(np.where(segments > 0, tokens, pad).astype(np.int32), segments, types.astype("i4"))


def compute(model, batch: Batch, left: bool = False):
    """Runs the peer; where padding is on the left, positions are handed over as it wants them."""
    inputs = {
        "input_ids": torch.tensor(batch.tokens, dtype=torch.long),
        "attention_mask": torch.tensor(batch.segments, dtype=torch.long),
    }
    kind = model.config.model_type
    if kind != "distilbert":
        inputs["token_type_ids"] = torch.tensor(batch.types, dtype=torch.long)
    if left and kind not in ("roberta", "xlm-roberta", "camembert"):
        counted = inputs["attention_mask"].cumsum(1) - 1
        inputs["position_ids"] = counted.clamp(min=0)
    return model(**inputs, output_hidden_states=True)


def outputs_of(name: str, out):
    """The peer's outputs by the names that our heads use; one output is called ``logits``."""
    if name.endswith("Model"):
        found = {"sequence": out.last_hidden_state}
        pooled = getattr(out, "pooler_output", None)
        return found if pooled is None else {**found, "pooled": pooled}
    if name.endswith("ForQuestionAnswering"):
        return {"logits": torch.stack((out.start_logits, out.end_logits), dim=-1)}
    if name in ("BertForPreTraining", "AlbertForPreTraining"):
        second = out.seq_relationship_logits if name.startswith("B") else out.sop_logits
        return {"masked_lm": out.prediction_logits, "next_sentence": second}
    return {"logits": out.logits}
