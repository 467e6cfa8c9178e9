"""TensorFlow's checkpoints without TensorFlow: its own files, our writer's, and broken ones.

The fixture holds files that TensorFlow 2.21 wrote and the values it says they hold
(tests/fixtures/make_tf_checkpoint.py).
"""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.hub.tf_files import write_checkpoint
from tlearn import bodies, heads, hub
from tlearn.hub.errors import HubError
from tlearn.hub.safetensors_file import write_safetensors
from tlearn.model import Model, variables

FIXTURE = Path(__file__).parents[1] / "fixtures" / "tf_checkpoint"


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "a/kernel": rng.normal(size=(3, 4)).astype(np.float32),
        "a/bias": rng.normal(size=4).astype(np.float16),
        "b": np.array(5, np.int64),
        "none": np.zeros((0, 2), np.float32),
    }


@pytest.mark.parametrize(("folder", "values"), [("tf1", "values1"), ("tf2", "values2")])
def test_what_tensorflow_wrote_is_read_bit_for_bit(folder, values):
    raw = hub.read_tensorflow(FIXTURE / folder)
    with np.load(FIXTURE / f"{values}.npz") as stored:
        assert set(raw.arrays) == set(stored.files)
        for name in stored.files:
            assert raw.arrays[name].shape == stored[name].shape
            np.testing.assert_array_equal(raw.arrays[name].astype(np.float64), stored[name])


def test_what_is_no_weight_is_left_out_and_named():
    skipped = hub.read_tensorflow(FIXTURE / "tf1" / "model.ckpt").aside["skipped"]
    assert skipped == ["global_step", "plain/adam_m", "text"]
    skipped = hub.read_tensorflow(FIXTURE / "tf2" / "ck-1.index").aside["skipped"]
    assert "_CHECKPOINTABLE_OBJECT_GRAPH" in skipped
    assert sum("optimizer" in name or "opt/" in name for name in skipped) >= 8


def test_the_single_file_form_is_refused_by_name():
    with pytest.raises(HubError, match=r"form before TensorFlow 0.12"):
        hub.read_tensorflow(FIXTURE / "old" / "model.ckpt")


def test_our_writer_and_the_reader_agree(tmp_path):
    write_checkpoint(tmp_path / "m.ckpt", arrays())
    for place in (tmp_path, tmp_path / "m.ckpt", tmp_path / "m.ckpt.index"):
        raw = hub.read_tensorflow(place)
        assert set(raw.arrays) == set(arrays())
        for name, array in arrays().items():
            assert raw.arrays[name].dtype == array.dtype
            assert raw.arrays[name].tobytes() == array.tobytes()


BROKEN = {
    "truncated data": (lambda p: _cut(p, "data-00000-of-00001", 30), "it is truncated"),
    "truncated index": (lambda p: _cut(p, "index", 60), "do not end as one"),
    "flipped bit in the index": (lambda p: _flip(p, "index", 5), "checksum of the block at byte 0"),
    "flipped bit in the data": (lambda p: _flip(p, "data-00000-of-00001", 9), "wrong checksum"),
    "missing shard": (
        lambda p: write_checkpoint(p, arrays(), shards=2),
        "the shard m.ckpt.data-00001-of-00002 is missing",
    ),
    "snappy": (lambda p: write_checkpoint(p, arrays(), kind=1), "compressed (snappy)"),
    "huge": (
        lambda p: write_checkpoint(p, arrays(), changes={"a/kernel": {"shape": (10**12, 4)}}),
        "'a/kernel' has 48 bytes for the shape (1000000000000, 4)",
    ),
    "outside": (
        lambda p: write_checkpoint(p, arrays(), changes={"a/bias": {"offset": 10**9}}),
        "'a/bias' claims bytes 1000000000 to 1000000008",
    ),
}


def _cut(prefix, end, size):
    file = prefix.with_name(f"{prefix.name}.{end}")
    file.write_bytes(file.read_bytes()[:size])


def _flip(prefix, end, place):
    file = prefix.with_name(f"{prefix.name}.{end}")
    content = bytearray(file.read_bytes())
    content[place] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize("case", BROKEN)
def test_broken_checkpoints_are_refused_with_the_reason(tmp_path, case):
    prefix = write_checkpoint(tmp_path / "m.ckpt", arrays())
    breaks, message = BROKEN[case]
    breaks(prefix)
    with pytest.raises(HubError) as error:
        hub.read_tensorflow(prefix)
    assert message in str(error.value)


def test_random_damage_is_an_error_never_a_crash(tmp_path):
    prefix = write_checkpoint(tmp_path / "m.ckpt", arrays())
    index = tmp_path / "m.ckpt.index"
    sound = index.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        content = bytearray(sound)
        for place in rng.integers(0, len(content), 3):
            content[place] = rng.integers(256)
        index.write_bytes(content)
        try:
            hub.read_tensorflow(prefix)
        except HubError:
            refused += 1
    assert refused > 150


