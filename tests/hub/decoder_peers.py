"""Random GPT, GPT-2 and T5 models of transformers, as peers, and what they compute.

Only `tests` import this, after ``importorskip("torch")``.
"""

from pathlib import Path

import numpy as np
import torch  # noqa: TID251
import transformers

GPT2 = {
    "vocab_size": 61,
    "n_positions": 40,
    "n_embd": 24,
    "n_layer": 2,
    "n_head": 3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
T5 = {
    "vocab_size": 61,
    "d_model": 24,
    "d_kv": 6,
    "d_ff": 40,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 5,
    "decoder_start_token_id": 0,
}
CLASSES = {"num_labels": 3, "id2label": {0: "no", 1: "maybe", 2: "yes"}}
CLASSES["label2id"] = {name: i for i, name in CLASSES["id2label"].items()}


def build(model_class: str, scale: float = 0.0, **changes):
    """A model in evaluation mode, with every parameter moved off its round initial value."""
    cls = getattr(transformers, model_class)
    base = T5 if model_class.startswith("T5") else GPT2
    if "Classification" in model_class or "DoubleHeads" in model_class:
        base = base | CLASSES
    torch.manual_seed(sum(map(ord, model_class + str(sorted(changes.items())))))
    config = cls.config_class(**(base | changes))
    config._attn_implementation = "eager"
    model = cls(config).eval()
    if changes.get("tie_word_embeddings") is False and hasattr(model, "lm_head"):
        # Newer transformers tie T5's head all the same; loading unties what differs.
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
    # T5 does not scale its scores: they would be near one-hot.
    usual = scale or (0.15 if model_class.startswith("T5") else 0.25)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Norms about 1; everything else large enough for differences to show.
            spread, shift = (0.2, 1.0) if _is_norm_scale(name) else (usual, 0.0)
            parameter.copy_(torch.randn_like(parameter) * spread + shift)
    return model


def _is_norm_scale(name: str) -> bool:
    parts = name.split(".")
    return parts[-1] == "weight" and any("ln_" in p or "layer_norm" in p for p in parts)


def save(model, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


def tokens_and_segments(padding: str, rows: int = 4, length: int = 11, seed: int = 5):
    """Tokens of several lengths, padded on one side (or not), ending in 2 where they end."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(3, 61, (rows, length)).astype(np.int32)
    lengths = np.full(rows, length) if padding == "none" else length - 2 * np.arange(rows)
    places = np.arange(length)[None]
    if padding == "left":
        places = places[:, ::-1]
    segments = (places < lengths[:, None]).astype(np.int32)
    return np.where(segments > 0, tokens, 0).astype(np.int32), segments


def positions(segments: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.maximum(np.cumsum(segments, 1) - 1, 0))


def weights_of(model) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in model.named_parameters()}


def gradients_of(model) -> dict[str, np.ndarray]:
    return {
        name: np.zeros(tuple(p.shape), np.float32) if p.grad is None else p.grad.numpy()
        for name, p in model.named_parameters()
    }


def run(model, inputs: dict[str, np.ndarray]):
    """Logits (or last states), the hidden states of each stack, called by our entries' names."""
    tokens = torch.tensor(inputs["tokens"], dtype=torch.long)
    mask = torch.tensor(inputs["segments"] > 0, dtype=torch.long)
    kind = type(model).__name__
    call = {"input_ids": tokens, "attention_mask": mask, "output_hidden_states": True}
    if not kind.startswith("T5"):
        call["position_ids"] = positions(inputs["segments"])
    elif "decoder_tokens" in inputs:
        call["decoder_input_ids"] = torch.tensor(inputs["decoder_tokens"], dtype=torch.long)
        seen = torch.tensor(inputs["decoder_segments"] > 0, dtype=torch.long)
        call["decoder_attention_mask"] = seen
    return model(**call)


def generate(model, tokens: np.ndarray, segments: np.ndarray, steps: int, end=None) -> np.ndarray:
    """The tokens that ``generate`` adds without sampling; rows as long as the longest made."""
    with torch.no_grad():
        made = model.generate(
            torch.tensor(tokens, dtype=torch.long),
            attention_mask=torch.tensor(segments, dtype=torch.long),
            do_sample=False,
            num_beams=1,
            max_new_tokens=steps,
            eos_token_id=end,
            pad_token_id=0,
        )
    given = 1 if type(model).__name__.startswith("T5") else tokens.shape[1]
    return made[:, given:].numpy()
