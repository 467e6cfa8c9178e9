"""The forward function out as StableHLO, called again without the code of the model."""

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import own_models as own
import pytest

from tlearn import bodies, hub
from tlearn.hub import HubError, forward_export

QUICK = (
    *("BertModel", "RobertaForMaskedLM", "GPT2LMHeadModel"),
    *("T5ForConditionalGeneration", "ViTForImageClassification", "ResNetModel"),
)
SOME = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in own.MODELS
]
CALL = """
import sys
import numpy as np
from tlearn import hub
forward = hub.load_exported(sys.argv[1])
given = dict(np.load(sys.argv[2]))
out = forward(given)
np.save(sys.argv[3], np.asarray(out))
# A second size of batch, by the same program.
half = forward({name: value[:1] for name, value in given.items()})
assert np.abs(np.asarray(half) - np.asarray(out)[:1]).max() < 1e-5
code = ("tlearn.model", "tlearn.bodies.bert", "tlearn.bodies.resnet", "tlearn.heads.classifiers")
loaded = [name for name in (*code, "flax", "transformers") if name in sys.modules]
assert not loaded, loaded
"""


def leaves(outputs):
    return {jax.tree_util.keystr(p): np.asarray(v) for p, v in jax.tree.leaves_with_path(outputs)}


@pytest.mark.parametrize("name", SOME)
def test_it_computes_the_same_for_every_size_of_batch_and_text(tmp_path, name):
    source = own.make(name)
    forward = hub.load_exported(hub.export_forward(source, tmp_path / "out"))
    shapes = {put.name: put.shape for put in forward.inputs}
    assert all(shape[0] == "b" for shape in shapes.values())
    # Relative positions are counted out when T5's program is made: it takes one length.
    fixed = name.startswith("T5")
    texts = [shape[1] for put, shape in shapes.items() if put != "image"]
    assert set(texts) <= ({20} if fixed else {"t", "u"})
    assert (forward.label_names, forward.facts) == (source.label_names, source.facts)
    for rows, length in ((3, 7), (2, 5)):
        given = own.batch(source, 1, rows, *((20, 20) if fixed else (length,)))
        mine, theirs = leaves(own.compute(source, given)), leaves(forward(given))
        assert mine.keys() == theirs.keys()
        for part, value in mine.items():
            scale = max(1.0, np.abs(value).max())
            assert np.abs(value - theirs[part]).max() <= 1e-6 * scale, part


