"""Writes a tiny BERT checkpoint folder, sound but for what a test changes."""

import json

import numpy as np

from tlearn.hub.safetensors_file import write_safetensors

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(25)))
CONFIG = {
    "model_type": "bert",
    "architectures": ["BertForSequenceClassification"],
    "vocab_size": 30,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 12,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "id2label": {"0": "bad", "1": "good", "2": "odd"},
    "label2id": {"bad": 0, "good": 1, "odd": 2},
}
TOKENIZER = {
    "do_lower_case": True,
    "model_max_length": 12,
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
    "unk_token": "[UNK]",
}


def bert_arrays(seed=3, classes=3, d=8, f=16, vocab=30, positions=12, blocks=2, dtype=np.float32):
    rng = np.random.default_rng(seed)
    shapes = {
        "embeddings.word_embeddings.weight": (vocab, d),
        "embeddings.position_embeddings.weight": (positions, d),
        "embeddings.token_type_embeddings.weight": (2, d),
        "embeddings.LayerNorm.weight": (d,),
        "embeddings.LayerNorm.bias": (d,),
        "pooler.dense.weight": (d, d),
        "pooler.dense.bias": (d,),
    }
    for i in range(blocks):
        at = f"encoder.layer.{i}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= {f"{at}.attention.{part}.weight": (d, d), f"{at}.attention.{part}.bias": (d,)}
        shapes |= {f"{at}.intermediate.dense.weight": (f, d), f"{at}.intermediate.dense.bias": (f,)}
        shapes |= {f"{at}.output.dense.weight": (d, f), f"{at}.output.dense.bias": (d,)}
        for part in ("attention.output", "output"):
            shapes |= {f"{at}.{part}.LayerNorm.{end}": (d,) for end in ("weight", "bias")}
    shapes = {f"bert.{name}": shape for name, shape in shapes.items()}
    if classes:
        shapes |= {"classifier.weight": (classes, d), "classifier.bias": (classes,)}
    return {n: rng.normal(size=shape).astype(dtype) for n, shape in shapes.items()}


def write_folder(path, arrays=None, shards=0, tokens=WORDS, config=None, tokenizer=None):
    """A folder; with ``shards`` the weights lie in as many files with an index."""
    path.mkdir(parents=True, exist_ok=True)
    arrays = bert_arrays() if arrays is None else arrays
    (path / "config.json").write_text(json.dumps({**CONFIG, **(config or {})}))
    if tokens:
        (path / "vocab.txt").write_text("\n".join(tokens) + "\n")
        said = {**TOKENIZER, **(tokenizer or {})}
        (path / "tokenizer_config.json").write_text(json.dumps(said))
    if not shards:
        write_safetensors(path / "model.safetensors", arrays)
        return path
    names = sorted(arrays)
    places = {}
    for i in range(shards):
        part = names[i::shards]
        shard = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        write_safetensors(path / shard, {name: arrays[name] for name in part})
        places |= dict.fromkeys(part, shard)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return path
