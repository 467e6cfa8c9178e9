"""Wrong checkpoint folders: each a clear error, all problems at once, and fast."""

import json
import os
import struct
import time

import numpy as np
import pytest

from tests.hub.folders import CONFIG, WORDS, bert_arrays, write_folder
from tests.hub.hub_files import call, dictionary, group, name, text, write_zip
from tlearn import hub
from tlearn.hub.errors import HubError
from tlearn.hub.safetensors_file import write_safetensors


def change_index(folder, change):
    file = folder / "model.safetensors.index.json"
    index = json.loads(file.read_text())
    change(index["weight_map"])
    file.write_text(json.dumps(index))


def truncated(folder):
    write_folder(folder)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def truncated_shards(folder):
    write_folder(folder, shards=3)
    for i in (1, 3):
        file = folder / f"model-0000{i}-of-00003.safetensors"
        file.write_bytes(file.read_bytes()[:-8])


def missing_shards(folder):
    write_folder(folder, shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    change_index(folder, lambda places: places.update({"x": "gone.safetensors"}))


def climbing_shards(folder):
    write_folder(folder / "inner", shards=2)
    write_safetensors(folder / "secret.safetensors", {"x": np.zeros(1, np.float32)})
    change_index(
        folder / "inner",
        lambda places: places.update({"x": "../secret.safetensors", "y": "/etc/passwd"}),
    )


def misplaced_arrays(folder):
    write_folder(folder, shards=2)
    change_index(folder, lambda places: places.pop("bert.pooler.dense.bias"))
    change_index(
        folder, lambda places: places.update({"extra": "model-00001-of-00002.safetensors"})
    )


def no_map(folder):
    write_folder(folder, shards=2)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": 1}}')


def huge_header(folder):
    write_folder(folder)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 10**12) + b"{}" * 50)


def hostile_pickle(folder):
    write_folder(folder)
    (folder / "model.safetensors").unlink()
    evil = call(name("os", "system"), text(f"touch {folder}/owned"))
    write_zip(folder / "pytorch_model.bin", dictionary({"bert.pooler.dense.bias": evil}))


def climbing_zip(folder):
    write_folder(folder)
    (folder / "model.safetensors").unlink()
    root = dictionary({"x": group()})
    write_zip(folder / "pytorch_model.bin", root, extra={"../../owned": b"x"})


def write_config(content):
    def make(folder):
        write_folder(folder)
        (folder / "config.json").write_bytes(content)

    return make


def changed(arrays=None, **config):
    def make(folder):
        write_folder(folder, arrays() if arrays else None, config=config)

    return make


def more_tokens(folder):
    write_folder(folder, tokens=(*WORDS, "too", "many"))


def fewer_tokens(folder):
    config = {"vocab_size": 30_000}
    write_folder(folder, bert_arrays(vocab=30_000), tokens=WORDS[:20], config=config)


def all_text_at_once(folder):
    tokens = ("[UNK]", "[PAD]", *WORDS[2:], "more")
    write_folder(folder, tokens=tokens, config={"pad_token_id": 0})


def other_arrays(folder):
    arrays = bert_arrays()
    arrays["bert.encoder.layer.0.output.dence.weight"] = arrays.pop(
        "bert.encoder.layer.0.output.dense.weight"
    )
    arrays["bert.pooler.dense.bias"] = np.zeros(9, np.float32)
    arrays["classifier.bias"] = np.zeros(3, np.int64)
    write_folder(folder, arrays, tokens=(*WORDS, "too", "many"))


DEEP = b'{"model_type": "bert", "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"

