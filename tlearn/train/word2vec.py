"""Word vectors by skip-gram or CBOW with negative sampling: loss, step, loop.

Shapes: b rows of a batch, g rows taken together, c places around a word, k negatives, v words,
d width.

References: Mikolov et al. 2013, 2013b (equation 4).
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key

from tlearn.train.random import stream

GROUP = 32
"""Rows whose gradients are taken at the same place; the published program takes one at a time."""
LOWEST = 1e-4
"""Share of the first rate below which it does not fall."""


@struct.dataclass
class Tables:
    """The two vectors of every word.

    Attributes:
        words: Of the word that predicts, the ones that are kept: [v d].
        outputs: Of the word predicted: [v d].
    """

    words: Any
    outputs: Any


@runtime_checkable
class Pairs(Protocol):
    """What `fit` reads: batches as `tlearn.data.word_pairs.WordPairs` makes them."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps of a pass over the text."""
        ...

    def at(self, step: int) -> Mapping[str, np.ndarray]:
        """The batch of a step."""
        ...


def tables(key: Key[Array, ""], words: int, width: int) -> Tables:
    """Draws what training starts from: small words, outputs of zeros, as published."""
    bound = 0.5 / width
    drawn = jax.random.uniform(stream(key, "words"), (words, width), minval=-bound, maxval=bound)
    return Tables(words=drawn, outputs=jnp.zeros((words, width), jnp.float32))


def loss(
    given: Float[Array, "n d"],
    target: Float[Array, "n d"],
    drawn: Float[Array, "n k d"],
    counts: Bool[Array, " n"],
    differs: Bool[Array, "n k"],
) -> Float[Array, ""]:
    """The sum of ``-log s(target·given) - sum log s(-drawn·given)``: negative sampling.

    Args:
        given: Vectors that predict.
        target: Output vectors of what is there.
        drawn: Output vectors of the negatives.
        counts: Which predictions count.
        differs: Which negatives are another word than the target; the others count for nothing.

    Reference: Mikolov et al. 2013b, equation 4, s being the logistic function.
    """
    right = jax.nn.softplus(-jnp.einsum("nd,nd->n", target, given))
    wrong = jax.nn.softplus(jnp.einsum("nkd,nd->nk", drawn, given))
    return jnp.where(counts, right + jnp.where(differs, wrong, 0.0).sum(1), 0.0).sum()


def group_loss(
    vectors: tuple[Array, Array],
    words: Int[Array, " g"],
    around: Int[Array, "g c"],
    negatives: Int[Array, "g ..."],
    real: Bool[Array, " g"],
    method: str,
) -> Float[Array, ""]:
    """The loss of some rows by the vectors looked up for them.

    Args:
        vectors: Those that predict; those of the targets, each with its negatives behind it.
        words: The words in the middle.
        around: The words around each, -1 where there is none.
        negatives: Drawn for every word around (skip-gram) or in the middle (cbow).
        real: Which rows are in use.
        method: ``skip-gram`` or ``cbow``.
    """
    given, outputs = vectors
    target, drawn = outputs[..., 0, :], outputs[..., 1:, :]
    there = (around >= 0) & real[:, None]
    if method == "cbow":
        shares = there / jnp.maximum(there.sum(1, keepdims=True), 1)
        mean = jnp.einsum("gcd,gc->gd", given, shares)
        return loss(mean, target, drawn, there.any(1), negatives != words[:, None])
    count, width = around.size, given.shape[-1]
    repeated = jnp.repeat(given, around.shape[1], axis=0)
    differs = negatives != around[..., None]
    return loss(
        repeated,
        target.reshape(count, width),
        drawn.reshape(count, -1, width),
        there.reshape(-1),
        differs.reshape(count, -1),
    )


# Rate and count are arrays: one program for a training.
@functools.partial(jax.jit, static_argnames=("method", "group"), donate_argnums=0)
def step(
    held: Tables,
    batch: Mapping[str, Array],
    rate: Float[Array, ""],
    *,
    method: str,
    group: int = GROUP,
) -> tuple[Tables, Float[Array, ""]]:
    """Takes the rows of a batch in turn, some at a time, each by gradient descent.

    Returns the tables and the sum of the losses, each before its own step. A gradient is that of
    the rows looked up; nothing as large as a table is computed.
    """
    rows = batch["words"].shape[0]
    filling = -rows % group
    padded = {
        name: jnp.pad(batch[name], ((0, filling), *[(0, 0)] * (batch[name].ndim - 1)))
        for name in ("words", "around", "negatives")
    }
    count = batch["count"]

    def one(number: Array, carried: tuple[Tables, Array]) -> tuple[Tables, Array]:
        held, total = carried
        words, around, negatives = (
            jax.lax.dynamic_slice_in_dim(padded[name], number * group, group)
            for name in ("words", "around", "negatives")
        )
        real = number * group + jnp.arange(group) < count
        near = jnp.maximum(around, 0)
        giving, wanted = (near, words) if method == "cbow" else (words, near)
        # One look at each table, done before it is written to, and one writing: with more of them
        # the compiler copies tables for every group.
        asked = jnp.concatenate([wanted[..., None], negatives], axis=-1)
        looked_up = jax.lax.optimization_barrier((held.words[giving], held.outputs[asked]))
        value, slopes = jax.value_and_grad(group_loss)(
            looked_up, words, around, negatives, real, method
        )
        moved = Tables(
            words=held.words.at[giving].add(-rate * slopes[0]),
            outputs=held.outputs.at[asked].add(-rate * slopes[1]),
        )
        return moved, total + value

    groups = (count + group - 1) // group
    return jax.lax.fori_loop(0, groups, one, (held, jnp.zeros(())))


def rate_at(rate: float, number: int, total: int) -> float:
    """The rate of a step: it falls in a line to next to nothing."""
    return rate * max(1 - number / total, LOWEST)


def fit(
    pairs: Pairs, held: Tables, *, method: str, rate: float, epochs: int, group: int = GROUP
) -> Iterator[tuple[int, Tables, float]]:
    """Trains; yields after every step: its number from 1, the tables, its loss a row.

    Tables are good until the next ones are asked for, which takes their memory.

    Args:
        pairs: The batches.
        held: Where to start; handed over, not to be used again.
        method: ``skip-gram`` or ``cbow``.
        rate: The first rate; it falls in a line over all steps.
        epochs: Passes over the text.
        group: Rows whose gradients are taken at the same place.
    """
    total = epochs * pairs.steps_per_epoch
    batch = pairs.at(0)
    for number in range(total):
        count = max(int(batch["count"]), 1)
        given = {name: jnp.asarray(value) for name, value in batch.items()}
        now = jnp.asarray(rate_at(rate, number, total), jnp.float32)
        held, value = step(held, given, now, method=method, group=group)
        if number + 1 < total:
            # Made while the step is computed.
            batch = pairs.at(number + 1)
        yield number + 1, held, float(value) / count
