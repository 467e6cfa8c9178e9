"""Greedy decoding by hand: what is made, when it stops, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_decoders import FAMILIES, drawn, texts

from tlearn import Model, bodies, heads
from tlearn.generation import greedy
from tlearn.params import unflatten

STEPS = 5


@pytest.fixture(scope="module")
def gpt():
    return drawn("gpt")


def one_by_one(model, params, *given):
    """The definition: read the whole text again for every token.

    Every text fills its row from the left, with room behind it, so that one program reads all.
    """
    tree = {"params": unflatten(params)}
    run = jax.jit(lambda *x: model.apply(tree, *x))
    *source, tokens, segments = given
    made = []
    for _ in range(STEPS):
        logits = np.asarray(run(*map(jnp.asarray, (*source, tokens, segments))))
        rows, lengths = np.arange(len(tokens)), segments.sum(1)
        made.append(logits[rows, lengths - 1].argmax(-1))
        tokens, segments = tokens.copy(), segments.copy()
        tokens[rows, lengths], segments[rows, lengths] = made[-1], 1
    return np.stack(made, 1)


def test_every_row_gets_what_it_would_get_read_whole(gpt):
    model, params = gpt
    widths = ((0, 0), (0, STEPS))
    wanted = one_by_one(model, params, *(np.pad(x, widths) for x in texts(side="right")))
    assert all(len(set(row)) > 1 for row in wanted.tolist())
    for side in ("left", "right"):
        found = greedy(model, params, *texts(side=side), steps=STEPS)
        np.testing.assert_array_equal(found.tokens, wanted)
        np.testing.assert_array_equal(found.lengths, STEPS)


def test_a_row_stops_at_an_end_and_the_others_go_on(gpt):
    model, params = gpt
    free = np.asarray(greedy(model, params, *texts(), steps=STEPS).tokens)
    ends = (int(free[0, 2]), int(free[1, 4]))
    found = greedy(model, params, *texts(), steps=STEPS, ends=ends, pad=29)
    for row in range(len(free)):
        at = [i for i, token in enumerate(free[row]) if token in ends]
        length = at[0] + 1 if at else STEPS
        assert found.lengths[row] == length
        assert found.tokens[row].tolist() == [*free[row, :length], *[29] * (STEPS - length)]
    assert len(set(np.asarray(found.lengths).tolist())) > 1


def test_one_step_reads_nothing_back(gpt):
    model, params = gpt
    all_steps = greedy(model, params, *texts(), steps=STEPS).tokens
    np.testing.assert_array_equal(greedy(model, params, *texts(), steps=1).tokens, all_steps[:, :1])


def test_an_encoder_decoder_starts_from_its_start_token():
    model, params = drawn("t5")
    tokens, segments = texts()
    found = greedy(model, params, tokens, segments, steps=STEPS)
    target = np.zeros((len(tokens), 1 + STEPS), np.int32)
    real = np.zeros_like(target)
    target[:, 0], real[:, 0] = 1, 1
    np.testing.assert_array_equal(
        found.tokens, one_by_one(model, params, tokens, segments, target, real)
    )


def test_what_cannot_generate_is_refused_all_at_once(gpt):
    model, params = gpt
    tokens, segments = texts()
    with pytest.raises(ValueError, match=r"steps must be at least 1.*packed"):
        greedy(model, params, tokens, segments * 2, steps=0)
    with pytest.raises(ValueError, match=r"4 tokens .* 14 steps need 17 .* at most 13 steps"):
        greedy(model, params, tokens, segments, steps=14)
    encoder = bodies.build(FAMILIES["t5"] | {"decoder_depth": 0})
    wrong = Model(body=encoder, head=heads.create("linear", classes=2))
    with pytest.raises(ValueError, match=r"T5 decodes nothing.*'linear' scores no next tokens"):
        greedy(wrong, params, tokens, segments, steps=1)
    segments[1] = 0
    with pytest.raises(ValueError, match=r"ends \[30\] are outside.*rows \[1\] have no tokens"):
        greedy(model, params, tokens, segments, steps=1, ends=(3, 30))
