"""Small models that decode, of every family, and texts for them to go on from."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from tlearn import Model, bodies, heads, initialise
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
LSTM = {"family": "awd_lstm", "vocab_size": 30, "width": 16, "hidden": 24, "depth": 2}
FAMILIES = {"gpt": GPT, "t5": T5, "lstm": LSTM}


@functools.cache
def drawn(family, vocab_size=30):
    """A model of a family and its parameters."""
    body = bodies.build(FAMILIES[family] | {"vocab_size": vocab_size})
    model = Model(
        body=body, head=heads.build({"family": "causal_lm", "tied": False, "init_std": 1.0})
    )
    given = [jax.ShapeDtypeStruct((1, 4), jnp.int32) for _ in body.inputs]
    params = initialise(model, jax.random.key(3), *given)[0]
    if family == "lstm":
        # As published it starts so small that all tokens are equally likely.
        params = {path: 6 * value if "lstm" in path else value for path, value in params.items()}
    return model, params


def texts(lengths=(4, 2, 3), side="left", vocab_size=30):
    """The same texts, padded on either side."""
    key = jax.random.key(9)
    tokens = np.asarray(jax.random.randint(key, (len(lengths), 4), 2, vocab_size), np.int32)
    places = np.arange(4)[None] if side == "right" else np.arange(4)[None, ::-1]
    segments = (places < np.array(lengths)[:, None]).astype(np.int32)
    rows = np.zeros_like(tokens)
    for row, (real, length) in enumerate(zip(segments > 0, lengths, strict=True)):
        rows[row, real] = tokens[row, :length]
    return rows, segments


@functools.cache
def reader(family, vocab_size=30):
    """Reads whole texts without anything kept: log-probabilities [b t v]."""
    model, params = drawn(family, vocab_size)
    tree = {"params": unflatten(params)}
    return jax.jit(lambda *given: jax.nn.log_softmax(model.apply(tree, *given), axis=-1))


def log_likelihood(family, tokens, segments, made, lengths, vocab_size=30):
    """The sum of the log-probabilities of what was made, by the definition: [b].

    Texts given fill their rows from the left.
    """
    steps = made.shape[1]
    if family == "t5":
        start = np.ones((len(made), 1), np.int32)
        fed = np.concatenate([start, made[:, :-1]], axis=1)
        given = (tokens, segments, fed, np.ones_like(fed))
        begins = np.zeros(len(made), int)
    else:
        widths = ((0, 0), (0, steps))
        whole, real = np.pad(tokens, widths), np.pad(segments, widths)
        begins = segments.sum(1) - 1
        for row, begin in enumerate(begins):
            whole[row, begin + 1 : begin + 1 + steps] = made[row]
            real[row, begin + 1 : begin + 1 + steps] = 1
        given = (whole, real)
    found = np.asarray(reader(family, vocab_size)(*map(jnp.asarray, given)))
    return np.array(
        [
            found[row, begins[row] + np.arange(length), made[row, :length]].sum()
            for row, length in enumerate(lengths)
        ]
    )
