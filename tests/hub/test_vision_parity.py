"""Vision models beside transformers and timm: outputs, hidden states, gradients, and back again.

The peer computes in float64. We may differ by 1e-5 of the largest number of each array; of a
gradient by 1e-5 of the largest in its module, kernel and bias together, as gradients of a bias can
be what is left of a sum that cancels: a key's is zero, a query's often nearly so (torch's own
float32 is then 1.2e-5 away from its float64).
"""

import json
import random

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import vision_peers as peer  # noqa: E402

from tlearn import hub  # noqa: E402

pytestmark = pytest.mark.torch
transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()

NEAR = 1e-5
TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
CASES = {
    "ViTForImageClassification": lambda: peer.hf_case("ViTForImageClassification", 1),
    "ViTModel": lambda: peer.hf_case(
        "ViTModel", 2, pooler_output_size=12, qkv_bias=False, hidden_act="gelu_new", num_channels=1
    ),
    "DeiTWithTeacher": lambda: peer.hf_case("DeiTForImageClassificationWithTeacher", 3),
    "DeiTForImageClassification": lambda: peer.hf_case("DeiTForImageClassification", 3),
    "ResNetForImageClassification": lambda: peer.hf_case("ResNetForImageClassification", 4),
    "ResNetModel": lambda: peer.hf_case("ResNetModel", 5, layer_type="bottleneck"),
    "timm vit": lambda: peer.timm_case("vit_tiny_patch16_224", 6, num_classes=5, **TINY),
    "timm vit pooled": lambda: peer.timm_case(
        "vit_small_patch16_224", 7, num_classes=5, global_pool="avg", init_values=0.1, **TINY
    ),
    "timm deit": lambda: peer.timm_case(
        "deit_tiny_distilled_patch16_224", 8, num_classes=5, **TINY
    ),
    "timm resnet": lambda: peer.timm_case(
        "resnet18", 9, num_classes=5, layers=[1, 1, 1, 1], channels=[8, 16, 16, 32]
    ),
    "timm bit": lambda: peer.bit_case(13),
}


def check_outputs(case):
    picture = case.picture()
    source = peer.saved(case)
    features, outputs = peer.forward(source, picture)
    main, hidden, last = peer.torch_forward(case, picture)
    assert peer.relative(outputs, main) <= NEAR
    # What follows the last block is no hidden state of theirs: the norm is compared as `last`.
    layers = [name for name in source_layers(source) if name not in ("final", "pooler")]
    transposed = source.body["family"] in ("resnet", "bit")
    steps = source.body["stage_blocks"] if transposed else range(source.body["depth"])
    assert len(hidden) == len(steps) + 1
    for name, wanted in zip(layers, hidden, strict=True):
        wanted = wanted.permute(0, 2, 3, 1) if transposed else wanted
        assert peer.relative(features.layers[name], wanted) <= NEAR, name
    if last is not None and not transposed:
        assert peer.relative(features.sequence, last) <= NEAR
    return source, picture


def source_layers(source):
    from tlearn import bodies

    return bodies.build(source.body).layer_names


def check_gradients(case, source, picture):
    wanted = peer.torch_gradients(case, picture).params
    given = peer.gradients(source, picture)
    assert given.keys() >= wanted.keys()
    largest = {}
    for path, value in wanted.items():
        module = path.rpartition("/")[0]
        largest[module] = max(largest.get(module, 0.0), float(np.abs(value).max()))
    for path, value in given.items():
        expected = wanted.get(path, np.zeros_like(value))
        scale = largest.get(path.rpartition("/")[0], 0.0)
        assert np.abs(value - expected).max() <= NEAR * scale, path


@pytest.mark.parametrize("name", CASES)
def test_outputs_hidden_states_and_gradients_are_the_peers(name):
    case = CASES[name]()
    source, picture = check_outputs(case)
    check_gradients(case, source, picture)


@pytest.mark.parametrize("name", CASES)
def test_exported_and_loaded_again_nothing_has_changed(name, tmp_path):
    source = peer.saved(CASES[name]())
    form = "timm" if name.startswith("timm") else "hf"
    folder = hub.export_folder(source, tmp_path / "out", form)
    again = hub.load(str(folder))
    assert dict(again.body) == dict(source.body)
    assert (again.head, again.label_names) == (source.head, source.label_names)
    for kind in ("params", "collections"):
        mine, theirs = getattr(source, kind), getattr(again, kind)
        assert mine.keys() == theirs.keys()
        assert all(np.array_equal(mine[p], np.asarray(theirs[p])) for p in mine)


