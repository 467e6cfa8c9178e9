"""Texts out of a model, by any of the methods; one program for all numbers.

Shapes: b rows given, t tokens given, k texts a row, n tokens made.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from tlearn.generation.beams import Beams
from tlearn.generation.decoding import Generated, check, decode
from tlearn.generation.one_by_one import OneByOne, text_keys
from tlearn.generation.options import Numbers, Options
from tlearn.model import Model
from tlearn.params import unflatten


def generate(
    model: Model,
    params: Mapping[str, Any],
    tokens: Int[np.ndarray | Array, "b t"],
    segments: Int[np.ndarray | Array, "b t"],
    options: Options,
    *,
    key: Key[Array, ""] | None = None,
    rows: Int[np.ndarray | Array, " b"] | None = None,
) -> Generated:
    """Makes texts.

    An encoder-decoder reads the texts given and decodes from its start token; others continue them.
    A step reads one token a text, and keys and values, or a state, are kept. It stops when every
    text has ended. Temperature and the like are arrays of the program: trying others compiles
    nothing.

    Args:
        model: A body that decodes (``begin`` and ``extend``) and a head of next tokens.
        params: Its parameters by path.
        tokens: Texts, padded on either side.
        segments: 1 for real tokens, 0 for padding.
        options: How.
        key: A typed PRNG key, for draws.
        rows: Numbers of the rows, 0 and up by default. A row's draws depend on the key and its
            number, not on the rows beside it: what is cut into batches should be numbered through.

    Returns:
        ``options.returned`` texts a row.

    Raises:
        ValueError: Naming all that cannot be, as `tlearn.generation.decoding.check` says.
    """
    shape = np.shape(tokens)
    check(model, np.asarray(segments), options, key)
    numbers = np.arange(shape[0]) if rows is None else np.asarray(rows)
    return _generate(
        model,
        options.program,
        # A source's arrays may still lie in their file.
        unflatten({p: a if isinstance(a, jax.Array) else np.asarray(a) for p, a in params.items()}),
        jnp.asarray(tokens, jnp.int32),
        jnp.asarray(segments, jnp.int32),
        options.numbers,
        key if options.method == "sample" else None,
        jnp.asarray(numbers, jnp.int32),
    )


# Model and options are static, so that calls of one shape share a program.
@functools.partial(jax.jit, static_argnums=(0, 1))
def _generate(
    model: Model,
    options: Options,
    params: Mapping[str, Any],
    tokens: Array,
    segments: Array,
    numbers: Numbers,
    key: Array | None,
    rows: Array,
) -> Generated:
    chooser: Any = Beams(options, numbers)
    if options.method != "beam":
        keys = None if key is None else text_keys(key, rows, options.copies)
        chooser = OneByOne(options, numbers, keys)
    return chooser.texts(decode(model, params, tokens, segments, options, chooser))
