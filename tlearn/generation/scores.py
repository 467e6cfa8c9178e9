"""What is done to the scores of next tokens before one is chosen.

Shapes: r texts, l tokens of the longest text that can be, v vocabulary.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, UInt32

from tlearn.generation.options import Numbers, Options


@struct.dataclass
class History:
    """The texts so far, as the decoder reads them: their beginnings and what was made.

    Attributes:
        tokens: From the left, without padding between: [r l].
        lengths: How many are there: [r].
    """

    tokens: Any
    lengths: Any

    @classmethod
    def of(cls, tokens: Int[Array, "r t"], segments: Int[Array, "r t"], room: int) -> "History":
        """Moves texts padded on either side to the left, with room behind them."""
        order = jnp.argsort(segments <= 0, axis=1, stable=True)
        left = jnp.take_along_axis(tokens, order, axis=1)
        lengths = (segments > 0).sum(1, dtype=jnp.int32)
        return cls(tokens=jnp.pad(left, ((0, 0), (0, room))), lengths=lengths)

    def then(self, tokens: Int[Array, " r"]) -> "History":
        """Writes a token behind each text."""
        rows = jnp.arange(len(tokens))
        written = self.tokens.at[rows, self.lengths].set(tokens, mode="drop")
        return History(tokens=written, lengths=self.lengths + 1)


def adjusted(
    scores: Float[Array, "r v"],
    history: History,
    made: Int[Array, ""],
    options: Options,
    numbers: Numbers,
) -> Float[Array, "r v"]:
    """Applies the penalty on repetition, the rule on n-grams and the least length, in this order.

    Args:
        scores: Of the next token.
        history: The texts so far.
        made: How many tokens have been made.
        options: Which of them apply.
        numbers: How strongly.
    """
    if options.repetition_penalty != 1:
        scores = penalise_repetition(scores, history, numbers.repetition_penalty)
    if options.no_repeat_ngram:
        banned = repeats(history, options.no_repeat_ngram, scores.shape[-1])
        scores = jnp.where(banned, -jnp.inf, scores)
    if options.min_steps and options.ends:
        ends = jnp.zeros(scores.shape[-1], bool).at[jnp.asarray(options.ends)].set(True)
        early = (made < numbers.min_steps) & ends
        scores = jnp.where(early[None], -jnp.inf, scores)
    return scores


def penalise_repetition(
    scores: Float[Array, "r v"], history: History, penalty: Float[Array, ""]
) -> Float[Array, "r v"]:
    """Divides positive scores of tokens that are there already by the penalty, multiplies others.

    Reference: Keskar et al. 2019 (CTRL), section 4.1.
    """
    there = _marked(history.tokens, _real(history), scores.shape[-1])
    return jnp.where(there, jnp.where(scores < 0, scores * penalty, scores / penalty), scores)


def repeats(history: History, size: int, vocabulary: int) -> Bool[Array, "r v"]:
    """Which tokens would complete ``size`` tokens in a row that the text has already."""
    tokens, lengths = history.tokens, history.lengths
    windows = tokens.shape[1] - size + 1
    if windows < 1:
        return jnp.zeros((len(tokens), vocabulary), bool)
    matches = _real(history)[:, size - 1 :]
    for place in range(size - 1):
        at = jnp.maximum(lengths - (size - 1) + place, 0)
        last = jnp.take_along_axis(tokens, at[:, None], axis=1)
        matches = matches & (tokens[:, place : place + windows] == last)
    return _marked(tokens[:, size - 1 :], matches, vocabulary)


def _real(history: History) -> Bool[Array, "r l"]:
    return jnp.arange(history.tokens.shape[1])[None] < history.lengths[:, None]


def _marked(
    tokens: Int[Array, "r l"], which: Bool[Array, "r l"], vocabulary: int
) -> Bool[Array, "r v"]:
    """A table of the vocabulary in which the chosen ones among some tokens are marked."""
    rows = jnp.arange(len(tokens))[:, None]
    blank = jnp.zeros((len(tokens), vocabulary), bool)
    return blank.at[rows, tokens].max(which, mode="drop")


def chances(scores: Float[Array, "r v"], options: Options, numbers: Numbers) -> Float[Array, "r v"]:
    """The distribution of a draw: softmax at the temperature, among the tokens allowed."""
    # Above 0 only so far that the likeliest token alone has a chance left.
    heat = jnp.maximum(numbers.temperature, 1e-6)
    logits = (scores - scores.max(axis=-1, keepdims=True)) / heat
    if options.filtered:
        logits = jnp.where(allowed(logits, numbers.top_k, numbers.top_p), logits, -jnp.inf)
    return jax.nn.softmax(logits, axis=-1)


def allowed(
    logits: Float[Array, "r v"], top_k: Int[Array, ""], top_p: Float[Array, ""]
) -> Bool[Array, "r v"]:
    """Which tokens a draw is among: the ``top_k`` likeliest, and of these the nucleus of ``top_p``.

    The nucleus is the smallest set of likeliest tokens whose probability among the ``top_k``
    reaches ``top_p``. Tokens as likely as the last one are in as well.

    Nothing is sorted. The least score that is in is found bit by bit: 32 passes over the vocabulary
    whatever the numbers are, which may then be arrays.

    Reference: Holtzman et al. 2020, section 3.1 (nucleus), 3.2 (top-k).
    """
    keys = _ordered(logits)
    count = jnp.where(top_k > 0, top_k, logits.shape[-1])
    among = keys >= _least(keys, jnp.ones_like(logits, jnp.int32), count)
    weights = jax.nn.softmax(jnp.where(among, logits, -jnp.inf), axis=-1)
    nucleus = keys >= _least(keys, weights, top_p)
    # A sum of rounded numbers may reach 1 before the last token.
    return among & (nucleus | (top_p >= 1))


def draw(distribution: Float[Array, "r v"], uniform: Float[Array, " r"]) -> Int[Array, " r"]:
    """Draws a token by a number in [0, 1) each: where the cumulated distribution passes it."""
    cumulated = jnp.cumsum(distribution, axis=-1)
    reached = cumulated <= uniform[:, None] * cumulated[:, -1:]
    return jnp.minimum(reached.sum(-1, dtype=jnp.int32), distribution.shape[-1] - 1)


def _ordered(scores: Float[Array, "r v"]) -> UInt32[Array, "r v"]:
    """Whole numbers in the order of the scores."""
    # There are two zeros, which are equal.
    bits = jax.lax.bitcast_convert_type(jnp.where(scores == 0, 0.0, scores), jnp.uint32)
    return jnp.where(bits >> 31 == 1, ~bits, bits | jnp.uint32(1 << 31))


def _least(keys: UInt32[Array, "r v"], weights: Array, wanted: Array) -> UInt32[Array, "r 1"]:
    """The largest key for which all keys from it up weigh as much as wanted; 0 if none do."""

    def bit(number: Array, found: Array) -> Array:
        tried = found | (jnp.uint32(1 << 31) >> number.astype(jnp.uint32))
        weight = jnp.where(keys >= tried, weights, 0).sum(axis=-1, keepdims=True)
        return jnp.where(weight >= wanted, tried, found)

    return jax.lax.fori_loop(0, 32, bit, jnp.zeros((len(keys), 1), jnp.uint32))
