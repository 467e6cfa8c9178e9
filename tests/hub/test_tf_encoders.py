"""Encoders of TensorFlow 2 load from its own files and compute what TensorFlow computed.

tests/fixtures/make_tf_encoders.py made the files and the outputs with TensorFlow's Model Garden, by
the tool that TensorFlow Hub's models were exported with.

Broken on purpose, each seen to fail: heads' axes joined in the other order, gelu by erf, the pooler
of a pre-training's head left for the encoder's own, ALBERT's depth, the assets or the case unread.
"""

import json
import tarfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.hub.tf_files import write_checkpoint
from tlearn import bodies, heads, hub
from tlearn.hub.errors import HubError
from tlearn.params import unflatten

FIXTURES = Path(__file__).parents[1] / "fixtures" / "tf_encoders"


def unpacked(folder, name):
    with tarfile.open(FIXTURES / f"{name}.tar.xz") as archive:
        archive.extractall(folder / name, filter="data")
    return folder / name


def computed(source, stored):
    tokens, mask, types = (
        jnp.asarray(stored[f"input_{part}"]) for part in ("word_ids", "mask", "type_ids")
    )
    body = bodies.build(source.body)

    @jax.jit
    def compute(flat):
        tree = unflatten(flat)
        features = body.apply({"params": tree["body"]}, tokens, mask, types, train=False)
        if source.head is None:
            return features, {}
        head = heads.build(source.head)
        found = head.apply({"params": tree["head"]}, features, train=False)
        return features, found if isinstance(found, dict) else {"logits": found}

    return compute({path: np.asarray(x) for path, x in source.params.items()})


def close(got, want):
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


@pytest.mark.parametrize("name", ["bert", "albert", "pretrainer", "electra"])
def test_what_tensorflow_computed_is_computed(tmp_path, name):
    source = hub.load(f"tf:{unpacked(tmp_path, name)}")
    with np.load(FIXTURES / f"{name}.npz") as stored:
        features, outputs = computed(source, stored)
        real = stored["input_mask"] > 0
        close(np.asarray(features.sequence)[real], stored["sequence_output"][real])
        if "next_sentence" in stored:
            # The head of a pre-training has the pooler that was trained; the encoder's was not.
            close(outputs["next_sentence"], stored["next_sentence"])
        elif name != "electra":
            close(features.pooled, stored["pooled_output"])
        if "mlm_logits" in stored:
            words = outputs["logits" if name == "bert" else "masked_lm"]
            rows = np.arange(3)[:, None], stored["masked_lm_positions"]
            close(np.asarray(words)[rows], stored["mlm_logits"])


def test_sizes_and_kinds_are_told_by_the_files(tmp_path):
    bert = hub.load(f"tf:{unpacked(tmp_path, 'bert')}", read=False)
    told = ("family", "depth", "heads", "feed_forward", "positions", "activation", "pooling")
    assert [bert.body[key] for key in told] == ["bert", 2, 2, 12, 12, "gelu_new", "pooler"]
    assert bert.head is not None
    assert bert.head["family"] == "masked_lm"
    albert = hub.load(f"tf:{unpacked(tmp_path, 'albert')}", read=False)
    assert (albert.body["depth"], albert.body["groups"], albert.body["embedding_width"]) == (
        3,
        1,
        4,
    )
    assert albert.body["dropout"] == 0.0
    electra = hub.load(f"tf:{unpacked(tmp_path, 'electra')}", read=False)
    assert electra.body["embedding_width"] == 4
    assert "pooler_transform/kernel" in electra.provenance["aside"]["skipped"]
    assert any("gelu" in text for text in electra.provenance["assumed"])
    both = hub.load(f"tf:{unpacked(tmp_path, 'pretrainer')}", read=False)
    assert both.head is not None
    assert both.head["family"] == "pretraining"
    assert "pooler_transform/bias" in both.provenance["aside"]["skipped"]


