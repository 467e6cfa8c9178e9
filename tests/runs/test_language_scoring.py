"""What a pre-trained head from elsewhere is asked on a corpus."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from word_texts import FILES, sentences

from tlearn import bodies, heads, hub
from tlearn.data import DataError
from tlearn.hub.verify import example_inputs
from tlearn.model import Model, shapes
from tlearn.runs.reading import Selection
from tlearn.runs.use import score

FIXTURES = Path(__file__).parents[1] / "fixtures"


def pretrained(fixture, folder):
    """A stored encoder with the head of its pre-training and a tokenizer, as somebody left it."""
    source = hub.load(f"hf:{FIXTURES / fixture}")
    body = bodies.build({**source.body, "pooling": "pooler", "types": 2})
    head = heads.Pretraining(activation=body.activation, norm_epsilon=body.norm_epsilon)
    expected, _ = shapes(Model(body, head), *example_inputs(body, source.body))
    draw = np.random.default_rng(0)
    params = {
        path: draw.normal(0, 0.3, leaf.shape).astype(np.float32) for path, leaf in expected.items()
    }
    # Its own numbers wherever there is room for them: the fixture of ALBERT has another head.
    for path in params.keys() & source.params.keys():
        if params[path].shape == source.params[path].shape:
            params[path] = np.asarray(source.params[path])
    made = dataclasses.replace(
        source,
        params=params,
        body=bodies.describe(body),
        head=heads.describe(head),
        label_names=None,
        files=FILES,
    )
    return f"hf:{hub.export_folder(made, folder)}"


@pytest.mark.parametrize("fixture", ["hf_bert", "hf_albert"])
def test_an_albert_is_asked_for_the_order_of_sentences(fixture, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    spec = pretrained(fixture, tmp_path / "model")
    one, several = tmp_path / "one.txt", tmp_path / "several.txt"
    one.write_text("\n".join(sentences(40, longest=8)))
    several.write_text(one.read_text().replace("\n", "\n\n", 20))
    found = score(spec, Selection(f"blank:{several}")).metrics
    assert 0 <= found["pair_accuracy"] <= 1
    assert np.isfinite(found["loss"])
    # Two segments of one document may change places; BERT's second one comes from another.
    if fixture == "hf_bert":
        with pytest.raises(DataError, match="document"):
            score(spec, Selection(f"blank:{one}"))
    else:
        assert "pair_accuracy" in score(spec, Selection(f"blank:{one}")).metrics
