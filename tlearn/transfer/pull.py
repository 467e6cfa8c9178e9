"""The pull toward the source in parameter space: arg min E[loss] + λ · distance(f, f_source).

With d = w − w_source over one parameter, the distances are

    l2sp     ½ Σ d²                      Li et al. 2018
    fisher   ½ Σ F d²                    Kirkpatrick et al. 2017; F from `tlearn.transfer.fisher`
    norm     ‖d‖₂                        one group per parameter, unsquared
    group    Σ_g √p_g ‖d_g‖₂             Yuan & Lin 2006; a group is what feeds one output channel:
                                         the last axis of a kernel is the channel, p_g the group's
                                         size; a vector (bias, scale) is one group
    l1       Σ |d|

A pull acts as a term of the loss (and passes through the optimizer's moments), as a decoupled
shrink (an explicit step of size η·λ outside the optimizer) or as an exact proximal step of that
size. With plain SGD the first two are one; with Adam they are not.

All functions here are pure, over named arrays. The strength or step says, per parameter, how hard
it is pulled, and names by its keys what is pulled: other parameters pass unchanged. Strengths are
arrays, never constants of a program: one compilation serves a sweep, and `jax.vmap` works.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Scalar

from tlearn.params import FlatParams, layer_of, nearest, resolve

Form = Literal["l2sp", "fisher", "norm", "group", "l1"]
Way = Literal["loss", "decoupled", "proximal"]


def _safe_sqrt(square: Array) -> Array:
    """Takes a root whose gradient at 0 is 0, as of a norm's subgradient, instead of NaN."""
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def _norm(d: Array) -> Array:
    return _safe_sqrt(jnp.sum(d * d))


def _group_norms(d: Array) -> tuple[Array, float]:
    """Gives the norms of the groups, broadcastable against d, and the weight √p_g they share."""
    axes = tuple(range(d.ndim - 1)) if d.ndim > 1 else tuple(range(d.ndim))
    groups = d.shape[-1] if d.ndim > 1 else 1
    norms = _safe_sqrt(jnp.sum(d * d, axis=axes, keepdims=True))
    return norms, math.sqrt(d.size / max(groups, 1))


def _kept(size: Array, step: Any) -> Array:
    """Gives the share of d that soft thresholding by ``step`` keeps where d has this size."""
    return jnp.maximum(1.0 - step / jnp.where(size > 0, size, 1.0), 0.0)


def _kept_of_groups(d: Array, step: Any) -> Array:
    norms, weight = _group_norms(d)
    return _kept(norms, step * weight)


def _group_distance(d: Array) -> Array:
    norms, weight = _group_norms(d)
    return weight * jnp.sum(norms)


class _Definition(NamedTuple):
    """A distance, and the share of d its exact proximal step of a size keeps."""

    distance: Callable[[Array, Any], Array]
    kept: Callable[[Array, Any, Any], Array]