def tiny_bert(classes):
    """A BERT's arrays under Hugging Face's names, and under Google's by HF's own conversion."""
    rng = np.random.default_rng(3)
    d, f = 8, 16
    shapes = {
        "embeddings.word_embeddings.weight": (30, d),
        "embeddings.position_embeddings.weight": (12, d),
        "embeddings.token_type_embeddings.weight": (2, d),
        "embeddings.LayerNorm.weight": (d,),
        "embeddings.LayerNorm.bias": (d,),
        "pooler.dense.weight": (d, d),
        "pooler.dense.bias": (d,),
    }
    for i in range(2):
        at = f"encoder.layer.{i}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= {f"{at}.attention.{part}.weight": (d, d), f"{at}.attention.{part}.bias": (d,)}
        shapes |= {f"{at}.intermediate.dense.weight": (f, d), f"{at}.intermediate.dense.bias": (f,)}
        shapes |= {f"{at}.output.dense.weight": (d, f), f"{at}.output.dense.bias": (d,)}
        for part in ("attention.output", "output"):
            shapes |= {f"{at}.{part}.LayerNorm.{end}": (d,) for end in ("weight", "bias")}
    shapes = {f"bert.{name}": shape for name, shape in shapes.items()}
    here = {n: rng.normal(size=shape).astype(np.float32) for n, shape in shapes.items()}
    there = {}
    for name, array in here.items():
        turned = name.endswith("weight") and ("dense" in name or ".self." in name)
        for old, new in (
            ("layer.", "layer_"),
            ("_embeddings.weight", "_embeddings"),
            (".", "/"),
            ("LayerNorm/weight", "LayerNorm/gamma"),
            ("LayerNorm/bias", "LayerNorm/beta"),
            ("weight", "kernel"),
        ):
            name = name.replace(old, new)
        there[name] = array.T if turned else array
    if classes:
        here["classifier.weight"] = rng.normal(size=(classes, d)).astype(np.float32)
        here["classifier.bias"] = rng.normal(size=classes).astype(np.float32)
        there["output_weights"] = here["classifier.weight"]
        there["output_bias"] = here["classifier.bias"]
    return here, there


CONFIG = {
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
}


@pytest.mark.parametrize("classes", [0, 3])
def test_googles_bert_gives_what_the_same_weights_give_from_hugging_face(tmp_path, classes):
    here, there = tiny_bert(classes)
    there["bert/embeddings/word_embeddings/adam_v"] = np.zeros((30, 8), np.float32)
    there["global_step"] = np.array(100, np.int64)
    write_checkpoint(tmp_path / "tf" / "bert_model.ckpt", there)
    (tmp_path / "tf" / "bert_config.json").write_text(json.dumps(CONFIG))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(25))]
    (tmp_path / "tf" / "vocab.txt").write_text("\n".join(words) + "\n")
    (tmp_path / "hf").mkdir()
    kind = "BertForSequenceClassification" if classes else "BertModel"
    config = {"model_type": "bert", "architectures": [kind], "num_labels": classes or 2, **CONFIG}
    if classes:
        config["id2label"] = {str(i): f"LABEL_{i}" for i in range(classes)}
    (tmp_path / "hf" / "config.json").write_text(json.dumps(config))
    write_safetensors(tmp_path / "hf" / "model.safetensors", here)
    google = hub.load(f"tf:{tmp_path / 'tf'}")
    other = hub.load(f"hf:{tmp_path / 'hf'}")
    assert google.digest == other.digest
    assert google.body == other.body
    assert (google.head is None) == (classes == 0)
    assert google.facts.vocab_size == 30
    assert google.facts.max_length == 12
    assert google.files["vocab.txt"].startswith(b"[PAD]")
    assert "bert/embeddings/word_embeddings/adam_v" in google.provenance["aside"]["skipped"]


def test_a_bert_without_its_config_or_with_strange_names_is_told(tmp_path):
    _, there = tiny_bert(0)
    write_checkpoint(tmp_path / "bert_model.ckpt", there)
    with pytest.raises(HubError, match=r"bert_config.json is not beside it"):
        hub.load(f"tf:{tmp_path}")
    there["bert/encoder/layer_7/output/dense/kernel"] = np.zeros((2, 2), np.float32)
    there["bert/other"] = np.zeros(1, np.float32)
    write_checkpoint(tmp_path / "bert_model.ckpt", there)
    (tmp_path / "bert_config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(HubError) as error:
        hub.load(f"tf:{tmp_path}")
    assert "'bert/other' is no name of a BERT of 2 blocks" in str(error.value)
    assert "layer_7" in str(error.value)


def test_unknown_checkpoints_are_refused_by_name(tmp_path):
    write_checkpoint(tmp_path / "m.ckpt", arrays())
    with pytest.raises(HubError, match="read_tensorflow gives them by name"):
        hub.load(f"tf:{tmp_path}")


@pytest.mark.data
def test_the_real_savedmodel_gives_its_stored_outputs(shared_data):
    folder = shared_data / "w_mnist_savedmodel"
    raw = hub.read_tensorflow(folder / "saved_model")
    assert len(raw.arrays) == 16
    assert len(raw.arrays) + len(raw.aside["skipped"]) == 58  # 57 tensors and the object graph
    source = hub.load(f"tf:{folder / 'saved_model'}")
    model = Model(bodies.build(source.body), heads.build(source.head))
    assert model.body.feature_width == 64
    with np.load(folder / "reference.npz") as stored:
        given = jax.jit(model.apply)(
            variables(source.params, source.collections),
            stored["images_uint8"].astype(np.float32),
        )
        assert np.abs(given - stored["logits"]).max() <= 1e-5 * np.abs(stored["logits"]).max()
