"""Greedy decoding: the likeliest next token, again and again.

Shapes: b batch, t tokens given, n tokens made.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int

from tlearn.generation.decoding import Generated
from tlearn.generation.making import generate
from tlearn.generation.options import Options
from tlearn.model import Model


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
    """Makes one text a row by taking the likeliest token at every step; of equals, the first.

    `tlearn.generation.generate` with the axis of a row's texts left out: tokens [b n].

    Args:
        model: A body that decodes (``begin`` and ``extend``) and a head of next tokens.
        params: Its parameters by path.
        tokens: Texts, padded on either side.
        segments: 1 for real tokens, 0 for padding.
        steps: The most tokens to make.
        ends: Tokens that end a row.
        pad: What stands after an end.

    Raises:
        ValueError: As `tlearn.generation.generate` does.
    """
    options = Options(steps=steps, ends=tuple(ends), pad=pad)
    return jax.tree.map(lambda leaf: leaf[:, 0], generate(model, params, tokens, segments, options))
