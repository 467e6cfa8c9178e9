"""The decoding core: reads beginnings, chooses next tokens, reads on, until all is said.

One loop for every method. A method is a `Chooser`: shown scores, it says which token follows which
text.

Shapes: b rows given, t tokens given, r texts in the making, n tokens made, v vocabulary.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from tlearn.bodies.embeddings import last_place
from tlearn.bodies.features import Features
from tlearn.bodies.t5_blocks import T5Cache
from tlearn.bodies.transformer import take
from tlearn.generation.options import Options
from tlearn.generation.scores import History
from tlearn.model import Model


@struct.dataclass
class Generated:
    """What was made.

    Attributes:
        tokens: The tokens made, padding after an end: [b k n], k texts a row.
        lengths: How many of them are real, an end included: [b k].
        scores: Of a beam search, by which its texts are ordered; else the sum of the
            log-probabilities that the model gave the tokens: [b k].
    """

    tokens: Any
    lengths: Any
    scores: Any = None


@struct.dataclass
class Choice:
    """What a chooser says.

    Attributes:
        tokens: The next token of every text: [r].
        origins: Which text each of them follows: [r]; None where each follows its own.
        state: What the chooser keeps.
        done: Whether nothing more need be made.
    """

    tokens: Any
    origins: Any
    state: Any
    done: Any


class Chooser(Protocol):
    """A method of choosing next tokens."""

    def begin(self, rows: int, vocabulary: int) -> Any:
        """What it keeps at the beginning, for rows given."""
        ...

    def choose(
        self, step: Int[Array, ""], scores: Float[Array, "r v"], history: History, state: Any
    ) -> Choice:
        """Chooses the tokens of a step, counted from 0."""
        ...


def decode(
    model: Model,
    params: Mapping[str, Any],
    tokens: Int[Array, "b t"],
    segments: Int[Array, "b t"],
    options: Options,
    chooser: Any,
) -> Any:
    """Runs a chooser over what a model says, to the end; returns what it keeps.

    Each row is read once, and its keys and values then copied for each of its texts. A step reads
    one token a text.

    Args:
        model: A body that decodes (``begin`` and ``extend``) and a head of next tokens.
        params: Its parameters, nested.
        tokens: Texts, padded on either side.
        segments: 1 for real tokens, 0 for padding.
        options: How far, and how many texts of each row.
        chooser: The method, a `Chooser`.
    """
    body: Any = model.body
    weights = {"params": params["body"]}

    def scores_of(features: Features) -> Float[Array, "r v"]:
        place = last_place(jnp.asarray(features.mask, jnp.int32))
        last = Features(sequence=take(features.sequence, place), table=features.table)
        logits: Any = model.head.apply({"params": params.get("head", {})}, last)
        return logits[:, 0].astype(jnp.float32)

    features, cache = body.apply(weights, tokens, segments, room=options.steps - 1, method="begin")
    scores = scores_of(features)
    state = chooser.begin(*scores.shape)
    history = _read(body, tokens, segments, options.steps)
    if options.copies > 1:
        copies = jnp.repeat(jnp.arange(len(tokens)), options.copies)
        scores = scores[copies]
        history = jax.tree.map(lambda leaf: leaf[copies], history)
        cache = follow(cache, copies, memory=True)

    def going(carried: Any) -> Bool[Array, ""]:
        return (carried[0] < options.steps) & ~carried[1].done

    def advance(carried: Any) -> Any:
        step, choice, history, cache = carried
        features, cache = body.apply(weights, choice.tokens[:, None], cache, method="extend")
        choice = chooser.choose(step, scores_of(features), history, choice.state)
        return step + 1, choice, *_after(choice, history, cache)

    choice = chooser.choose(jnp.asarray(0), scores, history, state)
    start = (jnp.asarray(1), choice, *_after(choice, history, cache))
    return jax.lax.while_loop(going, advance, start)[1].state


def _after(choice: Choice, history: History, cache: Any) -> tuple[History, Any]:
    if choice.origins is not None:
        history = jax.tree.map(lambda leaf: leaf[choice.origins], history)
        cache = follow(cache, choice.origins)
    return history.then(choice.tokens), cache


def _read(body: Any, tokens: Array, segments: Array, steps: int) -> History:
    """What a decoder has read at first: the rows, or a start token where these are encoded."""
    start = getattr(body, "start_token", None)
    if start is not None:
        tokens = jnp.full((len(tokens), 1), start, jnp.int32)
        segments = jnp.ones_like(tokens)
    return History.of(tokens, segments, steps)


def follow(cache: Any, origins: Int[Array, " r"], *, memory: bool = False) -> Any:
    """Gives every text the keys and values, or the state, of the text that it follows.

    Arrays of a cache have a text a row; numbers belong to all of them.

    Args:
        cache: What a body keeps.
        origins: The text that each follows.
        memory: Whether what was encoded goes with them: texts of one row share it.
    """

    def chosen(leaf: Array) -> Array:
        return leaf[origins] if jnp.ndim(leaf) else leaf

    def of(part: Any) -> Any:
        if isinstance(part, T5Cache) and not memory:
            return T5Cache(own=jax.tree.map(chosen, part.own), memory=part.memory)
        return jax.tree.map(chosen, part)

    return jax.tree.map(of, cache, is_leaf=lambda part: isinstance(part, T5Cache))


def check(model: Model, segments: np.ndarray, options: Options, key: Any) -> None:
    """Refuses what cannot be generated.

    Raises:
        ValueError: Naming all of: numbers that make no sense, no key, a body that decodes nothing,
            a head without next tokens, ends outside the vocabulary, packed rows, rows of nothing,
            too few positions.
    """
    body: Any = model.body
    head = model.head
    problems = []
    decodes = hasattr(body, "begin") and getattr(body, "decoder_depth", 1) > 0
    if not decodes:
        problems.append(
            f"the body {type(body).__name__} decodes nothing: a GPT, an AWD-LSTM or a T5 with a "
            "decoder does"
        )
    if getattr(head, "family", "") != "causal_lm":
        problems.append(
            f"the head {getattr(head, 'family', type(head).__name__)!r} scores no next tokens: "
            "'causal_lm' does"
        )
    problems += options.problems()
    if options.method == "sample" and key is None:
        problems.append("draws need a key: pass key=jax.random.key(seed)")
    vocabulary = int(getattr(body, "vocab_size", 0))
    outside = [end for end in options.ends if not 0 <= end < vocabulary]
    if decodes and outside:
        problems.append(f"ends {outside} are outside the vocabulary of {vocabulary} tokens")
    if decodes and options.method == "beam" and vocabulary < 1 + max(len(options.ends), 1):
        problems.append(
            f"a beam search with {len(options.ends)} ends needs more than {vocabulary} tokens"
        )
    if segments.size and segments.max() > 1:
        problems.append("rows with packed examples cannot be continued: one example a row")
    lengths = (segments > 0).sum(1)
    empty = np.flatnonzero(lengths == 0)
    if len(empty):
        problems.append(f"rows {empty[:6].tolist()} have no tokens: give each at least one")
    room = getattr(body, "positions", None)
    longest = int(lengths.max()) if len(lengths) else 0
    # The last token made is never read.
    if decodes and room is not None and longest + options.steps - 1 > room:
        problems.append(
            f"{longest} tokens given and {options.steps} steps need "
            f"{longest + options.steps - 1} positions, the body has {room}: cut the texts or take "
            f"at most {max(room - longest + 1, 0)} steps"
        )
    if problems:
        raise ValueError("cannot generate: " + "; ".join(problems))
