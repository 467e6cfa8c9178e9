"""BERT's kin beside transformers' own PyTorch models: outputs, hidden states, gradients, export.

The peer computes in float64, so what differs is our rounding alone: at most 1e-5 of the largest
number of each array. Real tokens are compared; what stands at padding means nothing.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import hf_encoders as peer  # noqa: E402

from tlearn import bodies, heads, hub  # noqa: E402
from tlearn.hub.mapping import apply  # noqa: E402
from tlearn.hub.source import untagged  # noqa: E402
from tlearn.hub.tables.folders import hf_family  # noqa: E402
from tlearn.params import unflatten  # noqa: E402

pytestmark = pytest.mark.torch

CASES = [f"{family}{head}" for family, found in peer.HEADS.items() for head in found]
QUICK = (
    "BertModel",
    "BertForPreTraining",
    "RobertaForSequenceClassification",
    "DistilBertForMaskedLM",
    "DistilBertForSequenceClassification",
    "AlbertForPreTraining",
    "ElectraForMaskedLM",
)
# What QUICK leaves out: RoBERTa's other names, and heads on tokens and spans.
DRAWN = {
    ("XLMRobertaForTokenClassification", 3),
    ("XLMRobertaForSequenceClassification", 2),
    ("CamembertForQuestionAnswering", 4),
    ("AlbertForTokenClassification", 2),
    ("ElectraForQuestionAnswering", 3),
    ("ElectraForTokenClassification", 1),
}
SMALL = {"num_hidden_layers": 2, "num_hidden_groups": 1, "inner_group_num": 1}


def family_of(name: str) -> str:
    return max((f for f in peer.HEADS if name.startswith(f)), key=len)


def saved(name, config, seed, folder, **options):
    """A model in a folder, and the same in float64."""
    model = peer.random_model(name, config, seed, **options)
    model.save_pretrained(folder)
    return model.double()


def inputs_of(batch):
    return tuple(jnp.asarray(x) for x in (batch.tokens, batch.segments, batch.types))


def close(got, want, real=None, least=0.0):
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape
    scale = max(np.abs(want).max(), least)
    if real is not None and got.shape[:2] == real.shape:
        got, want = got[real], want[real]
    assert np.abs(got - want).max() <= 1e-5 * scale, np.abs(got - want).max() / scale


def compute(source, flat, inputs, weights):
    """Our outputs by the peer's names, all hidden states, and gradients of their weighted sum."""
    body = bodies.build(source.body)
    head = None if source.head is None else heads.build(source.head)
    # ALBERT's layers are its groups; its hidden states are those of every turn of every block.
    watch = {
        "capture_intermediates": lambda module, _: str(module.name).startswith("block_"),
        "mutable": ["intermediates"],
    }

    def loss(flat, inputs):
        tree = unflatten(flat)
        features, captured = body.apply({"params": tree["body"]}, *inputs, train=False, **watch)
        hidden = [features.layers["embeddings"]]
        if source.body["family"] == "albert":
            for group in captured["intermediates"].values():
                blocks = [block["__call__"] for block in group.values()]
                hidden += [out.whole for turn in zip(*blocks, strict=True) for out in turn]
        else:
            hidden += [x for name, x in features.layers.items() if name.startswith("block_")]
        if head is None:
            found = {"sequence": features.sequence, "pooled": features.pooled}
        else:
            found = head.apply({"params": tree.get("head", {})}, features, train=False)
            found = found if isinstance(found, dict) else {"logits": found}
        return sum((w * found[part]).sum() for part, w in weights.items()), (found, hidden)

    (_, (found, hidden)), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(flat, inputs)
    return found, hidden, gradient


def gradients(model, shapes):
    """The peer's gradients under our names: zeros where it has none."""
    family = hf_family(model.config.model_type)
    described = family.describe(json.loads(model.config.to_json_string(False)), shapes)
    found = {
        path: np.zeros(value.shape) if value.grad is None else value.grad.numpy().copy()
        for path, value in model.named_parameters(remove_duplicate=False)
        if path in shapes
    }
    return untagged(apply(family.table(described), found))[0]


