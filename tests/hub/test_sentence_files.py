"""What a folder says of pooling is what the body does, on the way in and on the way out."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tlearn import hub
from tlearn.hub.errors import HubError
from tlearn.hub.safetensors_file import write_safetensors
from tlearn.hub.sentence_files import POOLING, pooling_said

STORED = Path(__file__).parents[1] / "fixtures" / "hf_bert"


@pytest.fixture
def encoder(tmp_path):
    """A sentence encoder's folder: a body with a pooler, and a file that says to take the mean."""
    folder = tmp_path / "encoder"
    (folder / "1_Pooling").mkdir(parents=True)
    arrays = hub.read_safetensors(STORED / "model.safetensors").arrays
    body = {
        name.removeprefix("bert."): np.array(value)
        for name, value in arrays.items()
        if name.startswith("bert.")
    }
    write_safetensors(folder / "model.safetensors", body, {"format": "pt"})
    config = json.loads((STORED / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}))
    modes = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (folder / POOLING).write_text(json.dumps({"word_embedding_dimension": 8, **modes}))
    (folder / "modules.json").write_text("[]")
    return folder


def test_the_folder_decides_unless_told_otherwise(encoder):
    mean = hub.load(f"hf:{encoder}")
    assert mean.body["pooling"] == "mean"
    assert not [path for path in mean.params if "pooler" in path]
    assert hub.load(f"hf:{encoder}", pooling="pooler").body["pooling"] == "pooler"
    two = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    (encoder / POOLING).write_text(json.dumps(two))
    with pytest.raises(HubError, match="pooling_mode_cls_token"):
        hub.load(f"hf:{encoder}")
    assert hub.load(f"hf:{encoder}", pooling="max").body["pooling"] == "max"


@pytest.mark.parametrize("pooling", ["mean", "max", "last", "first", "pooler"])
def test_every_pooling_comes_back(encoder, tmp_path, pooling):
    source = hub.load(f"hf:{encoder}", pooling=pooling)
    again = hub.load(f"hf:{hub.export_folder(source, tmp_path / 'out')}")
    assert again.body == source.body
    assert again.params.keys() == source.params.keys()


def test_a_head_reads_what_its_class_reads(encoder, tmp_path):
    source = hub.load(f"hf:{encoder}", pooling="pooler")
    width = source.body["width"]
    headed = dataclasses.replace(
        source,
        params={
            **source.params,
            "head/dense/kernel": np.ones((width, 2), np.float32),
            "head/dense/bias": np.zeros(2, np.float32),
        },
        head={"family": "linear", "classes": 2},
    )
    out = hub.export_folder(headed, tmp_path / "out")
    assert not (out / POOLING).exists()
    assert hub.load(f"hf:{out}").body["pooling"] == "pooler"
    averaged = dataclasses.replace(headed, body={**headed.body, "pooling": "mean"})
    with pytest.raises(HubError, match="pooling='pooler'"):
        hub.export_folder(averaged, tmp_path / "other")


def test_files_without_a_word_on_pooling_say_nothing():
    assert pooling_said({"modules.json": b"[]"}) is None
