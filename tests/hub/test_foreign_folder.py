"""Models of our own, out to transformers and timm and back: same numbers, nothing lost."""

import dataclasses
import errno
import json

import numpy as np
import own_models as own
import pytest

from tlearn import bodies, hub
from tlearn.bodies.facts import ImageFacts
from tlearn.hub import HubError, new_folder
from tlearn.hub.foreign_folder import as_foreign
from tlearn.hub.model_card import Result, Training, base_model, model_card, short

# What a foreign config has no word for, or spells in its own way, and what only training asks.
TRAINING = ("dropout", "attention_dropout", "embedding_dropout", "drop_path", "kernel_init")
TRAINING += ("init_std", "init_factor", "pooler_width", "drop_input", "norm_momentum")


@pytest.mark.parametrize("name", own.MODELS)
def test_load_of_export_is_the_same_bit_for_bit(tmp_path, name):
    source = own.make(name)
    folder = hub.export_folder(source, tmp_path / "out")
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == [name]
    own.same(hub.load(f"hf:{folder}"), source, TRAINING)


QUICK = (
    *("BertForSequenceClassification", "RobertaForMaskedLM", "GPT2ForSequenceClassification"),
    *("T5ForConditionalGeneration", "ViTForImageClassification", "ResNetForImageClassification"),
)
SLOW = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in own.MODELS
]


@pytest.mark.torch
@pytest.mark.parametrize("name", SLOW)
def test_transformers_computes_the_same(tmp_path, name):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    transformers.utils.logging.disable_progress_bar()
    source = own.make(name)
    hub.export_folder(source, tmp_path / "out")
    model, info = getattr(transformers, name).from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(info.values()), info
    given = own.batch(source)
    with torch.no_grad():
        theirs = peer_outputs(torch, model.eval(), name, given)
    ours = own.compute(source, given)
    ours = ours if isinstance(ours, dict) else {"logits": ours}
    assert theirs.keys() <= ours.keys()
    real = given["segments"] > 0 if "segments" in given else None
    for part, value in theirs.items():
        mine, wanted = np.asarray(ours[part]), value.numpy()
        if real is not None and "decoder_tokens" in given:
            real = given["decoder_segments"] > 0
        if real is not None and mine.ndim == 3:
            mine, wanted = mine[real], wanted[real]
        assert near(mine, wanted), part


def near(mine, wanted):
    return np.abs(mine - wanted).max() <= 1e-5 * max(1.0, np.abs(wanted).max())


def peer_outputs(torch, model, name, given):
    if "image" in given:
        out = model(torch.tensor(given["image"]).permute(0, 3, 1, 2))
        if name.endswith("Model"):
            return {"pooled": out.pooler_output.flatten(1)}
        return {"logits": out.logits}
    names = {"tokens": "input_ids", "segments": "attention_mask", "types": "token_type_ids"}
    names |= {"decoder_tokens": "decoder_input_ids", "decoder_segments": "decoder_attention_mask"}
    inputs = {names[k]: torch.tensor(v, dtype=torch.long) for k, v in given.items()}
    if name.startswith("DistilBert"):
        del inputs["token_type_ids"]
    out = model(**inputs)
    return {"sequence": out.last_hidden_state} if "logits" not in out else {"logits": out.logits}


@pytest.mark.torch
@pytest.mark.parametrize("name", ["vit-tiny-patch16", "deit-tiny-distilled", "resnet18"])
def test_timm_computes_the_same(tmp_path, name):
    torch = pytest.importorskip("torch")
    from timm_peer import import_timm

    timm = import_timm()
    changes = own.RESNET | {"stage_blocks": (1, 1, 1, 1), "stage_widths": (8, 8, 16, 16)}
    head = own.CLASSES
    if name != "resnet18":
        changes, head = own.VIT, head | {"family": "distilled" if "dist" in name else "linear"}
    source = own.drawn(bodies.create(name, **changes), head)
    folder = hub.export_folder(source, tmp_path / "out", "timm")
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    given = own.batch(source)
    with torch.no_grad():
        theirs = model(torch.tensor(given["image"]).permute(0, 3, 1, 2)).numpy()
    assert near(np.asarray(own.compute(source, given)), theirs)
    again = hub.load(f"timm:{folder}")
    own.same(again, source, TRAINING)
    assert again.facts == source.facts


