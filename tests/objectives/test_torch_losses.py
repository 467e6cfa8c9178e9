"""Losses and their gradients beside transformers' own PyTorch models, on fixed masks, to 1e-5.

Our batches have one row more, with mask 0.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch_peers as peer  # noqa: E402

from tlearn import bodies, heads, hub  # noqa: E402
from tlearn.heads.beside_labels import BesideLabels  # noqa: E402
from tlearn.heads.replaced_training import training_head  # noqa: E402
from tlearn.heads.sampling import sampled  # noqa: E402
from tlearn.model import Model, variables  # noqa: E402
from tlearn.objectives import (  # noqa: E402
    Classification,
    LabelsAndNextTokens,
    MaskedPairs,
    MaskedTokens,
    NextTokens,
    ReplacedTokens,
    Seq2Seq,
)
from tlearn.replaced import joined, replace  # noqa: E402

pytestmark = pytest.mark.torch


def compare(name, objective, batch, called, folder):
    """Our mean loss and its gradient against the peer's, called with these inputs."""
    theirs = peer.build(name)
    source = peer.loaded(theirs, folder)
    wanted = theirs(**called, return_dict=True).loss
    wanted.backward()
    model, params = peer.ours(source)
    given = peer.filled(batch)
    reading = {"places": given["places"]} if "places" in given else {}

    def loss(params, given):
        inputs = [given[name] for name in model.body.inputs]
        out = model.apply(variables(params, {}), *inputs, **reading)
        sums = objective(out, given)
        return sums.loss / sums.count, sums

    (found, sums), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params, given)
    assert float(found) == pytest.approx(wanted.item(), rel=1e-5)
    peer.assert_gradients(gradient, peer.gradients(theirs, folder))
    return sums


def read(tokens, segments, types=None):
    """The inputs of a body, and of the peer."""
    given = {"tokens": tokens, "segments": segments}
    called = {"input_ids": peer.long(tokens), "attention_mask": peer.long(segments)}
    if types is not None:
        given["types"], called["token_type_ids"] = types, peer.long(types)
    return given, called


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("BertForPreTraining", "next_sentence_label"),
        ("AlbertForPreTraining", "sentence_order_label"),
    ],
)
def test_masked_tokens_and_pairs(name, label, tmp_path):
    tokens, segments, types = peer.texts()
    places, targets = peer.masked(tokens, segments)
    pairs = np.array([0, 1, 1], np.int32)
    given, called = read(tokens, segments, types)
    called |= {
        "labels": peer.labels(peer.everywhere(places, targets, tokens.shape[1])),
        label: peer.long(pairs),
    }
    given |= {"places": places, "targets": targets, "label": pairs}
    sums = compare(name, MaskedPairs(), given, called, tmp_path)
    assert (sums.count, sums.counts["masked_loss"]) == (3, (targets >= 0).sum())


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "OpenAIGPTLMHeadModel"])
def test_next_tokens(name, tmp_path):
    tokens, segments, _ = peer.texts()
    given, called = read(tokens, segments)
    # They shift by one themselves.
    called["labels"] = peer.labels(np.where(segments > 0, tokens, -1))
    after = np.pad(tokens[:, 1:], ((0, 0), (0, 1)))
    real = np.pad(segments[:, 1:], ((0, 0), (0, 1))) > 0
    given["targets"] = np.where(real, after, -1).astype(np.int32)
    sums = compare(name, NextTokens(), given, called, tmp_path)
    assert sums.count == segments.sum() - len(segments)


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "OpenAIGPTLMHeadModel"])
def test_next_tokens_beside_labels(name, tmp_path):
    weight, draw = 0.5, np.random.default_rng(3)
    theirs = peer.build(name)
    source = peer.loaded(theirs, tmp_path)
    tokens, segments, _ = peer.texts()
    label, ends = np.array([0, 1, 1], np.int32), segments.sum(1) - 1
    kernel = draw.normal(size=(24, 2)).astype(np.float32)
    kept = {}
    theirs.transformer.register_forward_hook(lambda module, given, out: kept.update(hidden=out[0]))
    logits = theirs(peer.long(tokens), attention_mask=peer.long(segments)).logits
    at_end = kept["hidden"][torch.arange(3), peer.long(ends)]
    classes = at_end @ torch.tensor(kernel, dtype=torch.float64)
    entropy = torch.nn.functional.cross_entropy
    texts = [
        entropy(logits[row, :end], peer.long(tokens[row, 1 : end + 1]))
        for row, end in enumerate(ends)
    ]
    wanted = entropy(classes, peer.long(label)) + weight * torch.stack(texts).mean()
    wanted.backward()

    body, params = peer.ours(source)[0].body, peer.ours(source)[1]
    model = Model(body, BesideLabels(heads.Linear(2)))
    given = peer.filled({"tokens": tokens, "segments": segments, "label": label})
    objective = LabelsAndNextTokens(Classification(2), weight)
    head = {"head/dense/kernel": jnp.asarray(kernel), "head/dense/bias": jnp.zeros(2)}

    def loss(params):
        inputs = [given[name] for name in body.inputs]
        sums = objective(model.apply(variables(params | head, {}), *inputs), given)
        return sums.loss / sums.count, sums

    (found, sums), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    assert float(found) == pytest.approx(wanted.item(), rel=1e-5)
    assert float(sums.metrics["language_loss"]) == pytest.approx(sum(texts).item(), rel=1e-5)
    peer.assert_gradients(gradient, peer.gradients(theirs, tmp_path))