# With F = 0 there is no pull, however strong: inf · 0 must not become NaN.
_FORMS: dict[str, _Definition] = {
    "l2sp": _Definition(
        lambda d, fisher: 0.5 * jnp.sum(d * d),
        lambda d, step, fisher: 1.0 / (1.0 + step),
    ),
    "fisher": _Definition(
        lambda d, fisher: 0.5 * jnp.sum(fisher * d * d),
        lambda d, step, fisher: 1.0 / (1.0 + jnp.where(fisher > 0, step * fisher, 0.0)),
    ),
    "norm": _Definition(
        lambda d, fisher: _norm(d),
        lambda d, step, fisher: _kept(_norm(d), step),
    ),
    "group": _Definition(
        lambda d, fisher: _group_distance(d),
        lambda d, step, fisher: _kept_of_groups(d, step),
    ),
    "l1": _Definition(
        # The derivative of JAX's abs at 0 is 1, which would push off the source.
        lambda d, fisher: jnp.sum(jnp.where(d == 0, 0.0, jnp.abs(d))),
        lambda d, step, fisher: _kept(jnp.abs(d), step),
    ),
}
FORMS: tuple[str, ...] = tuple(_FORMS)
WAYS: tuple[str, ...] = ("loss", "decoupled", "proximal")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pull:
    """What is asked of a pull, as data.

    Attributes:
        form: The distance, one of `FORMS`.
        strength: λ. With 0 nothing is pulled.
        way: How it acts, one of `WAYS`.
        layers: ``((pattern, multiplier), ...)`` over layer names: the layer's λ is strength ×
            multiplier. Full match, first wins, unmatched layers have 1, every rule must match.
        schedule: λ over the training, as text for `tlearn.train.schedules.parse`.
    """

    form: Form = "l2sp"
    strength: float = 0.0
    way: Way = "loss"
    layers: tuple[tuple[str, float], ...] = ()
    schedule: str = "constant"

    def __post_init__(self):
        problems = []
        for field, value, known in (("form", self.form, FORMS), ("way", self.way, WAYS)):
            if value not in known:
                close = nearest(str(value), known)
                hint = f"closest: {', '.join(close)}; " if close else ""
                problems.append(f"{field} is {value!r}; {hint}known: {', '.join(known)}")
        if not (math.isfinite(self.strength) and self.strength >= 0):
            problems.append(f"strength is {self.strength}; it must be a finite number, at least 0")
        for pattern, multiplier in self.layers:
            if not (math.isfinite(multiplier) and multiplier >= 0):
                problems.append(
                    f"layers: {pattern!r} has multiplier {multiplier}; it must be at least 0"
                )
        if not self.schedule.strip():
            problems.append("schedule is empty; write 'constant' for a constant λ")
        if problems:
            raise ValueError("this pull cannot be carried out:\n  " + "\n  ".join(problems))

    def strengths(self, paths: Iterable[str]) -> dict[str, float]:
        """Gives λ × multiplier of parameters that have a source, by the layer they belong to.

        Raises:
            RuleError: If a layer rule matches none of their layers.
        """
        layer = {path: layer_of(path) for path in paths}
        names = list(dict.fromkeys(layer.values()))
        factors = resolve(self.layers, names, default=1.0, what="pull layer rule")
        return {path: self.strength * factors[name] for path, name in layer.items()}

    def describe(self) -> dict[str, Any]:
        """Gives the pull as data for JSON; `Pull.build` reads it back."""
        return {**dataclasses.asdict(self), "layers": [list(rule) for rule in self.layers]}

    @classmethod
    def build(cls, config: Mapping[str, Any]) -> "Pull":
        """Makes a pull from what `describe` gave.

        Raises:
            ValueError: Naming all unknown keys, with the nearest known ones.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = [key for key in config if key not in known]
        if unknown:
            raise ValueError(
                f"a pull has no {', '.join(map(repr, unknown))}; closest: "
                f"{nearest(unknown[0], known)}; known: {', '.join(known)}"
            )
        values = dict(config)
        values["layers"] = tuple((str(p), float(m)) for p, m in config.get("layers", ()))
        return cls(**values)


def distance(
    form: str,
    w: Mapping[str, Any],
    w_source: Mapping[str, Any],
    fisher: Mapping[str, Any] | None = None,
) -> dict[str, Array]:
    """Measures every parameter of ``w_source`` against the source, unweighted.

    The gradient is finite everywhere and 0 at the source, in every form.

    Raises:
        ValueError: As `penalty`.
    """
    _check(form, w, w_source, w_source, fisher)
    measure = _FORMS[form].distance
    return {
        path: measure(_difference(w, w_source, path), _weights(fisher, path)) for path in w_source
    }


def penalty(
    form: str,
    w: Mapping[str, Any],
    w_source: Mapping[str, Any],
    strength: Mapping[str, Any],
    fisher: Mapping[str, Any] | None = None,
) -> Scalar:
    """Gives Σ strength · distance, to be added to a loss; with strength 0 it adds exactly nothing.

    Args:
        form: One of `FORMS`.
        w: Parameters; those without a strength are not pulled.
        w_source: Their source; may hold more.
        strength: λ of every pulled parameter, a scalar each.
        fisher: Non-negative weights like the parameters; for form ``"fisher"`` and only for it.

    Raises:
        ValueError: Naming an unknown form, or every pulled parameter that has no value, source or
            Fisher, or one of another shape.
    """
    _check(form, w, w_source, strength, fisher)
    measure = _FORMS[form].distance
    total = jnp.zeros((), jnp.float32)
    for path in sorted(strength):
        d = _difference(w, w_source, path)
        total = total + strength[path] * measure(d, _weights(fisher, path))
    return total


def shrink(
    form: str,
    w: Mapping[str, Any],
    w_source: Mapping[str, Any],
    step: Mapping[str, Any],
    fisher: Mapping[str, Any] | None = None,
) -> FlatParams:
    """Takes the explicit step w − step · ∂distance at w, outside any optimizer.

    Stable for step < 2 (``l2sp``) or step · F < 2 (``fisher``); the unsquared forms jitter around
    the source by up to a step, where `prox` lands on it.

    Args:
        form: One of `FORMS`.
        w: Parameters; those without a step pass unchanged, as do those with step 0, bit for bit.
        w_source: Their source; may hold more.
        step: η·λ of every pulled parameter, a scalar each.
        fisher: As in `penalty`.

    Raises:
        ValueError: As `penalty`.
    """
    _check(form, w, w_source, step, fisher)
    slope = jax.grad(_FORMS[form].distance)
    new = dict(w)
    for path, size in step.items():
        d = _difference(w, w_source, path)
        moved = (_wide(w[path]) - size * slope(d, _weights(fisher, path))).astype(w[path].dtype)
        new[path] = jnp.where(jnp.equal(size, 0), w[path], moved)
    return new


def prox(
    form: str,
    w: Mapping[str, Any],
    w_source: Mapping[str, Any],
    step: Mapping[str, Any],
    fisher: Mapping[str, Any] | None = None,
) -> FlatParams:
    """Takes the exact proximal step arg min_u ½‖u − w‖² + step · distance(u).

    Stable for every step, up to infinity, which gives the source exactly. The unsquared forms
    put whole parameters (``norm``), channels (``group``) or elements (``l1``) on the source.

    Args:
        form: One of `FORMS`.
        w: Parameters; those without a step pass unchanged, as do those with step 0, bit for bit.
        w_source: Their source; may hold more.
        step: η·λ of every pulled parameter, a scalar each.
        fisher: As in `penalty`.

    Raises:
        ValueError: As `penalty`.
    """
    _check(form, w, w_source, step, fisher)
    new = dict(w)
    for path, size in step.items():
        d = _difference(w, w_source, path)
        kept = jnp.broadcast_to(_FORMS[form].kept(d, size, _weights(fisher, path)), d.shape)
        moved = (_wide(w_source[path]) + kept * d).astype(w[path].dtype)
        # Bit for bit at both ends: w_source + 1 · (w − w_source) need not be w.
        ended = jnp.where(kept == 0, w_source[path].astype(w[path].dtype), moved)
        new[path] = jnp.where(kept == 1, w[path], ended)
    return new


def total_pull(
    rates: Sequence[float] | np.ndarray | Array,
    strengths: Sequence[float] | np.ndarray | Array | float,
) -> float:
    """Sums η_t · λ_t over the updates of a training: the figure that makes pulls comparable.

    Args:
        rates: The rate of every update.
        strengths: λ of every update, or one for all.

    Raises:
        ValueError: If there are several strengths but not one per rate.
    """
    eta, lam = np.asarray(rates, np.float64), np.asarray(strengths, np.float64)
    if lam.ndim and lam.shape != eta.shape:
        raise ValueError(f"{lam.shape[0]} strengths do not fit {eta.shape[0]} rates")
    return float(np.sum(eta * lam))


def _wide(x: Any) -> Array:
    """Casts to float32 at least: distances of bfloat16 weights must not be rounded away."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _difference(w: Mapping[str, Any], w_source: Mapping[str, Any], path: str) -> Array:
    return _wide(w[path]) - _wide(w_source[path])