@pytest.mark.parametrize("crop", [1.0, 0.875, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("size", [8, 16, 224])
def test_preparation_of_pictures_travels(tmp_path, crop, size):
    facts = ImageFacts((0.4,), (0.3,), size, crop, "bicubic", 1)
    source = dataclasses.replace(own.make("ResNetForImageClassification"), facts=facts)
    folder = hub.export_folder(source, tmp_path / "out")
    again = hub.load(str(folder)).facts
    written = json.loads((folder / "preprocessor_config.json").read_text())
    short = written["size"]["shortest_edge"]
    # What is done to a picture is the same to the pixel, whatever the fraction's last digit.
    assert short == int(size / crop) == int(again.size / again.crop)
    assert dataclasses.replace(again, crop=crop) == facts


def test_tokenizer_files_travel_as_they_are(tmp_path):
    words = "\n".join(["[UNK]", "[PAD]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(4, own.WORDS))])
    files = {"vocab.txt": words.encode(), "special_tokens_map.json": b'{"pad_token": "[PAD]"}'}
    source = dataclasses.replace(own.make("BertForSequenceClassification"), files=files)
    again = hub.load(f"hf:{hub.export_folder(source, tmp_path / 'out')}")
    assert again.files == files
    assert again.facts.pad == 1


def test_a_new_head_on_a_loaded_body_keeps_its_table(tmp_path):
    # ELECTRA's discriminator without a projection has BERT's shapes: where it came from decides.
    body = bodies.create("electra-small", **own.BERTS, embedding_width=0)
    source = own.drawn(body, None)
    assert as_foreign(source, "hf").architecture == "BertModel"
    came = {"origin": {"origin": {"table": "hf_electra", "architecture": "ElectraForPreTraining"}}}
    source = dataclasses.replace(source, provenance=came)
    model = as_foreign(source, "hf")
    assert (model.family, model.architecture) == ("hf_electra", "ElectraModel")
    assert all(not name.startswith("electra.") for name in model.arrays)
    model = as_foreign(own.drawn(body, {"family": "tagging", "classes": 3}, provenance=came), "hf")
    assert model.architecture == "ElectraForTokenClassification"
    assert "electra.embeddings.word_embeddings.weight" in model.arrays


REFUSED = {
    "a cosine head": ("bert-tiny", own.BERTS, {"family": "cosine", "classes": 3}, "cosine"),
    "group norm": ("resnet18", own.RESNET | {"norm": "group", "norm_groups": 2}, None, "group"),
    "another stem": ("resnet20", {}, own.CLASSES, "stem='cifar'"),
    "mean pooling": ("bert-tiny", own.BERTS | {"pooling": "mean"}, own.CLASSES, "pooler"),
    "another MLP": ("roberta-base", own.BERTS, {**own.MLP, "classes": 3}, "tanh"),
    "no family": ("mobilenet_v2", {}, own.CLASSES, "'mobilenet_v2'"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("form", ["hf", "timm"])
def test_what_no_class_computes_is_refused_with_the_reason_and_a_way_out(tmp_path, case, form):
    body, changes, head, reason = REFUSED[case]
    source = own.described(bodies.create(body, **changes), head)
    with pytest.raises(HubError, match="computes what this model does") as refused:
        hub.export_folder(source, tmp_path / "out", form)
    said = str(refused.value)
    assert reason in said or form == "timm"
    assert "'stablehlo'" in said
    assert ("'torch'" in said) == (body in ("resnet20", "mobilenet_v2"))
    assert not list(tmp_path.iterdir())


def test_a_taken_target_is_refused_before_any_work(tmp_path):
    source = own.make("BertModel")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    for write in (hub.export_folder, hub.export_forward):
        with pytest.raises(HubError, match=r"not empty \(mine.txt\)"):
            write(source, tmp_path / "out")
        with pytest.raises(HubError, match="is a file"):
            write(source, tmp_path / "out" / "mine.txt")
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "mine.txt"]


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    source = own.make("BertModel")
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(new_folder, "to_disk", full)
    for write in (hub.export_folder, hub.export_forward):
        for target in ("absent", "empty"):
            with pytest.raises(HubError, match="No space left on device"):
                write(source, tmp_path / target)
    assert [p.name for p in tmp_path.rglob("*")] == ["empty"]


def test_an_empty_folder_is_filled_and_a_parent_made(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new/deep"):
        folder = hub.export_folder(own.make("BertModel"), tmp_path / name)
        assert (folder / "README.md").is_file()
        readable = folder.parent.stat().st_mode & 0o666
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {readable}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "new"]


def test_the_card_tells_what_is_on_record():
    from huggingface_hub import ModelCard

    figures = [("validation", 0.9), ("test", 0.875)]
    training = Training(
        started_from="hf:google/electra-small@main",
        plan=("loaded, frozen: embeddings",),
        data=("train: 40 texts", "SHA-256 of train: `ab`"),
        results=tuple(Result("sst2", split, "accuracy", v, 16) for split, v in figures),
        config=('data.data = "tsv:/home/somebody/sst2.tsv"',),
        versions=("jax 0.10",),
    )
    came = {"from": "hf:google/electra-small@main", "licence": "Apache-2.0"}
    source = dataclasses.replace(
        own.make("BertForSequenceClassification"),
        provenance={"spec": "run:x", "licence": "Apache-2.0", "origin": came},
    )
    text = model_card(
        source,
        name="mine",
        form="hf",
        architecture="BertForSequenceClassification",
        training=training,
    )
    card = ModelCard(text)
    assert card.data.license == "apache-2.0"
    assert card.data.base_model == "google/electra-small"
    assert (card.data.library_name, card.data.pipeline_tag) == (
        "transformers",
        "text-classification",
    )
    assert [(r.dataset_split, r.metric_value) for r in card.data.eval_results] == [("test", 0.875)]
    assert card.data.language is None
    for words in (
        "| sst2 | validation | accuracy | 0.9000 | 16 |",
        "- loaded, frozen: embeddings",
        "- train: 40 texts",
        "licence of the source: Apache-2.0",
        "0 `ant`, 1 `bee`, 2 `cat`",
        'BertForSequenceClassification.from_pretrained("mine")',
        'tl.hub.load("hf:mine")',
        "- jax 0.10",
    ):
        assert words in text
    assert "/home/somebody" not in text
    assert "tsv:sst2.tsv" in text


def test_paths_are_cut_and_hub_names_are_not(tmp_path):
    assert short("run:/home/me/runs/a, b") == "run:a, b"
    assert short("`~/x/y.tsv`") == "`y.tsv`"
    assert short("hf:org/name glue/sst2 1/2") == "hf:org/name glue/sst2 1/2"
    source = own.make("BertModel")
    for spec, base in (("hf:org/name", "org/name"), (f"hf:{tmp_path}", ""), ("run:a/b", "")):
        assert base_model(dataclasses.replace(source, provenance={"spec": spec})) == base


def test_an_unknown_licence_is_said_to_be_unknown():
    card = model_card(own.make("BertModel"), name="x", form="hf", architecture="BertModel")
    assert "licence of the source: unknown" in card
    assert "license" not in card.split("---")[1]
    held = dataclasses.replace(own.make("BertModel"), provenance={"licence": "Our Own 2.0"})
    front = model_card(held, name="x", form="hf", architecture="BertModel").split("---")[1]
    assert "license: other" in front
    assert "license_name: Our Own 2.0" in front
