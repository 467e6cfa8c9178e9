"""Directions that adapt to each parameter: Adam's, Adafactor's, and LAMB's trust ratio.

Every parameter has a count of its own. With one count for all, parameters that join late (gradual
unfreezing) would have their zero moments corrected as if they were old, and step up to
(1 - b1) / sqrt(1 - b2), about three times too far.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from tlearn.params import FlatParams


class Moments(NamedTuple):
    """Adam's state, by path.

    Attributes:
        count: Updates that each parameter has had.
        first: Moving means of gradients.
        second: Moving means of their squares.
    """

    count: dict[str, Array]
    first: FlatParams
    second: FlatParams


class Factors(NamedTuple):
    """Adafactor's state, by path.

    Attributes:
        count: Updates that each parameter has had.
        rows: Moving means of squared gradients over the second largest axis, of matrices.
        columns: The same over the largest axis.
        whole: Moving means of squared gradients, of all other parameters.
    """

    count: dict[str, Array]
    rows: FlatParams
    columns: FlatParams
    whole: FlatParams


def choose(condition: Array, yes: Any, no: Any) -> Any:
    """Takes one of two trees, element by element; what both share is not copied."""

    def pick(a: Any, b: Any) -> Any:
        return a if a is b else jnp.where(condition, a, b)

    return jax.tree.map(pick, yes, no)


def adam(
    b1: float, b2: float, eps: float, debias: bool = True
) -> optax.GradientTransformationExtraArgs:
    """Adam's direction (Kingma & Ba 2015).

    Without ``debias`` the moments are used as they are, as BERT's own code does: a step is then
    (1 - b1^t) / sqrt(1 - b2^t) times as long, up to 6.6 times (Zhang et al. 2021, section 4).
    """

    def start(params: Any) -> Moments:
        def zeros() -> FlatParams:  # Anew: the state is donated, no two leaves may be one array.
            return {path: jnp.zeros_like(value) for path, value in params.items()}

        return Moments({p: jnp.zeros((), jnp.int32) for p in params}, zeros(), zeros())

    def update(
        updates: Any, state: Any, params: Any = None, *, taken: Array | None = None, **_: Any
    ) -> tuple[Any, Any]:
        paths = sorted(updates)
        count = {path: state.count[path] + 1 for path in paths}
        if taken is not None:
            count = choose(taken, count, state.count)
        # As vectors: a power per parameter, not per element.
        counts = jnp.stack([count[path] for path in paths])
        left, right = jnp.unstack(1 - b1**counts), jnp.unstack(1 - b2**counts)
        directions, first, second = {}, {}, {}
        for path, *corrections in zip(paths, left, right, strict=True):
            directions[path], first[path], second[path] = _adam_of_one(
                (b1, b2, eps, debias),
                updates[path],
                (state.first[path], state.second[path]),
                tuple(corrections),
                taken,
            )
        return directions, Moments(count, first, second)

    return optax.GradientTransformationExtraArgs(start, update)


# Jitted on its own, so that parameters of one shape are traced and lowered once.
@functools.partial(jax.jit, static_argnums=0)
def _adam_of_one(
    settings: tuple[float, float, float, bool],
    gradient: Array,
    moments: tuple[Array, Array],
    corrections: tuple[Array, Array],
    taken: Array | None,
) -> tuple[Array, Array, Array]:
    """A parameter's direction and its new moments."""
    b1, b2, eps, debias = settings
    first = b1 * moments[0] + (1 - b1) * gradient
    second = b2 * moments[1] + (1 - b2) * gradient**2
    if taken is not None:
        # Chosen before they are used: the step then reads what it writes, where a choice made
        # later has XLA compute the moments twice and copy the old ones first.
        first, second = choose(taken, (first, second), moments)
    if not debias:
        return first / (jnp.sqrt(second) + eps), first, second
    left, right = corrections
    return (first / left) / (jnp.sqrt(second / right) + eps), first, second


SMALLEST_FACTORED = 128
"""Matrices with a shorter side keep a number for every element."""


def adafactor() -> optax.GradientTransformation:
    """Adafactor's direction without momentum (Shazeer & Stern 2018, algorithm 4).

    The mean of squared gradients of a matrix is kept as the product of a row and a column, with
    decay 1 - t^-0.8; the direction has a root mean square of at most 1, times the parameter's own
    (at least 1e-3): rates are shares of a parameter's size.
    """

    def start(params: Any) -> Factors:
        state = Factors({p: jnp.zeros((), jnp.int32) for p in params}, {}, {}, {})
        for path, value in params.items():
            axes = _factored(value.shape)
            if axes is None:
                state.whole[path] = jnp.zeros_like(value)
                continue
            for kept, axis in ((state.rows, axes[1]), (state.columns, axes[0])):
                kept[path] = jnp.zeros(value.shape[:axis] + value.shape[axis + 1 :], value.dtype)
        return state

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        count = {path: state.count[path] + 1 for path in updates}
        new = Factors(count, {}, {}, {})
        directions = {}
        for path, gradient in updates.items():
            decay = 1 - count[path].astype(jnp.float32) ** -0.8
            square = jnp.square(gradient) + 1e-30
            axes = _factored(gradient.shape)
            if axes is None:
                new.whole[path] = decay * state.whole[path] + (1 - decay) * square
                step = gradient / jnp.sqrt(new.whole[path])
            else:
                for kept, old, axis in (
                    (new.rows, state.rows, axes[1]),
                    (new.columns, state.columns, axes[0]),
                ):
                    kept[path] = decay * old[path] + (1 - decay) * square.mean(axis)
                row = jnp.expand_dims(new.rows[path], axes[1])
                row = row / row.mean(axes[0], keepdims=True)
                step = gradient / jnp.sqrt(row * jnp.expand_dims(new.columns[path], axes[0]))
            step = step / jnp.maximum(1.0, _rms(step))
            directions[path] = step * jnp.maximum(1e-3, _rms(params[path]))
        return directions, new

    return optax.GradientTransformation(start, update)


def trust(weights: FlatParams, steps: FlatParams, alone: frozenset[str]) -> FlatParams:
    """Scales every parameter's step to the parameter's own norm (LAMB; You et al. 2020).

    Args:
        weights: Parameters by path.
        steps: Adam's directions, decay included.
        alone: Paths whose steps stay as they are.
    """
    scaled = {}
    for path, step in steps.items():
        size, length = jnp.linalg.norm(weights[path]), jnp.linalg.norm(step)
        sound = (size > 0) & (length > 0)
        ratio = jnp.where(sound, size / jnp.where(sound, length, 1.0), 1.0)
        scaled[path] = step if path in alone else step * ratio
    return scaled


def _factored(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """The second largest and the largest axis, if both are long enough to be factored."""
    if len(shape) < 2:
        return None
    *_, second, first = sorted(range(len(shape)), key=lambda axis: shape[axis])
    return (second, first) if shape[second] >= SMALLEST_FACTORED else None


def _rms(value: Array) -> Float[Array, ""]:
    return jnp.sqrt(jnp.mean(jnp.square(value)))
