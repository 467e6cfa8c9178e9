"""AWD-LSTM weights under the names of fast.ai and of its authors: read, summed, tied, written."""

import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import bodies, heads, hub
from tlearn.hub import HubError
from tlearn.model import Model, variables

torch = pytest.importorskip("torch")
WORDS, WIDTH, HIDDEN = 20, 6, 8


class Wrapped(torch.nn.Module):
    """A layer as the published code wraps it: the weight to keep beside the module that runs."""

    def __init__(self, given, units, inside):
        super().__init__()
        self.module = torch.nn.LSTM(given, units, batch_first=True)
        owner = self.module if inside else self
        raw = torch.nn.Parameter(self.module.weight_hh_l0.detach().clone())
        owner.register_parameter("weight_hh_l0_raw", raw)
        if inside:
            del self.module._parameters["weight_hh_l0"]
            self.module.weight_hh_l0 = raw.detach()
        else:
            # What a training step left behind: half of it dropped.
            self.module.weight_hh_l0.data = torch.nn.functional.dropout(raw.detach(), 0.5)

    def run(self, x):
        raw = next(p for name, p in self.named_parameters() if name.endswith("_raw"))
        m = self.module
        flat = [m.weight_ih_l0, raw, m.bias_ih_l0, m.bias_hh_l0]
        start = torch.zeros(1, len(x), raw.shape[1])
        return torch._VF.lstm(x, (start, start), flat, True, 1, 0.0, False, False, True)[0]


def network(origin):
    """Their network's state dict, and its logits of some tokens; weights drawn with a seed."""
    torch.manual_seed(0)
    encoder = torch.nn.Embedding(WORDS, WIDTH)
    decoder = torch.nn.Linear(WIDTH, WORDS, bias=origin != "fastai 2018")
    decoder.weight = encoder.weight
    sizes = ((WIDTH, HIDDEN), (HIDDEN, WIDTH))
    layers = [Wrapped(*size, inside=origin != "fastai 1") for size in sizes]
    prefix, last = ("", "decoder.") if origin == "salesforce" else ("0.", "1.decoder.")
    state = {f"{prefix}encoder.weight": encoder.weight}
    if origin == "fastai 1":
        state["0.encoder_dp.emb.weight"] = encoder.weight
    if origin == "fastai 2018":
        state["0.encoder_with_dropout.embed.weight"] = encoder.weight
    for i, layer in enumerate(layers):
        state |= {f"{prefix}rnns.{i}.{name}": value for name, value in layer.state_dict().items()}
    state |= {f"{last}{name}": value for name, value in decoder.state_dict().items()}
    tokens = torch.randint(0, WORDS, (3, 7))
    x = encoder(tokens)
    for layer in layers:
        x = layer.run(x)
    found = {name: value.detach().clone() for name, value in state.items()}
    return found, tokens.numpy().astype(np.int32), decoder(x).detach().numpy()


def logits(source, tokens):
    model = Model(bodies.build(dict(source.body)), heads.build(dict(source.head)))
    given = jnp.asarray(tokens), jnp.ones(tokens.shape, jnp.int32)
    return model.apply(variables(source.params, {}), *given)


@pytest.mark.parametrize("origin", ["fastai 1", "fastai 2018", "salesforce"])
def test_their_file_gives_their_logits(tmp_path, origin):
    state, tokens, wanted = network(origin)
    torch.save(state, tmp_path / "model.pth")
    source = hub.load(f"torch:{tmp_path / 'model.pth'}")
    assert (source.body["width"], source.body["hidden"], source.body["depth"]) == (6, 8, 2)
    assert source.head["use_bias"] == (origin != "fastai 2018")
    assert source.facts.vocab_size == WORDS
    np.testing.assert_allclose(logits(source, tokens), wanted, rtol=1e-5, atol=1e-5)
    prefix = "" if origin == "salesforce" else "0."
    summed = sum(state[f"{prefix}rnns.0.module.bias_{which}_l0"] for which in ("ih", "hh"))
    np.testing.assert_array_equal(source.params["body/lstm_0/input/bias"], summed)


def test_there_and_back_bit_for_bit(tmp_path):
    state, tokens, wanted = network("fastai 1")
    torch.save(state, tmp_path / "model.pth")
    source = hub.load(f"torch:{tmp_path / 'model.pth'}")
    file = hub.export_torch_names(source, tmp_path / "ours.safetensors")
    again = hub.load(f"safetensors:{file}")
    assert again.body == source.body
    assert again.head == source.head
    for path, value in source.params.items():
        assert np.asarray(value).tobytes() == np.asarray(again.params[path]).tobytes(), path
    np.testing.assert_allclose(logits(again, tokens), wanted, rtol=1e-5, atol=1e-5)


def test_an_encoder_alone_has_no_head(tmp_path):
    state, _, _ = network("fastai 1")
    state = {name[2:]: value for name, value in state.items() if name.startswith("0.")}
    torch.save(state, tmp_path / "encoder.pth")
    source = hub.load(f"torch:{tmp_path / 'encoder.pth'}")
    assert source.head is None
    assert source.provenance["table"] == "awd_lstm_salesforce"
    assert sorted(source.params) == [
        "body/embeddings/tokens/embedding",
        *(
            f"body/lstm_{i}/{part}"
            for i in range(2)
            for part in ("input/bias", "input/kernel", "recurrent/kernel")
        ),
    ]


def broken(state, change):
    if change == "untied":
        state["1.decoder.weight"] = state["1.decoder.weight"] + 1
    elif change == "no bias":
        del state["0.rnns.0.module.bias_hh_l0"]
    elif change == "unknown":
        state["0.rnns.0.module.weight_hr_l0"] = torch.zeros(2, 2)
    elif change == "wider":
        state["0.rnns.1.module.weight_ih_l0"] = torch.zeros(4 * HIDDEN, HIDDEN)
    else:
        state["0.rnns.0.module.bias_hh_l0"] = torch.zeros(3)
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("untied", "must equal '0.encoder.weight'|tied"),
        ("no bias", "'0.rnns.0.module.bias_hh_l0' is missing"),
        ("unknown", "weight_hr_l0' is not in the table"),
        ("wider", r"widths \[8, 8\].*last as wide as the embedding \(6\)"),
        ("short", "bias_hh_l0', which is added to it, has"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, message):
    torch.save(broken(network("fastai 1")[0], change), tmp_path / "model.pth")

    def load():
        source = hub.load(f"torch:{tmp_path / 'model.pth'}")
        np.asarray(source.params["body/embeddings/tokens/embedding"])

    with pytest.raises(HubError, match=message):
        load()


def test_another_head_has_no_name_there(tmp_path):
    state, _, _ = network("fastai 1")
    torch.save(state, tmp_path / "model.pth")
    source = hub.load(f"torch:{tmp_path / 'model.pth'}")
    params = {**source.params, "head/dense/kernel": np.zeros((18, 2), np.float32)}
    other = hub.Source(params, {}, source.body, {"family": "linear", "classes": 2})
    with pytest.raises(HubError, match="only causal_lm heads can be exported"):
        hub.export_torch_names(other, tmp_path / "no.safetensors")