@pytest.mark.parametrize("name", ["BertForSequenceClassification", "ResNetForImageClassification"])
def test_another_process_calls_it_without_the_models_code(tmp_path, name):
    source = own.make(name)
    given = own.batch(source)
    hub.export_forward(source, tmp_path / "out")
    np.savez(tmp_path / "in.npz", **given)
    words = [sys.executable, "-c", CALL, *(str(tmp_path / p) for p in ("out", "in.npz", "o.npy"))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    ours = np.asarray(own.compute(source, given))
    assert np.abs(np.load(tmp_path / "o.npy") - ours).max() <= 1e-6 * max(1, np.abs(ours).max())


def test_it_is_lowered_for_platforms_that_are_not_here(tmp_path):
    for name in ("BertForSequenceClassification", "ResNetForImageClassification"):
        source = own.make(name)
        folder = hub.export_forward(source, tmp_path / name, platforms=("tpu", "cpu", "cuda"))
        forward = hub.load_exported(folder)
        assert forward.platforms == ("tpu", "cpu", "cuda")
        given = own.batch(source)
        ours = np.asarray(own.compute(source, given))
        assert np.abs(np.asarray(forward(given)) - ours).max() <= 1e-6 * max(1, np.abs(ours).max())
    hub.export_forward(source, tmp_path / "tpu", platforms=("tpu",))
    with pytest.raises(HubError, match="lowered for tpu, and this is cpu: export it again with"):
        hub.load_exported(tmp_path / "tpu")


def test_half_precision_runs_are_exported_in_float32(tmp_path):
    source = own.make("BertForSequenceClassification")
    half = dataclasses.replace(source, body={**source.body, "dtype": "bfloat16", "remat": True})
    forward = hub.load_exported(hub.export_forward(half, tmp_path / "out"))
    given = own.batch(source)
    assert np.abs(np.asarray(forward(given)) - np.asarray(own.compute(source, given))).max() < 1e-6


def test_a_length_can_be_fixed_and_is_when_it_must_be(tmp_path, monkeypatch):
    source = own.make("BertForSequenceClassification")
    forward = hub.load_exported(hub.export_forward(source, tmp_path / "five", length=5))
    assert {put.shape for put in forward.inputs} == {("b", 5)}
    with pytest.raises(HubError, match=r"'tokens' has the shape \(3, 7\), int32 \[b, 5\]"):
        forward(own.batch(source))
    # A body whose program asks how long texts are can take one length only; it says which.
    real = forward_export._function

    def asks(source):
        body, function = real(source)

        def counted(weights, tokens, *others):
            return function(weights, tokens, *others) if tokens.shape[1] > 4 else None

        return body, counted

    monkeypatch.setattr(forward_export, "_function", asks)
    folder = hub.export_forward(source, tmp_path / "fixed")
    assert {put.shape for put in hub.load_exported(folder).inputs} == {("b", 20)}
    assert "texts have exactly 20 tokens" in (folder / "README.md").read_text()


def test_wrong_batches_are_told_all_at_once(tmp_path):
    source = own.make("BertForSequenceClassification")
    forward = hub.load_exported(hub.export_forward(source, tmp_path / "out"))
    given = own.batch(source)
    with pytest.raises(HubError) as refused:
        forward({"token": given["tokens"], "segments": given["segments"][:2], "types": 0.5})
    said = str(refused.value)
    assert "'tokens' is missing (nearest: 'token'): int32 [b, t] is wanted" in said
    assert "'types' has the type float64" in said
    with pytest.raises(HubError, match="'types' has the shape"):
        forward({**given, "types": given["types"][:, :3]})


def test_what_lies_beside_tells_of_inputs_and_outputs(tmp_path):
    source = dataclasses.replace(
        own.make("ResNetForImageClassification"), provenance={"licence": "MIT"}
    )
    folder = hub.export_forward(source, tmp_path / "out")
    about = json.loads((folder / "forward.json").read_text())
    assert about["inputs"] == [{"name": "image", "dtype": "float32", "shape": ["b", 16, 16, 1]}]
    assert about["outputs"] == {"dtype": "float32", "shape": ["b", 3]}
    assert about["label_names"] == list(own.LABELS)
    assert about["facts"]["crop"] == 0.8
    assert about["licence"] == "MIT"
    assert hub.read_safetensors(folder / "weights.safetensors").arrays.keys() == {
        *(f"params/{path}" for path in source.params),
        *(f"batch_stats/{path}" for path in source.collections),
    }
    assert "tl.hub.load_exported" in (folder / "README.md").read_text()


def test_damaged_and_strange_folders_are_refused(tmp_path):
    source = own.make("ResNetModel")
    folder = hub.export_forward(source, tmp_path / "out")
    with pytest.raises(HubError, match=r"forward\.json is missing"):
        hub.load_exported(tmp_path)
    for name in ("forward.stablehlo", "weights.safetensors"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-9] + b"\0" * 9)
        with pytest.raises(HubError, match=f"{name} is not the file that was exported"):
            hub.load_exported(folder)
        (folder / name).write_bytes(whole)
    about = json.loads((folder / "forward.json").read_text())
    (folder / "forward.json").write_text(json.dumps({**about, "format": 2}))
    with pytest.raises(HubError, match="has the format 2; this version reads 1"):
        hub.load_exported(folder)


def test_wrong_wishes_are_refused(tmp_path):
    source = own.make("BertModel")
    with pytest.raises(HubError, match=r"'cudaa' is no platform of .*nearest: 'cuda'"):
        hub.export_forward(source, tmp_path / "out", platforms=("cudaa",))
    with pytest.raises(HubError, match=r"no platform is named.*length is -1"):
        hub.export_forward(source, tmp_path / "out", platforms=(), length=-1)
    with pytest.raises(HubError, match="20 positions"):
        hub.export_forward(source, tmp_path / "out", length=21)
    unknown = own.described(bodies.create("resnet18", **own.RESNET), None, facts=None)
    with pytest.raises(HubError, match="do not say how large their pictures are"):
        hub.export_forward(unknown, tmp_path / "out")
    assert not list(tmp_path.iterdir())
