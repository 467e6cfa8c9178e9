"""Greedy decoding: the likeliest next token, again and again.

Shapes: b batch, t tokens given, n tokens made.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Int

from tlearn.bodies.embeddings import last_place
from tlearn.bodies.features import Features
from tlearn.bodies.transformer import take
from tlearn.model import Model
from tlearn.params import unflatten


@struct.dataclass
class Generated:
    """What was made.

    Attributes:
        tokens: The tokens made: [b n]; padding after an end.
        lengths: How many of them are real, an end included: [b].
    """

    tokens: Any
    lengths: Any


def greedy(
    model: Model,
    params: Mapping[str, Any],
    tokens: Int[np.ndarray | Array, "b t"],
    segments: Int[np.ndarray | Array, "b t"],
    *,
    steps: int,
    ends: tuple[int, ...] = (),
    pad: int = 0,
) -> Generated:
    """Makes texts by taking the likeliest token at every step; of equals, the first.

    An encoder-decoder reads the texts given and decodes from its start token; others continue them.
    One program a shape; a step computes one token a row and reads kept keys and values. It stops
    when every row has ended.

    Args:
        model: A body that decodes (``begin`` and ``extend``) and a head of next tokens.
        params: Its parameters by path.
        tokens: Texts, padded on either side.
        segments: 1 for real tokens, 0 for padding.
        steps: The most tokens to make.
        ends: Tokens that end a row.
        pad: What stands after an end.

    Raises:
        ValueError: Naming all of: a body that decodes nothing, a head without next tokens, no
            steps, packed rows, too few positions.
    """
    _check(model, np.asarray(segments), steps)
    return _greedy(
        model,
        # A source's arrays may still lie in their file.
        unflatten({p: a if isinstance(a, jax.Array) else np.asarray(a) for p, a in params.items()}),
        jnp.asarray(tokens, jnp.int32),
        jnp.asarray(segments, jnp.int32),
        steps,
        tuple(int(end) for end in ends),
        int(pad),
    )


def _check(model: Model, segments: np.ndarray, steps: int) -> None:
    body, head = model.body, model.head
    problems = []
    decodes = hasattr(body, "begin") and getattr(body, "decoder_depth", 1) > 0
    if not decodes:
        problems.append(
            f"the body {type(body).__name__} decodes nothing: a GPT or a T5 with a decoder does"
        )
    if getattr(head, "family", "") != "causal_lm":
        problems.append(
            f"the head {getattr(head, 'family', type(head).__name__)!r} scores no next tokens: "
            "'causal_lm' does"
        )
    if steps < 1:
        problems.append(f"steps must be at least 1, got {steps}")
    if segments.size and segments.max() > 1:
        problems.append("rows with packed examples cannot be continued: one example a row")
    room = getattr(body, "positions", None)
    longest = int((segments > 0).sum(1).max()) if segments.size else 0
    # The last token made is never read.
    if decodes and room is not None and longest + steps - 1 > room:
        problems.append(
            f"{longest} tokens given and {steps} steps need {longest + steps - 1} positions, the "
            f"body has {room}: cut the texts or take at most {max(room - longest + 1, 0)} steps"
        )
    if problems:
        raise ValueError("cannot generate: " + "; ".join(problems))


# The model is static, so that calls of one shape share a program.
@functools.partial(jax.jit, static_argnums=(0, 4, 5, 6))
def _greedy(
    model: Model,
    params: Mapping[str, Any],
    tokens: Array,
    segments: Array,
    steps: int,
    ends: tuple[int, ...],
    pad: int,
) -> Generated:
    body: Any = model.body
    weights = {"params": params["body"]}

    def likeliest(features: Features) -> Int[Array, " b"]:
        place = last_place(jnp.asarray(features.mask, jnp.int32))
        last = Features(sequence=take(features.sequence, place), table=features.table)
        logits: Any = model.head.apply({"params": params.get("head", {})}, last)
        return jnp.argmax(logits[:, 0], axis=-1).astype(jnp.int32)

    def ended(chosen: Array) -> Array:
        return jnp.isin(chosen, jnp.asarray(ends, jnp.int32))

    features, cache = body.apply(weights, tokens, segments, room=steps - 1, method="begin")
    first = likeliest(features)
    made = jnp.full((len(tokens), steps), pad, jnp.int32).at[:, 0].set(first)

    def going(carried: Any) -> Array:
        step, _, done, _, _, _ = carried
        return (step < steps) & ~done.all()

    def advance(carried: Any) -> Any:
        step, chosen, done, made, lengths, cache = carried
        features, cache = body.apply(weights, chosen[:, None], cache, method="extend")
        chosen = jnp.where(done, pad, likeliest(features))
        made = jax.lax.dynamic_update_slice_in_dim(made, chosen[:, None], step, axis=1)
        lengths = lengths + ~done
        return step + 1, chosen, done | ended(chosen), made, lengths, cache

    lengths = jnp.ones(len(tokens), jnp.int32)
    start = (jnp.asarray(1), first, ended(first), made, lengths, cache)
    _, _, _, made, lengths, _ = jax.lax.while_loop(going, advance, start)
    return Generated(tokens=made, lengths=lengths)