def check(name, seed, tmp_path, **fixed):
    """Everything there is to compare about one model."""
    config = peer.random_config(family_of(name), seed, **fixed)
    model = saved(name, config, seed, tmp_path / "there")
    source = hub.load(f"hf:{tmp_path / 'there'}")
    batch = peer.random_batch(config, seed)
    real, inputs = batch.segments > 0, inputs_of(batch)
    flat = {path: np.asarray(value) for path, value in source.params.items()}
    out = peer.compute(model, batch)
    want = peer.outputs_of(name, out)
    draw = np.random.default_rng(0)
    weights = {part: draw.normal(size=value.shape) for part, value in want.items()}
    for part, weight in weights.items():
        if weight.shape[:2] == real.shape:
            weights[part] = weight * real.reshape(*real.shape, *[1] * (weight.ndim - 2))
    sum((torch.tensor(weights[part]) * value).sum() for part, value in want.items()).backward()
    narrow = {part: jnp.asarray(weight, jnp.float32) for part, weight in weights.items()}
    got, hidden, gradient = compute(source, flat, inputs, narrow)
    for part, value in want.items():
        close(got[part], value.detach().numpy(), real)
    assert len(hidden) == len(out.hidden_states)
    for mine, theirs in zip(hidden, out.hidden_states, strict=True):
        close(mine, theirs.detach().numpy(), real)
    check_gradients(gradient, gradients(model, hub_shapes(tmp_path / "there")))


def check_gradients(mine, theirs):
    # A gradient a thousand times smaller than the largest is what is left of large numbers: torch
    # in float32 is no nearer to it.
    least = 1e-3 * max(np.abs(value).max() for value in theirs.values())
    assert mine.keys() == theirs.keys()
    for path, value in theirs.items():
        # A softmax does not see what its keys' bias adds: that gradient is zero but for rounding.
        if path.endswith("attention/key/bias"):
            scale = np.abs(theirs[path.replace("bias", "kernel")]).max()
            assert np.abs(mine[path]).max() <= 1e-5 * max(scale, least)
        else:
            close(mine[path], value, least=least)


def hub_shapes(folder):
    arrays = hub.read_safetensors(folder / "model.safetensors").arrays
    return {path: tuple(value.shape) for path, value in arrays.items()}


def check_export(name, source, batch, model, tmp_path):
    """Out again, bit for bit, and transformers computes what it did."""
    hub.export_folder(source, tmp_path / "back")
    again = hub.load(f"hf:{tmp_path / 'back'}")
    assert again.params.keys() == source.params.keys()
    for path, value in source.params.items():
        assert np.array_equal(np.asarray(value), np.asarray(again.params[path])), path
    assert (again.body, again.head, again.label_names, again.facts) == (
        source.body,
        source.head,
        source.label_names,
        source.facts,
    )
    written = json.loads((tmp_path / "back" / "config.json").read_text())
    assert written["architectures"] == [name]
    loaded, info = getattr(transformers, name).from_pretrained(
        tmp_path / "back", output_loading_info=True
    )
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    with torch.no_grad():
        first = peer.outputs_of(name, peer.compute(model, batch))
        second = peer.outputs_of(name, peer.compute(loaded.double().eval(), batch))
    for part, value in first.items():
        assert torch.equal(value, second[part])


@pytest.mark.parametrize("name", QUICK)
def test_equals_transformers(name, tmp_path):
    fixed = SMALL if name.startswith("Albert") else {"num_hidden_layers": 2}
    check(name, 0, tmp_path, **fixed)


@pytest.mark.parametrize(
    "name", [n for n in CASES if not n.startswith(("XLM", "Camembert"))] + ["XLMRobertaForMaskedLM"]
)
def test_there_and_back(name, tmp_path):
    config = peer.random_config(family_of(name), 3)
    model = saved(name, config, 3, tmp_path / "there")
    source = hub.load(f"hf:{tmp_path / 'there'}")
    assert source.provenance["architecture"] == name
    check_export(name, source, peer.random_batch(config, 3), model, tmp_path)


@pytest.mark.parametrize(
    "name",
    ["BertModel", "RobertaModel"]
    + [pytest.param(f"{f}Model", marks=pytest.mark.slow) for f in ("Albert", "Electra")],
)
def test_padding_on_the_left(name, tmp_path):
    config = peer.random_config(family_of(name), 5, num_hidden_layers=2)
    model = saved(name, config, 5, tmp_path / "there")
    source = hub.load(f"hf:{tmp_path / 'there'}")
    batch = peer.random_batch(config, 5, left=True)
    with torch.no_grad():
        want = peer.compute(model, batch, left=True).last_hidden_state.numpy()
    body = bodies.build(source.body)
    tree = unflatten({path: np.asarray(value) for path, value in source.params.items()})
    features = jax.jit(lambda p, x: body.apply({"params": p}, *x))(tree["body"], inputs_of(batch))
    close(features.sequence, want, batch.segments > 0)


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        pytest.param(n, s, marks=[pytest.mark.slow] * ((n, s) not in DRAWN))
        for n in CASES
        for s in range(1, 7)
    ],
)
def test_equals_transformers_over_many_configs(name, seed, tmp_path):
    check(name, seed, tmp_path)