@pytest.mark.parametrize(
    "name", ["ViTForImageClassification", "DeiTWithTeacher", "ResNetForImageClassification"]
)
def test_transformers_loads_what_is_exported(name, tmp_path):
    case = CASES[name]()
    picture = case.picture()
    folder = hub.export_folder(peer.saved(case), tmp_path / "out", "hf")
    again = type(case.model).from_pretrained(folder).eval()
    wanted, _, _ = peer.torch_forward(case, picture)
    case.model = again
    given, _, _ = peer.torch_forward(case, picture)
    assert peer.relative(given.detach().numpy(), wanted) <= NEAR
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == [type(again).__name__]


@pytest.mark.parametrize("name", ["timm vit pooled", "timm deit", "timm resnet", "timm bit"])
def test_timm_loads_what_is_exported(name, tmp_path):
    from timm_peer import import_timm

    case = CASES[name]()
    picture = case.picture()
    folder = hub.export_folder(peer.saved(case), tmp_path / "out", "timm")
    wanted, _, _ = peer.torch_forward(case, picture)
    case.model = import_timm().create_model(f"local-dir:{folder}", pretrained=True).eval()
    given, _, _ = peer.torch_forward(case, picture)
    assert peer.relative(given.detach().numpy(), wanted) <= NEAR


def random_case(kind, seed):
    draw = random.Random(f"{kind} {seed}")
    heads = draw.choice((1, 2, 3))
    width = heads * draw.choice((4, 8))
    if kind.startswith(("ViT", "DeiT")):
        return peer.hf_case(
            kind,
            seed,
            hidden_size=width,
            num_attention_heads=heads,
            num_hidden_layers=draw.randint(1, 4),
            intermediate_size=draw.randint(8, 40),
            image_size=draw.choice((8, 12, 14)),
            patch_size=draw.choice((2, 4)),
            num_channels=draw.choice((1, 3)),
            qkv_bias=draw.random() < 0.5,
            hidden_act=draw.choice(("gelu", "gelu_new", "relu", "quick_gelu", "silu")),
            layer_norm_eps=draw.choice((1e-12, 1e-6, 1e-3)),
            pooler_act=draw.choice(("tanh", "relu")),
        )
    if kind.startswith("ResNet"):
        stages = draw.randint(1, 3)
        return peer.hf_case(
            kind,
            seed,
            layer_type=draw.choice(("basic", "bottleneck")),
            embedding_size=draw.choice((4, 8)),
            hidden_sizes=[8 * draw.choice((1, 2, 3)) for _ in range(stages)],
            depths=[draw.randint(1, 3) for _ in range(stages)],
            num_channels=draw.choice((1, 3)),
        )
    if kind.startswith("resnet"):
        return peer.timm_case(
            kind,
            seed,
            num_classes=4,
            layers=[draw.randint(1, 2) for _ in range(4)],
            channels=[8 * draw.choice((1, 2)) for _ in range(4)],
        )
    free = "distilled" not in kind
    return peer.timm_case(
        kind,
        seed,
        num_classes=draw.choice((0, 4)) if free else 4,
        img_size=draw.choice((16, 20, 24)),
        patch_size=draw.choice((4, 8)),
        embed_dim=width,
        num_heads=heads,
        depth=draw.randint(1, 4),
        mlp_ratio=draw.choice((1.5, 4.0)),
        qkv_bias=draw.random() < 0.5,
        init_values=draw.choice((None, 0.1)),
        no_embed_class=free and draw.random() < 0.5,
        global_pool=draw.choice(("token", "avg")) if free else "token",
    )


KINDS = (
    "ViTModel",
    "ViTForImageClassification",
    "DeiTModel",
    "DeiTForImageClassificationWithTeacher",
    "ResNetModel",
    "ResNetForImageClassification",
    "vit_base_patch16_224",
    "deit3_small_patch16_224",
    "deit_base_distilled_patch16_224",
    "resnet18",
    "resnet50",
)
# Those that the default suite tries too.
DRAWN = {("vit_base_patch16_224", 0), ("resnet18", 0)}


@pytest.mark.parametrize(
    ("kind", "seed"),
    [
        pytest.param(k, s, marks=[pytest.mark.slow] * ((k, s) not in DRAWN))
        for k in KINDS
        for s in range(6)
    ],
)
def test_random_configs(kind, seed):
    case = random_case(kind, seed)
    source, picture = check_outputs(case)
    check_gradients(case, source, picture)