def test_tokens_of_a_decoder(tmp_path):
    tokens, segments, _ = peer.texts()
    targets, decoder_segments, _ = peer.texts(length=7, seed=5)
    targets = np.where(decoder_segments > 0, targets, -1).astype(np.int32)
    shifted = np.where(decoder_segments > 0, np.pad(targets[:, :-1], ((0, 0), (1, 0))), 0)
    given, called = read(tokens, segments)
    called |= {"decoder_input_ids": peer.long(shifted), "labels": peer.labels(targets)}
    called["decoder_attention_mask"] = peer.long(decoder_segments)
    given |= {"decoder_tokens": shifted.astype(np.int32), "decoder_segments": decoder_segments}
    given["targets"] = targets
    compare("T5ForConditionalGeneration", Seq2Seq(), given, called, tmp_path)


def test_masked_tokens_of_a_generator(tmp_path):
    tokens, segments, types = peer.texts()
    places, targets = peer.masked(tokens, segments)
    given, called = read(tokens, segments, types)
    called["labels"] = peer.labels(peer.everywhere(places, targets, tokens.shape[1]))
    given |= {"places": places, "targets": targets}
    compare("ElectraForMaskedLM", MaskedTokens(), given, called, tmp_path)


def test_both_models_of_electra_on_shared_embeddings(tmp_path):
    # One set of embeddings in both; their output matrix is the token table of it.
    judge, maker = peer.build("ElectraForPreTraining"), peer.build("ElectraForMaskedLM", 1)
    maker.electra.embeddings = judge.electra.embeddings
    maker.generator_lm_head.weight = judge.electra.embeddings.word_embeddings.weight
    sources = [
        peer.loaded(model, tmp_path / name) for model, name in ((judge, "judge"), (maker, "maker"))
    ]
    body = bodies.build(sources[0].body)
    small = sources[1].body
    sizes = {name: small[name] for name in ("width", "depth", "heads", "feed_forward")}
    head = training_head(body, **sizes)
    params = jointly(*(source.params for source in sources))
    whole = hub.Source(
        params=params,
        collections={},
        body=sources[0].body,
        head=heads.describe(head),
        facts=sources[0].facts,
    )
    # Taken apart, the two are what they were.
    for part, source in zip((hub.discriminator(whole), hub.generator(whole)), sources, strict=True):
        assert part.digest == source.digest
        assert part.head == source.head
        assert {**part.body, "init_std": 0.02} == {**source.body, "init_std": 0.02}

    tokens, segments, types = peer.texts()
    places, targets = peer.masked(tokens, segments)
    given, called = read(tokens, segments, types)
    given = peer.filled(given | {"places": places, "targets": targets})
    model = joined(body, head)
    flat = {path: jnp.asarray(np.asarray(value)) for path, value in params.items()}

    def loss(params, given):
        inputs = [given[name] for name in body.inputs]
        out = model.apply(
            variables(params, {}), *inputs, places=given["places"], targets=given["targets"]
        )
        sums = ReplacedTokens()(out, given)
        return sums.loss / sums.count, (sums, out)

    (found, (sums, out)), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(flat, given)
    drawn = sampled(jax.random.key(0), out["generator"])
    text, replaced = replace(given["tokens"], given["places"], given["targets"], drawn)
    np.testing.assert_array_equal(out["replaced"], replaced)

    mlm = maker(
        **called, labels=peer.labels(peer.everywhere(places, targets, tokens.shape[1]))
    ).loss
    called["input_ids"] = peer.long(text[:-1])
    called["labels"] = torch.tensor(np.asarray(replaced[:-1])).double()
    binary = judge(**called).loss
    total = mlm + 50 * binary
    total.backward()
    assert float(found) == pytest.approx(total.item(), rel=1e-5)
    means = {name: sums.metrics[name] / sums.counts[name] for name in sums.metrics}
    assert float(means["generator_loss"]) == pytest.approx(mlm.item(), rel=1e-5)
    assert float(means["replaced_loss"]) == pytest.approx(binary.item(), rel=1e-5)
    parts = [peer.gradients(m, tmp_path / name) for m, name in ((judge, "judge"), (maker, "maker"))]
    theirs = jointly(*parts)
    peer.assert_gradients(gradient, theirs)


def jointly(judge, maker):
    """What two models have by name, under the names of the joint model."""
    joint = {}
    for path, value in judge.items():
        joint[path.replace("head/", "head/replaced_token/", 1)] = value
    for path, value in maker.items():
        if path.startswith("body/block_") or "projection" in path:
            name = path.removeprefix("body/").removeprefix("embeddings/")
            joint[f"head/generator/{name}"] = value
        elif path.startswith("head/"):
            joint[path.replace("head/", "head/masked_lm/", 1)] = value
    return joint
