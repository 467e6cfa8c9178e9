"""Greedy decoding by hand: what is made, when it stops, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn import Model, bodies, heads, initialise
from tlearn.generation import greedy
from tlearn.params import unflatten

GPT = {
    "family": "gpt",
    "vocab_size": 30,
    "width": 16,
    "depth": 1,
    "heads": 2,
    "feed_forward": 24,
    "positions": 16,
    # Large enough that the likeliest token stands out and changes.
    "init_std": 0.5,
}
T5 = {
    "family": "t5",
    "vocab_size": 30,
    "width": 16,
    "depth": 1,
    "decoder_depth": 1,
    "heads": 2,
    "head_size": 8,
    "feed_forward": 24,
    "start_token": 1,
    "init_factor": 1.0,
}
STEPS = 5


@pytest.fixture(scope="module")
def gpt():
    return drawn(GPT)


def drawn(config):
    body = bodies.build(config)
    model = Model(
        body=body, head=heads.build({"family": "causal_lm", "tied": False, "init_std": 1.0})
    )
    given = [jax.ShapeDtypeStruct((1, 4), jnp.int32) for _ in body.inputs]
    return model, initialise(model, jax.random.key(3), *given)[0]


def texts(lengths=(4, 2, 3), side="left"):
    tokens = np.asarray(jax.random.randint(jax.random.key(9), (len(lengths), 4), 2, 30), np.int32)
    places = np.arange(4)[None] if side == "right" else np.arange(4)[None, ::-1]
    segments = (places < np.array(lengths)[:, None]).astype(np.int32)
    # The same texts on either side.
    rows = np.zeros_like(tokens)
    for row, (real, length) in enumerate(zip(segments > 0, lengths, strict=True)):
        rows[row, real] = tokens[row, :length]
    return rows, segments


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
    model, params = drawn(T5)
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
    encoder = bodies.build(T5 | {"decoder_depth": 0})
    wrong = Model(body=encoder, head=heads.create("linear", classes=2))
    with pytest.raises(ValueError, match=r"T5 decodes nothing.*'linear' scores no next tokens"):
        greedy(wrong, params, tokens, segments, steps=1)