def _weights(fisher: Mapping[str, Any] | None, path: str) -> Any:
    return None if fisher is None else fisher[path]


def _check(
    form: str,
    w: Mapping[str, Any],
    w_source: Mapping[str, Any],
    pulled: Mapping[str, Any],
    fisher: Mapping[str, Any] | None,
) -> None:
    """Refuses what cannot be pulled, before anything is computed; shapes are known to a trace."""
    if form not in _FORMS:
        close = nearest(form, FORMS)
        raise ValueError(f"there is no pull {form!r}; closest: {close}; known: {', '.join(FORMS)}")
    if (form == "fisher") != (fisher is not None):
        need = "needs fisher=" if form == "fisher" else "takes no fisher="
        raise ValueError(f"the pull {form!r} {need} (weights for every pulled parameter)")
    problems = []
    others = {"source": w_source} | ({} if fisher is None else {"Fisher": fisher})
    for path in pulled:
        if path not in w:
            problems.append(f"{path} is no parameter; closest: {nearest(path, w)}")
            continue
        for name, values in others.items():
            if path not in values:
                problems.append(f"{path} has no {name}; closest: {nearest(path, values)}")
            elif values[path].shape != w[path].shape:
                problems.append(
                    f"{path} has shape {w[path].shape}, its {name} {values[path].shape}"
                )
    if problems:
        raise ValueError("parameters cannot be pulled:\n  " + "\n  ".join(problems[:20]))