WRONG = {
    "truncated safetensors": (truncated, ["is no sound safetensors file"]),
    "truncated shards": (
        truncated_shards,
        ["model-00001-of-00003.safetensors is no sound", "model-00003-of-00003.safetensors is no"],
    ),
    "missing shards": (
        missing_shards,
        ["'model-00002-of-00003.safetensors' is missing (", "'gone.safetensors' is missing"],
    ),
    "shards outside": (
        climbing_shards,
        ["'../secret.safetensors' lies outside", "'/etc/passwd' lies outside"],
    ),
    "arrays elsewhere": (
        misplaced_arrays,
        [
            "'extra' is not in model-00001",
            "holds 'bert.pooler.dense.bias', which the index does not say",
        ],
    ),
    "no map": (no_map, ["has no weight_map"]),
    "header of 10^12 bytes": (huge_header, ["its header claims 1000000000000 bytes"]),
    "pickle that runs a command": (hostile_pickle, ["'os.system'", "was not imported"]),
    "zip that climbs out": (climbing_zip, ["names a file outside the archive"]),
    "config that is no JSON": (write_config(b"{model"), ["config.json is no JSON"]),
    "config that is a list": (write_config(b"[1]"), ["is no JSON object, but a list"]),
    "config nested deep": (write_config(DEEP), ["nested too deeply"]),
    "config huge": (
        write_config(b'{"a": "' + b"x" * 2**25 + b'"}'),
        ["no description of a model"],
    ),
    "unknown family": (
        changed(model_type="brt"),
        ["its model_type 'brt' is no family known here", "nearest: 'bert'"],
    ),
    "no family": (write_config(b"{}"), ["no model_type"]),
    "absurd sizes": (changed(hidden_size=10**30), ["model"]),
    "wrong types": (changed(num_hidden_layers="two"), ["num_hidden_layers"]),
    "endless depth": (changed(num_hidden_layers=10**5), ["layer"]),
    "labels of another head": (
        changed(id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1}),
        ["2", "3"],
    ),
    "tokens without a row": (
        more_tokens,
        ["the tokenizer has 2 tokens without a row in the embedding of 30", "'too' = 30"],
    ),
    "rows without a token": (
        fewer_tokens,
        ["the embedding has 30000 rows, the tokenizer's last token is 19"],
    ),
    "all about texts": (
        all_text_at_once,
        [
            "1 tokens without a row",
            "the padding token is 0 in the config, 1 in the tokenizer",
        ],
    ),
    "positions of another table": (changed(max_position_embeddings=99), ["99", "12"]),
    "other names and shapes": (
        other_arrays,
        [
            "'bert.encoder.layer.0.output.dense.weight' is missing (nearest: 'bert.encoder",
            "'bert.encoder.layer.0.output.dence.weight' is not in the table",
            "'body/pooler/dense/bias' has the shape (9,), wanted (8,)",
            "'head/dense/bias' has the type int64",
            "the tokenizer has 2 tokens without a row",
        ],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_folders_are_refused_with_every_reason(tmp_path, case):
    make, messages = WRONG[case]
    folder = tmp_path / "checkpoint"
    make(folder)
    if not (folder / "config.json").exists():
        folder = folder / "inner"
    begin = time.process_time()
    with pytest.raises(HubError) as error:
        hub.load(f"hf:{folder}")
    took = time.process_time() - begin
    for message in messages:
        assert message in str(error.value)
    assert len(str(error.value)) < 5000
    assert took < 10
    assert not list(tmp_path.rglob("owned"))


def test_shapes_and_types_are_told_together(tmp_path):
    arrays = bert_arrays()
    arrays["bert.pooler.dense.bias"] = np.zeros(9, np.float32)
    arrays["bert.encoder.layer.1.output.dense.bias"] = np.zeros(7, np.float32)
    with pytest.raises(HubError) as error:
        hub.load(f"hf:{write_folder(tmp_path, arrays)}")
    assert "(9,)" in str(error.value)
    assert "(7,)" in str(error.value)


def test_folders_without_weights_say_what_they_hold(tmp_path):
    folder = write_folder(tmp_path / "checkpoint")
    weights = folder / "model.safetensors"
    weights.unlink()
    with pytest.raises(HubError, match="has no weights: one of"):
        hub.load(f"hf:{folder}")
    (folder / "tf_model.h5").write_bytes(b"x")
    with pytest.raises(HubError, match=r"holds only tf_model.h5, Keras weights"):
        hub.load(f"hf:{folder}")
    os.symlink(tmp_path / "blobs" / "gone", weights)
    (folder / "tf_model.h5").unlink()
    with pytest.raises(HubError, match="link to a file that is gone"):
        hub.load(f"hf:{folder}")
    (folder / "config.json").unlink()
    with pytest.raises(HubError, match=r"has no config.json"):
        hub.load(f"hf:{folder}")


def test_a_padded_embedding_is_no_error_but_on_record(tmp_path):
    folder = write_folder(tmp_path, tokens=WORDS[:27])
    source = hub.load(f"hf:{folder}")
    assert "the last 3 rows of the embedding belong to no token" in source.provenance["assumed"]


def test_a_tokenizer_that_allows_more_than_the_positions_is_held_to_them(tmp_path):
    folder = write_folder(tmp_path, tokenizer={"model_max_length": 512})
    source = hub.load(f"hf:{folder}")
    assert source.facts.max_length == CONFIG["max_position_embeddings"]
    assert any("allows 512 tokens" in line for line in source.provenance["assumed"])