@pytest.mark.parametrize("lower", [True, False])
def test_vocabulary_and_its_case_come_from_the_saved_model(tmp_path, lower):
    folder = unpacked(tmp_path, "bert")
    if not lower:
        (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    source = hub.load(f"tfhub:{folder}", read=False)
    assert source.files["vocab.txt"].startswith(b"[PAD]\n[UNK]\n")
    assert json.loads(source.files["tokenizer_config.json"]) == {"do_lower_case": lower}
    assert source.facts.lowercase is lower
    assert "do_lower_case" in source.provenance["aside"]["skipped"]


def old_names(name):
    """A name of the present generation as the first one had it."""
    for new, old in (
        ("position_embedding/embeddings", "embedding_postprocessor/position_embeddings"),
        ("type_embeddings/embeddings", "embedding_postprocessor/type_embeddings"),
        ("embeddings/layer_norm", "embedding_postprocessor/layer_norm"),
        ("self_attention/attention_output", "self_attention_output"),
        ("transformer/", "encoder/"),
    ):
        name = name.replace(new, old)
    return f"bert_model/{name}"


def test_the_first_generation_of_names_gives_the_same(tmp_path):
    raw = hub.read_tensorflow(unpacked(tmp_path, "bert"))
    kept = {n: a for n, a in raw.arrays.items() if "cls/" not in n and n != "do_lower_case"}
    write_checkpoint(tmp_path / "new" / "m.ckpt", kept)
    write_checkpoint(tmp_path / "old" / "m.ckpt", {old_names(n): a for n, a in kept.items()})
    new, old = (hub.load(f"tf:{tmp_path / folder}") for folder in ("new", "old"))
    assert new.digest == old.digest
    assert new.body == old.body
    twice = {**kept, "transformer/layer_0/self_attention_output/bias": np.zeros(8, np.float32)}
    write_checkpoint(tmp_path / "new" / "m.ckpt", twice)
    with pytest.raises(HubError, match="is there under another name too"):
        hub.load(f"tf:{tmp_path / 'new'}")


def test_all_contradictions_are_named_at_once(tmp_path):
    raw = hub.read_tensorflow(unpacked(tmp_path, "electra"))
    arrays = {**raw.arrays, "transformer/layer_0/gate/kernel": np.zeros((8, 8), np.float32)}
    bias = "transformer/layer_1/output/bias"
    del arrays[bias]
    write_checkpoint(tmp_path / "m.ckpt", arrays)
    (tmp_path / "bert_config.json").write_text('{"num_attention_heads": 4}')
    with pytest.raises(HubError) as error:
        hub.load(f"tf:{tmp_path}")
    assert "'transformer/layer_0/gate/kernel' is no name of such a ELECTRA" in str(error.value)
    assert "num_attention_heads is 4 in its config, but 2 by its arrays" in str(error.value)
    del arrays["transformer/layer_0/gate/kernel"]
    write_checkpoint(tmp_path / "m.ckpt", arrays)
    (tmp_path / "bert_config.json").unlink()
    with pytest.raises(HubError, match=r"encoder.layer.1.output.dense.bias' is missing"):
        hub.load(f"tf:{tmp_path}")


def test_an_alberts_checkpoint_needs_its_depth(tmp_path):
    raw = hub.read_tensorflow(unpacked(tmp_path, "albert"))
    arrays = {n: a for n, a in raw.arrays.items() if n != "do_lower_case"}
    write_checkpoint(tmp_path / "m" / "m.ckpt", arrays)
    with pytest.raises(HubError, match=r"albert_config\.json"):
        hub.load(f"tf:{tmp_path / 'm'}")
    (tmp_path / "m" / "albert_config.json").write_text('{"num_hidden_layers": 3}')
    assert hub.load(f"tf:{tmp_path / 'm'}").body["depth"] == 3


def test_another_order_or_activation_is_refused(tmp_path):
    folder = unpacked(tmp_path, "bert")
    described = (folder / "keras_metadata.pb").read_bytes()
    # As long as the text it stands for, so that the message stays sound.
    changed = described.replace(b'"norm_first": false', b'"norm_first": true ')
    assert changed != described
    (folder / "keras_metadata.pb").write_bytes(changed)
    with pytest.raises(HubError, match="normalise first"):
        hub.load(f"tf:{folder}", read=False)
    (folder / "keras_metadata.pb").write_bytes(described)
    graph = (folder / "saved_model.pb").read_bytes()
    (folder / "saved_model.pb").write_bytes(graph.replace(b"\x12\x04Tanh", b"\x12\x04Sinh"))
    with pytest.raises(HubError, match="the activation between them is none of"):
        hub.load(f"tf:{folder}", read=False)
