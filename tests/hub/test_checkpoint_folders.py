"""Checkpoint folders: one file or shards, torch's or safetensors, and what travels beside."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.hub.folders import WORDS, bert_arrays, write_folder
from tests.hub.hub_files import write_state_dict
from tlearn import bodies, heads, hub
from tlearn.bodies.facts import ImageFacts, TextFacts
from tlearn.hub.errors import HubError
from tlearn.hub.leaf import Leaf
from tlearn.hub.source import facts_from_json, facts_to_json
from tlearn.model import Model, shapes

TOKENS = jax.ShapeDtypeStruct((1, 4), jnp.int32)


def targets(source):
    model = Model(bodies.build(dict(source.body)), heads.build(dict(source.head)))
    return shapes(model, TOKENS, TOKENS, TOKENS)


def test_every_layout_of_the_same_weights_gives_the_same_source(tmp_path):
    arrays = bert_arrays()
    whole = hub.load(f"hf:{write_folder(tmp_path / 'whole')}")
    sharded = hub.load(str(write_folder(tmp_path / "shards", shards=3)))
    torch = write_folder(tmp_path / "torch")
    (torch / "model.safetensors").unlink()
    write_state_dict(torch / "pytorch_model.bin", arrays)
    pickled = hub.load(f"hf:{torch}")
    assert whole.digest == sharded.digest == pickled.digest
    assert whole.label_names == ("bad", "good", "odd")
    assert len(sharded.provenance["weights"]) == 3
    assert all(entry["sha256"] for entry in sharded.provenance["weights"])
    assert pickled.provenance["format"].startswith("torch")


def test_safetensors_are_preferred(tmp_path):
    folder = write_folder(tmp_path)
    (folder / "pytorch_model.bin").write_bytes(b"not to be looked at")
    assert hub.load(f"hf:{folder}").provenance["file"] == "model.safetensors"


def test_facts_of_texts_come_from_config_and_tokenizer(tmp_path):
    source = hub.load(f"hf:{write_folder(tmp_path)}")
    assert isinstance(source.facts, TextFacts)
    assert (source.facts.vocab_size, source.facts.max_length, source.facts.pad) == (30, 12, 0)
    assert dict(source.facts.special) == {"cls": 2, "sep": 3, "mask": 4, "unk": 1}
    assert source.facts.lowercase is True
    assert source.facts.pair_types
    assert source.facts.token("mask") == 4


def test_leaves_are_read_when_they_are_looked_at(tmp_path):
    folder = write_folder(tmp_path, bert_arrays(dtype=np.float16))
    source = hub.load(f"hf:{folder}", read=False)
    assert source.provenance["sha256"] is None
    leaf = source.params["body/embeddings/tokens/embedding"]
    assert isinstance(leaf, Leaf)
    assert (leaf.shape, leaf.dtype, leaf.size, leaf.nbytes) == ((30, 8), np.float32, 240, 960)
    stored = bert_arrays(dtype=np.float16)["bert.embeddings.word_embeddings.weight"]
    np.testing.assert_array_equal(np.asarray(leaf), stored)
    first, second = np.asarray(leaf), np.asarray(leaf)
    first[...] = 0
    assert second.any()
    assert source.provenance["casts"]["body/embeddings/tokens/embedding"] == "float16"


def test_without_reading_reconcile_knows_names_and_shapes_alone(tmp_path):
    folder = write_folder(tmp_path)
    source = hub.load(f"hf:{folder}", read=False)
    content = bytearray((folder / "model.safetensors").read_bytes())
    wanted, statistics = targets(source)
    params, _, report = hub.reconcile(source, wanted, statistics, read=False)
    assert {p: v.shape for p, v in params.items()} == {p: v.shape for p, v in wanted.items()}
    assert not any(np.asarray(v).any() for v in params.values())
    assert report.digests == {}
    assert "not read" in str(report)
    # Numbers that are spoilt are not noticed, because they are not looked at; with them it is.
    content[-400:] = b"\xff" * 400
    (folder / "model.safetensors").write_bytes(content)
    spoilt = hub.load(f"hf:{folder}", read=False)
    hub.reconcile(spoilt, wanted, statistics, read=False)
    with pytest.raises(HubError, match="not finite"):
        hub.reconcile(spoilt, wanted, statistics)


def test_leaves_go_to_their_sharding_and_dtype_with_progress(tmp_path):
    source = hub.load(f"hf:{write_folder(tmp_path)}")
    wanted, statistics = targets(source)
    path = "body/block_00/feed_forward/in/kernel"
    mesh = jax.make_mesh((4,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, "x"))
    frozen = "body/embeddings/tokens/embedding"
    wanted[frozen] = jax.ShapeDtypeStruct(wanted[frozen].shape, jnp.bfloat16)
    said = []
    params, _, report = hub.reconcile(
        source,
        wanted,
        statistics,
        shardings={path: sharding},
        progress=lambda done, total: said.append((done, total)),
    )
    assert params[path].sharding == sharding
    np.testing.assert_array_equal(params[path], np.asarray(source.params[path]))
    assert params[frozen].dtype == jnp.bfloat16
    assert report.paths("cast") == (frozen,)
    assert said[-1][0] == said[-1][1] == sum(v.nbytes for v in params.values())
    assert [done for done, _ in said] == sorted(done for done, _ in said)
    with pytest.raises(HubError, match="shardings name 'body/more'"):
        hub.reconcile(source, wanted, statistics, shardings={"body/more": sharding})


def test_files_and_facts_travel_with_a_run(tmp_path):
    source = hub.load(f"hf:{write_folder(tmp_path / 'hf')}")
    hub.save_model(tmp_path / "run", source)
    again = hub.read_run(tmp_path / "run")
    assert again.files == source.files
    assert again.facts == source.facts
    assert again.digest == source.digest
    (tmp_path / "run" / "model" / "files" / "vocab.txt").write_text("[PAD]\n")
    with pytest.raises(HubError, match=r"'vocab.txt' is not the one that was saved"):
        hub.read_run(tmp_path / "run")
    description = tmp_path / "run" / "model" / "model.json"
    said = json.loads(description.read_text())
    said["files"] = {"../../secret": "0" * 64, "gone.txt": "0" * 64}
    description.write_text(json.dumps(said))
    with pytest.raises(HubError) as error:
        hub.read_run(tmp_path / "run")
    assert "lies outside the folder" in str(error.value)
    assert "'gone.txt' is missing" in str(error.value)


def test_facts_without_a_kind_are_a_pictures():
    image = ImageFacts(mean=(0.5,), std=(0.5,), size=8, channels=1)
    said = facts_to_json(image)
    assert said["kind"] == "image"
    del said["kind"]
    assert facts_from_json(said) == image
    text = TextFacts(30, None, 0, (("cls", 2),), None, True)
    assert facts_from_json(json.loads(json.dumps(facts_to_json(text)))) == text
    with pytest.raises(HubError, match="'image' or 'text'"):
        facts_from_json({"kind": "sound"})


def test_vocabulary_is_remapped_by_token(tmp_path):
    source = hub.load(f"hf:{write_folder(tmp_path)}")
    path = "body/embeddings/tokens/embedding"
    table = np.asarray(source.params[path])
    new = ["[PAD]", "w3", "unheard", "[CLS]", "w24"]
    wanted, statistics = targets(source)
    wanted[path] = jax.ShapeDtypeStruct((7, 8), jnp.float32)
    params, _, report = hub.reconcile(
        source, wanted, statistics, resize=[(path, "remap_vocabulary", new)]
    )
    given = np.asarray(params[path])
    for number, token in enumerate(new):
        row = table[WORDS.index(token)] if token in WORDS else table.mean(0)
        np.testing.assert_allclose(given[number], row, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(given[5:], np.stack([table.mean(0)] * 2), rtol=1e-5, atol=1e-7)
    assert "4 of 5 tokens keep their row, 1 get the mean: 'unheard'" in report.full()
    for tokens, message in (
        ((), "wants the new tokens"),
        ({"a": 0, "b": 0}, "twice"),
        ({"a": 9}, "beyond the 7 rows"),
    ):
        with pytest.raises(HubError, match=message):
            hub.reconcile(source, wanted, statistics, resize=[(path, "remap_vocabulary", tokens)])


def test_a_sentence_encoders_folder_says_how_it_pools(tmp_path):
    folder = write_folder(tmp_path, bert_arrays(classes=0), config={"architectures": ["BertModel"]})
    assert hub.load(f"hf:{folder}").body["pooling"] == "pooler"
    (folder / "1_Pooling").mkdir()
    said = {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(said))
    source = hub.load(f"hf:{folder}")
    assert source.body["pooling"] == "mean"
    assert hub.load(f"hf:{folder}", pooling="first").body["pooling"] == "first"
    hub.save_model(tmp_path / "run", source)
    assert "1_Pooling/config.json" in hub.read_run(tmp_path / "run").files
    said["pooling_mode_max_tokens"] = True
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(said))
    with pytest.raises(HubError, match="say pooling="):
        hub.load(f"hf:{folder}")


def test_a_leaf_is_counted_with_like_an_array():
    leaf = Leaf(np.arange(6, dtype=np.float16).reshape(2, 3), dtype=np.float32)
    np.testing.assert_array_equal(leaf - leaf, np.zeros((2, 3)))
    np.testing.assert_array_equal(np.add(1, leaf), 1 + np.arange(6).reshape(2, 3))
    assert (2 * leaf).dtype == np.float32
    assert np.max(leaf) == 5
    counted = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree))({"leaf": leaf})
    np.testing.assert_array_equal(counted["leaf"], 1 + np.arange(6).reshape(2, 3))
