"""One optimizer step over what trains: direction, per-parameter rate, decay, and the pull."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from tlearn.params import FlatParams
from tlearn.transfer import pull as pulls
from tlearn.transfer.pull import Pull


@runtime_checkable
class ScheduleLike(Protocol):
    """A factor in [0, 1] on the peak rate, as a function of the optimizer update."""

    def multiplier(self, update: Any, total: Any) -> Any:
        """The factor at ``update`` of ``total``."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Which direction to step in and how far: a value, see `sgd` and `adamw`.

    Attributes:
        name: ``"sgd"`` or ``"adamw"``.
        rate: Peak learning rate.
        schedule: Factor on the peak rate over the updates.
        momentum: Heavy-ball momentum of SGD.
        nesterov: Nesterov's form of it.
        b1: Adam's decay of the first moment.
        b2: Adam's decay of the second moment.
        eps: Added to Adam's denominator.
        clip: Largest global norm of the gradient over everything that trains; None for no clip.
        coupled_decay: Add weight decay to the gradient (classic L2, as torch's SGD does)
            instead of shrinking the weights beside the step (Loshchilov & Hutter 2019).
    """

    name: Literal["sgd", "adamw"]
    rate: float
    schedule: ScheduleLike
    momentum: float = 0.0
    nesterov: bool = False
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    clip: float | None = None
    coupled_decay: bool = False

    def __post_init__(self):
        problems = []
        if self.name not in ("sgd", "adamw"):
            problems.append(f"name {self.name!r}: use sgd or adamw")
        if not self.rate > 0:
            problems.append(f"rate is {self.rate}; it must be above 0")
        if self.clip is not None and not self.clip > 0:
            problems.append(f"clip is {self.clip}; it must be above 0, or None for no clip")
        for name in ("momentum", "b1", "b2"):
            if not 0 <= getattr(self, name) < 1:
                problems.append(f"{name} is {getattr(self, name)}; it must be in [0, 1)")
        if problems:
            raise ValueError("this optimizer cannot be made:\n  " + "\n  ".join(problems))

    def direction(self) -> optax.GradientTransformation:
        """The optax transformation from gradients to unscaled descent directions."""
        if self.name == "adamw":
            return _adam(self.b1, self.b2, self.eps)
        if self.momentum == 0:
            return optax.identity()
        return optax.trace(decay=self.momentum, nesterov=self.nesterov)

    @property
    def slots(self) -> int:
        """Float32 numbers kept per trained parameter."""
        return 2 if self.name == "adamw" else int(self.momentum > 0)


def sgd(rate: float, schedule: ScheduleLike, **settings: Any) -> Optimizer:
    """Stochastic gradient descent, with momentum if asked."""
    return Optimizer(name="sgd", rate=rate, schedule=schedule, **settings)


def adamw(rate: float, schedule: ScheduleLike, **settings: Any) -> Optimizer:
    """Adam with decoupled weight decay (Kingma & Ba 2015; Loshchilov & Hutter 2019)."""
    return Optimizer(name="adamw", rate=rate, schedule=schedule, **settings)


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


def _adam(b1: float, b2: float, eps: float) -> optax.GradientTransformationExtraArgs:
    """Adam's direction (Kingma & Ba 2015), each parameter with a count of its own.

    With one count for all, parameters that join late (gradual unfreezing) would have their zero
    moments corrected as if they were old, and step up to (1 - b1) / sqrt(1 - b2), about three
    times too far.
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
        first = {p: b1 * state.first[p] + (1 - b1) * updates[p] for p in paths}
        second = {p: b2 * state.second[p] + (1 - b2) * updates[p] ** 2 for p in paths}
        if taken is not None:
            # Chosen before they are used: the step then reads what it writes, where a choice made
            # later has XLA compute the moments twice and copy the old ones first.
            old = Moments(state.count, state.first, state.second)
            count, first, second = choose(taken, Moments(count, first, second), old)
        # As vectors: a power per parameter, not per element.
        counts = jnp.stack([count[path] for path in paths])
        left, right = 1 - b1**counts, 1 - b2**counts
        directions = {
            path: (first[path] / left[i]) / (jnp.sqrt(second[path] / right[i]) + eps)
            for i, path in enumerate(paths)
        }
        return directions, Moments(count, first, second)

    return optax.GradientTransformationExtraArgs(start, update)


def choose(condition: Array, yes: Any, no: Any) -> Any:
    """Takes one of two trees, element by element; what both share is not copied."""

    def pick(a: Any, b: Any) -> Any:
        return a if a is b else jnp.where(condition, a, b)

    return jax.tree.map(pick, yes, no)


def clip(gradients: FlatParams, limit: float | None) -> tuple[FlatParams, Float[Array, ""]]:
    """Scales gradients down to a global norm of at most ``limit``; returns the norm before."""
    norm = optax.tree.norm(gradients)
    if limit is None:
        return gradients, norm
    scale = jnp.minimum(1.0, limit / jnp.maximum(norm, 1e-12))
    return {path: g * scale.astype(g.dtype) for path, g in gradients.items()}, norm


def take_step(
    optimizer: Optimizer,
    pull: Pull,
    pulled: tuple[str, ...],
    *,
    gradients: FlatParams,
    slots: optax.OptState,
    trainable: FlatParams,
    source: Mapping[str, Array],
    fisher: Mapping[str, Array] | None,
    numbers: Mapping[str, Array],
    factor: Float[Array, ""],
    strength_factor: Float[Array, ""],
    due: Bool[Array, ""] | None = None,
    sound: Bool[Array, ""] | None = None,
) -> tuple[FlatParams, optax.OptState, dict[str, Array]]:
    """Takes one optimizer step over everything that trains.

    The order is fixed: loss-form pull and coupled decay join the gradient, one clip over all of
    it, direction, per-parameter rate and decay, then the decoupled or proximal pull.

    Args:
        optimizer: The optimizer.
        pull: Form and way of the pull; its strength comes in ``numbers``.
        pulled: Paths that are pulled.
        gradients: Mean gradients by path of everything that trains.
        slots: Optimizer state.
        trainable: Parameters by path.
        source: Source weights by path, at least of ``pulled``.
        fisher: Diagonal Fisher information by path, for the ``fisher`` form.
        numbers: ``peak``, and ``rate``, ``decay``, ``pull`` over the sorted trainable paths.
        factor: The schedule's factor at this update.
        strength_factor: The pull's own schedule's factor.
        due: Whether an update is due; otherwise the optimizer state stays as it was.
        sound: Whether everything was finite so far; likewise.

    Returns:
        New parameters, new optimizer state, and ``gradient_norm``, ``rate`` (η), ``pull_step``
        (the largest η·λ) and ``finite`` (sound, and so is the gradient).
    """
    paths = sorted(trainable)
    eta = numbers["peak"] * factor
    rates = {path: eta * numbers["rate"][i] for i, path in enumerate(paths)}
    decays = {path: numbers["decay"][i] for i, path in enumerate(paths)}
    strengths = {
        path: numbers["pull"][i] * strength_factor for i, path in enumerate(paths) if path in pulled
    }
    if pulled and pull.way == "loss":

        def penalty(w: FlatParams) -> Float[Array, ""]:
            return pulls.penalty(pull.form, w, source, strengths, fisher=fisher)

        extra = jax.grad(penalty)(trainable)
        gradients = {path: g + extra[path] for path, g in gradients.items()}
    if optimizer.coupled_decay:
        gradients = {path: g + decays[path] * trainable[path] for path, g in gradients.items()}
        decays = {path: jnp.zeros(()) for path in paths}
    gradients, norm = clip(gradients, optimizer.clip)
    finite = jnp.isfinite(norm) if sound is None else sound & jnp.isfinite(norm)
    taken = finite if due is None else finite & due
    directions: Any
    direction = optax.with_extra_args_support(optimizer.direction())
    if due is None and sound is None:
        directions, slots = direction.update(gradients, slots, trainable)
    else:
        directions, moved_slots = direction.update(gradients, slots, trainable, taken=taken)
        is_adam = isinstance(moved_slots, Moments)
        slots = moved_slots if is_adam else choose(taken, moved_slots, slots)
    updates = {
        path: -rates[path] * (directions[path] + decays[path] * trainable[path]) for path in paths
    }
    steps = {path: rates[path] * strengths[path] for path in pulled}
    start = trainable
    if pulled and pull.way == "decoupled":
        # At the old weights, so that with plain SGD it is the loss form.
        start = pulls.shrink(pull.form, trainable, source, steps, fisher=fisher)
    moved = {path: start[path] + updates[path] for path in paths}
    if pulled and pull.way == "proximal":
        moved = pulls.prox(pull.form, moved, source, steps, fisher=fisher)
    largest = jnp.max(jnp.stack(list(steps.values()))) if steps else jnp.zeros(())
    report = {"gradient_norm": norm, "rate": eta, "pull_step": largest, "finite": finite}
    return moved, slots, report
