"""Runs handed on: in forms that transformers, timm, PyTorch, NumPy and JAX alone can load."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest
import small_texts
from small_runs import NEW, change, config, transfer

from tlearn import hub
from tlearn.hub import HubError
from tlearn.hub.descent import came_by, descent
from tlearn.model import variables
from tlearn.runs.config import BodyConfig, DataConfig, OptimizerConfig, RunConfig, TrainConfig
from tlearn.runs.export import export
from tlearn.runs.folder import RunFolderError
from tlearn.runs.training import start
from tlearn.runs.use import load, predict

# A ResNet that transformers has: ImageNet's stem, shortcuts by convolution.
BODY = BodyConfig(
    body="resnet18",
    settings=("stage_blocks=1,1,1,1", "stage_widths=8,8,8,16", "stem_width=64"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A ResNet of ImageNet's form trained on digits for a few steps."""
    whole = RunConfig(
        data=DataConfig(data="digits", classes=NEW, per_class=8, test_split="test"),
        body=BODY,
        optimizer=OptimizerConfig(rate=0.05),
        train=TrainConfig(length="4st", batch_size=20, checkpoint_every=1000),
    )
    out = tmp_path_factory.mktemp("export") / "run"
    return start(whole, out, say=list().append, quiet=True).folder


def pictures():
    return np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype(np.float32)


def logits(spec):
    loaded = load(str(spec))
    state = variables(loaded.params, loaded.statistics)
    return np.asarray(jax.jit(loaded.model.apply)(state, pictures()))


def near(mine, theirs):
    return np.abs(mine - theirs).max() <= 1e-5 * max(1.0, np.abs(theirs).max())


@pytest.mark.torch
def test_transformers_and_timm_compute_what_the_run_does(run, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from timm_peer import import_timm

    transformers.utils.logging.disable_progress_bar()
    given = torch.tensor(pictures()).permute(0, 3, 1, 2)
    model, info = transformers.AutoModelForImageClassification.from_pretrained(
        export(str(run), tmp_path / "hf"), output_loading_info=True
    )
    assert not any(info.values()), info
    assert model.config.id2label == dict(enumerate(NEW))
    with torch.no_grad():
        assert near(model.eval()(given).logits.numpy(), logits(run))
    folder = export(str(run), tmp_path / "timm", "timm")
    model = import_timm().create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.no_grad():
        assert near(model(given).numpy(), logits(run))


@pytest.mark.parametrize("form", ["hf", "timm", "torch", "npz"])
def test_it_comes_back_bit_for_bit_and_goes_on(run, tmp_path, form):
    folder = export(f"run:{run}", tmp_path / "out", form)
    kind = {"torch": "safetensors", "npz": "npz"}.get(form, form)
    file = {"torch": "/model.safetensors", "npz": "/model.npz"}.get(form, "")
    again, before = hub.load(f"{kind}:{folder}{file}"), hub.load(f"run:{run}")
    assert again.digest == before.digest
    assert (again.label_names, again.facts) == (before.label_names, before.facts)
    assert {**again.body, "norm_momentum": 0.9} == {**before.body, "norm_momentum": 0.9}
    assert again.head == before.head


def test_the_forward_function_of_a_run(run, tmp_path):
    forward = hub.load_exported(export(str(run), tmp_path / "out", "stablehlo"))
    assert forward.label_names == NEW
    assert near(np.asarray(forward({"image": pictures()})), logits(run))


def test_the_card_tells_the_plan_the_data_and_the_figures(run, tmp_path):
    from huggingface_hub import ModelCard

    tuned = transfer(run, tmp_path / "tuned", freeze="bottom:2", test_split="test", layer_decay=0.5)
    text = (export(str(tuned.folder), tmp_path / "out") / "README.md").read_text()
    for words in (
        "- loaded, frozen: stem, stage_1",
        "- loaded, trained, rate × 0.5: stage_4",
        "- fresh, trained: head",
        "- started from `run:run`",
        "- train: 40 pictures",
        "- SHA-256 of data test: `",
        "| digits | test | accuracy |",
        '- strategy.freeze = "bottom:2"',
        "- jax ",
        "- digest of what was loaded: `",
        "ResNetForImageClassification.from_pretrained",
    ):
        assert words in text, words
    assert str(tmp_path.parent) not in text
    assert "strategy.norms" not in text  # A default tells nothing.
    figures = ModelCard(text).data.eval_results
    assert {(r.dataset_split, r.metric_type) for r in figures} == {
        ("test", "accuracy"),
        ("test", "loss"),
    }


def test_the_checkpoint_that_weights_began_as_is_remembered(run, tmp_path):
    folder = export(str(run), tmp_path / "hf")
    whole = change(config(folder, length="2st"), source=f"hf:{folder}")
    first = start(whole, tmp_path / "a", say=list().append, quiet=True).folder
    second = transfer(first, tmp_path / "b", length="2st").folder
    held = hub.load(f"run:{second}").provenance
    assert came_by(held)["table"] == "hf_resnet"
    assert came_by(held)["architecture"] == "ResNetForImageClassification"
    # And nothing of the runs' configs is carried along from run to run.
    assert set(descent(held)) <= {"spec", "from", "table", "architecture", "licence", "origin"}
    assert "extra" not in descent({"origin": {"origin": {}}})


@pytest.mark.torch
def test_transformers_reads_a_run_on_texts_with_its_tokenizer(tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    texts = ["the film was lovely", "a dull story and a poor play of it"]
    data = small_texts.reviews(tmp_path / "reviews")
    whole = small_texts.config(
        small_texts.bert_folder(tmp_path / "bert"), f"text:{data}", length="2st"
    )
    run = start(whole, tmp_path / "run", say=list().append, quiet=True).folder
    folder = export(str(run), tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        found = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    for row, prediction in zip(found.softmax(-1).numpy(), predict(str(run), texts), strict=True):
        mine = dict(prediction.labels)
        assert {model.config.id2label[i] for i in (0, 1)} == mine.keys()
        assert all(abs(mine[model.config.id2label[i]] - row[i]) < 1e-5 for i in (0, 1))


def test_a_run_that_has_no_class_there_is_refused(digits_run, tmp_path):
    with pytest.raises(HubError, match=r"stem='cifar'(.|\n)*export it as 'torch' or 'stablehlo'"):
        export(str(digits_run), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_finished_run_is_told(tmp_path, digits_run):
    with pytest.raises(HubError, match="there is no run folder nowhere"):
        export("nowhere", tmp_path / "out")
    half = shutil.copytree(digits_run, tmp_path / "half", ignore=lambda *_: ["model"])
    with pytest.raises(RunFolderError, match="has no model yet"):
        export(str(half), tmp_path / "out")


def test_a_body_without_a_head_becomes_a_base_model(run, tmp_path):
    whole = hub.load(f"run:{run}")
    body = {path: value for path, value in whole.params.items() if path.startswith("body/")}
    bare = dataclasses.replace(whole, params=body, head=None, label_names=None)
    hub.save_model(tmp_path / "bare", bare)
    folder = export(str(tmp_path / "bare"), tmp_path / "out")
    assert "ResNetModel" in (folder / "config.json").read_text()
    assert hub.load(str(folder)).head is None
