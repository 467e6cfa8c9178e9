"""One optimizer step over what trains: direction, per-parameter rate, decay, and the pull."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from tlearn.params import FlatParams
from tlearn.transfer import pull as pulls
from tlearn.transfer.directions import Moments, adafactor, adam, choose, trust
from tlearn.transfer.plan import UNDECAYED
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
        name: ``"sgd"``, ``"adamw"``, ``"lamb"`` or ``"adafactor"``.
        rate: Peak learning rate.
        schedule: Factor on the peak rate over the updates.
        momentum: Heavy-ball momentum of SGD.
        nesterov: Nesterov's form of it.
        b1: Adam's decay of the first moment.
        b2: Adam's decay of the second moment.
        eps: Added to Adam's denominator.
        debias: Correct Adam's moments for their start at zero (Kingma & Ba 2015, section 3).
        clip: Largest global norm of the gradient over everything that trains; None for no clip.
        coupled_decay: Add weight decay to the gradient (classic L2, as torch's SGD does)
            instead of shrinking the weights beside the step (Loshchilov & Hutter 2019).
    """

    name: Literal["sgd", "adamw", "lamb", "adafactor"]
    rate: float
    schedule: ScheduleLike
    momentum: float = 0.0
    nesterov: bool = False
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    debias: bool = True
    clip: float | None = None
    coupled_decay: bool = False

    def __post_init__(self):
        problems = []
        if self.name not in ("sgd", "adamw", "lamb", "adafactor"):
            problems.append(f"name {self.name!r}: use sgd, adamw, lamb or adafactor")
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
        if self.name in ("adamw", "lamb"):
            return adam(self.b1, self.b2, self.eps, self.debias)
        if self.name == "adafactor":
            return adafactor()
        if self.momentum == 0:
            return optax.identity()
        return optax.trace(decay=self.momentum, nesterov=self.nesterov)

    @property
    def slots(self) -> int:
        """Float32 numbers kept per trained parameter; Adafactor's rows and columns are none."""
        if self.name == "adafactor":
            return 0
        return int(self.momentum > 0) if self.name == "sgd" else 2


def sgd(rate: float, schedule: ScheduleLike, **settings: Any) -> Optimizer:
    """Stochastic gradient descent, with momentum if asked."""
    return Optimizer(name="sgd", rate=rate, schedule=schedule, **settings)


def adamw(rate: float, schedule: ScheduleLike, **settings: Any) -> Optimizer:
    """Adam with decoupled weight decay (Kingma & Ba 2015; Loshchilov & Hutter 2019)."""
    return Optimizer(name="adamw", rate=rate, schedule=schedule, **settings)


def clip(
    gradients: FlatParams, limit: float | None, scale: Float[Array, ""] | float = 1.0
) -> tuple[FlatParams, Float[Array, ""]]:
    """Multiplies gradients by ``scale``, and down to a global norm of at most ``limit``.

    Returns:
        The gradients, and their norm after the scale and before the limit.
    """
    # The norm of what is given, scaled afterwards: the scaled gradients then have one reader, and
    # are made where they are used. With two XLA writes them out, as large as the model.
    norm = optax.tree.norm(gradients) * scale
    if limit is not None:
        scale = scale * jnp.minimum(1.0, limit / jnp.maximum(norm, 1e-12))
    scale = jnp.asarray(scale)
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
    share: Float[Array, ""] | float = 1.0,
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
        gradients: Gradient sums by path of everything that trains.
        slots: Optimizer state.
        trainable: Parameters by path.
        source: Source weights by path, at least of ``pulled``.
        fisher: Diagonal Fisher information by path, for the ``fisher`` form.
        numbers: ``peak``, and ``rate``, ``decay``, ``pull`` over the sorted trainable paths.
        factor: The schedule's factor at this update.
        strength_factor: The pull's own schedule's factor.
        share: What the sums are multiplied by to give the mean.
        due: Whether an update is due; otherwise the optimizer state stays as it was.
        sound: Whether everything was finite so far; likewise.

    Returns:
        New parameters, new optimizer state, and ``gradient_norm``, ``rate`` (η), ``pull_step``
        (the largest η·λ) and ``finite`` (sound, and so is the gradient).
    """
    paths = sorted(trainable)
    eta = numbers["peak"] * factor
    rates = _apart(paths, eta * numbers["rate"])
    decays = _apart(paths, numbers["decay"])
    strengths = _apart(paths, numbers["pull"] * strength_factor) if pulled else {}
    strengths = {path: strengths[path] for path in paths if path in pulled}
    if pulled and pull.way == "loss":

        def penalty(w: FlatParams) -> Float[Array, ""]:
            return pulls.penalty(pull.form, w, source, strengths, fisher=fisher)

        extra = jax.grad(penalty)(trainable)
        gradients, share = {path: g * share + extra[path] for path, g in gradients.items()}, 1.0
    if optimizer.coupled_decay:
        gradients = {p: g * share + decays[p] * trainable[p] for p, g in gradients.items()}
        decays, share = {path: jnp.zeros(()) for path in paths}, 1.0
    gradients, norm = clip(gradients, optimizer.clip, share)
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
    whole = {path: directions[path] + decays[path] * trainable[path] for path in paths}
    if optimizer.name == "lamb":
        # Biases and normalisation keep Adam's step, as in ALBERT's code.
        alone = frozenset(path for path in paths if path.rpartition("/")[2] in UNDECAYED)
        whole = trust(trainable, whole, alone)
    updates = {path: -rates[path] * whole[path] for path in paths}
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


def _apart(paths: list[str], values: Float[Array, " n"]) -> dict[str, Array]:
    """A number for each path; taken apart at once, since to trace an index takes long."""
    return dict(zip(paths, jnp.unstack(values), strict=True))
