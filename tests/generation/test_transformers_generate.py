"""Beam search against transformers' ``generate``: the same tokens, lengths and scores.

Tried with the breaks: candidates behind the best beams allowed to end, lengths off by one; both
fail here.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

from tlearn import Model, bodies, heads, hub
from tlearn.generation import Options, generate

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

sys.path.append(str(Path(__file__).parents[1] / "hub"))

import decoder_peers as peers  # noqa: E402

STEPS, BEAMS, RETURNED = 20, 4, 3
MODELS = {
    "gpt2": ("GPT2LMHeadModel", {"n_positions": 64}, "left"),
    "t5": ("T5ForConditionalGeneration", {"num_decoder_layers": 2, "scale": 0.25}, "right"),
}
THEIRS = {"no_repeat_ngram": "no_repeat_ngram_size", "min_steps": "min_new_tokens"}
CASES = {
    "plain": {},
    "long": {"ends": (7, 11, 30), "length_penalty": 2.0, "early_stopping": "never"},
    "short": {"ends": (7, 11), "length_penalty": -1.0, "early_stopping": "never"},
    "full": {"ends": (7, 11, 30), "early_stopping": True, "repetition_penalty": 1.4},
    "hope": {"ends": (7, 11, 30), "min_steps": 6, "repetition_penalty": 1.3, "no_repeat_ngram": 3},
}
QUICK = {("gpt2", "hope"), ("t5", "full")}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    made = {}

    def pair(name):
        if name not in made:
            model_class, changes, padding = MODELS[name]
            theirs = peers.build(model_class, **changes)
            source = hub.load(f"hf:{peers.save(theirs, tmp_path_factory.mktemp(name))}")
            model = Model(body=bodies.build(source.body), head=heads.build(source.head))
            made[name] = theirs, model, source.params, peers.tokens_and_segments(padding)
        return made[name]

    return pair


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(name, case, marks=[] if (name, case) in QUICK else [pytest.mark.slow])
        for name in MODELS
        for case in CASES
    ],
)
def test_the_best_texts_are_those_of_generate(name, case, pairs):
    theirs, model, params, (tokens, segments) = pairs(name)
    options = Options(method="beam", steps=STEPS, beams=BEAMS, returned=RETURNED, **CASES[case])
    found = generate(model, params, tokens, segments, options)
    changes = {THEIRS.get(key, key): value for key, value in CASES[case].items()}
    ends = list(changes.pop("ends", ())) or None
    with torch.no_grad():
        out = theirs.generate(
            torch.tensor(tokens, dtype=torch.long),
            attention_mask=torch.tensor(segments, dtype=torch.long),
            do_sample=False,
            num_beams=BEAMS,
            num_return_sequences=RETURNED,
            max_new_tokens=STEPS,
            eos_token_id=ends,
            # Not 0: transformers takes an end for padding then.
            pad_token_id=1,
            return_dict_in_generate=True,
            output_scores=True,
            **changes,
        )
    given = 1 if name == "t5" else tokens.shape[1]
    wanted = out.sequences[:, given:].numpy()
    made = np.asarray(found.tokens).reshape(-1, STEPS)
    for text, length, row in zip(made, np.ravel(found.lengths), wanted, strict=True):
        np.testing.assert_array_equal(text[:length], row[:length])
        assert (row[length:] == 1).all()
        assert length == STEPS or text[length - 1] in ends
    np.testing.assert_allclose(
        np.ravel(found.scores), out.sequences_scores.numpy(), rtol=2e-5, atol=1e-6
    )
