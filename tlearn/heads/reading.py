"""What heads take from the features, and the checks of their fields.

Shapes: b batch, t tokens, d width, v vocabulary, e embedding width.
"""

from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from tlearn.bodies.activations import ACTIVATIONS
from tlearn.bodies.features import Features
from tlearn.params import nearest


def pooled_of(features: Features) -> Float[Array, "b d"]:
    """Takes the pooled features, in float32.

    Raises:
        ValueError: If the body offers none.
    """
    if features.pooled is None:
        raise ValueError(
            "a class head reads features.pooled, but this body offers none; its layers are "
            f"{list(features.layers)}; pool one of its outputs in the body"
        )
    return features.pooled.astype(jnp.float32)


def sequence_of(features: Features, head: str) -> Float[Array, "b t d"]:
    """Takes one vector a token, in float32.

    Raises:
        ValueError: If the body has no tokens.
    """
    return _wanted(features.sequence, "sequence", head).astype(jnp.float32)


def table_of(features: Features, head: str) -> Float[Array, "v e"]:
    """Takes the body's token embedding, in float32.

    Raises:
        ValueError: If the body has none.
    """
    return _wanted(features.table, "table", head).astype(jnp.float32)


def _wanted(value: Any, name: str, head: str) -> Any:
    if value is None:
        raise ValueError(
            f"a {head} head reads features.{name}, but this body offers none: it needs a text body"
        )
    return value


def check_head(
    classes: int,
    init: str,
    dropout: float,
    inits: tuple[str, ...],
    activation: str = "relu",
    epsilon: float = 1.0,
) -> None:
    """Checks the fields that heads share.

    Raises:
        ValueError: Naming every impossible value.
    """
    problems = []
    if classes < 1:
        problems.append(f"classes must be at least 1, got {classes}")
    if init not in inits:
        problems.append(f"kernel_init is one of {', '.join(map(repr, inits))}, got {init!r}")
    if not 0.0 <= dropout < 1.0:
        problems.append(f"dropout is a share in [0, 1), got {dropout}")
    if activation not in ACTIVATIONS:
        close = nearest(activation, ACTIVATIONS, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        problems.append(f"activation is one of {', '.join(ACTIVATIONS)}, got {activation!r}{hint}")
    if not epsilon > 0:
        problems.append(f"norm_epsilon must be positive, got {epsilon}")
    if problems:
        raise ValueError("this head cannot be built: " + "; ".join(problems))
