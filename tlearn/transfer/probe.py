"""Many heads on cached features: rates × decays × seeds trained in one compiled program.

Shapes: r runs, s seeds, v views, n examples, d width, u updates, b batch, k classes.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from tlearn.bodies.features import Features
from tlearn.data.streams import permutation
from tlearn.params import FlatParams, flatten, unflatten
from tlearn.transfer.optimizer import Optimizer, take_step
from tlearn.transfer.plan import UNDECAYED
from tlearn.transfer.pull import Pull

Order = Callable[[int, int, int], np.ndarray]
"""``order(seed, epoch, n)``: the examples in the order an epoch visits them."""

_MEMORY = 2**28
"""Bytes that parameters, optimizer state and gradients of one program's runs may take."""


class Scores(NamedTuple):
    """Sums over the examples of a set, for every run.

    Attributes:
        loss: [r] sums of the cross-entropy.
        right: [r] numbers of right answers.
        count: Number of examples.
    """

    loss: np.ndarray
    right: np.ndarray
    count: int

    @property
    def accuracy(self) -> np.ndarray:
        """[r] shares of right answers."""
        return self.right / self.count


@dataclasses.dataclass(frozen=True)
class Heads:
    """Trained heads; run i has rate ``rates[i]``, decay ``decays[i]`` and seed ``seeds[i]``.

    Attributes:
        head: The module they are parameters of.
        params: Parameters ``head/...`` of all runs, stacked along the first axis.
        rates: [r] peak rates.
        decays: [r] weight decays.
        seeds: [r] seeds of initial values and order.
        losses: [r u] mean training loss of every update.
    """

    head: nn.Module
    params: FlatParams
    rates: np.ndarray
    decays: np.ndarray
    seeds: np.ndarray
    losses: np.ndarray

    def __len__(self) -> int:
        """The number of runs."""
        return len(self.rates)

    def run(self, index: int) -> FlatParams:
        """Gives the parameters of one run."""
        return {path: value[index] for path, value in self.params.items()}

    def score(self, features: Any, labels: Any, *, rows: int = 4096) -> Scores:
        """Scores every run on features [n d] with labels [n], ``rows`` examples at a time."""
        _check_labels(self.head, np.asarray(labels), len(features))
        loss, right = np.zeros(len(self)), np.zeros(len(self), np.int64)
        size = min(rows, len(features))
        for start in range(0, len(features), size):
            x = np.asarray(features[start : start + size])
            y = np.asarray(labels[start : start + size], np.int32)
            missing = size - len(x)
            # Filled up so that the last block needs no program of its own; label -1 counts nothing.
            x = np.pad(x, ((0, missing), (0, 0)))
            y = np.pad(y, (0, missing), constant_values=-1)
            losses, rights = _score(self.head, self.params, x, y)
            loss += np.asarray(losses, np.float64)
            right += np.asarray(rights)
        return Scores(loss, right, len(features))


def train_heads(
    head: nn.Module,
    features: Any,
    labels: Any,
    *,
    optimizer: Optimizer,
    rates: Sequence[float],
    decays: Sequence[float] = (0.0,),
    seeds: Sequence[int] = (0,),
    updates: int,
    batch_size: int,
    order: Order | None = None,
    initial: Sequence[Mapping[str, Any]] | None = None,
    chunk: int | None = None,
) -> Heads:
    """Trains a head for every rate × decay × seed on features that do not change.

    A run equals the same head trained alone, on features or on pictures through the frozen body
    they come from: same order, same optimizer step, every example once an epoch. (Equal but for
    rounding, which Adam magnifies where gradients have all but vanished.) All numbers are arrays:
    other rates, decays and seeds, as many of each, compile nothing.

    Args:
        head: A head that reads pooled features.
        features: [n d], or [v n d] for v views; epoch e trains on view e modulo v.
        labels: [n] class numbers.
        optimizer: Its rate is overridden by `rates`; its schedule runs over `updates`.
        rates: Peak learning rates.
        decays: Weight decays, of the same parameters as in a plan: not of biases and scales.
        seeds: Each gives initial values and an order of its own, the same for all rates and decays.
        updates: Optimizer updates of every run.
        batch_size: Examples of an update; the last of an epoch has those that remain.
        order: The order of examples; by default that of `tlearn.data.batches.Batches`.
        initial: Initial parameters ``head/...`` for every seed, instead of the head's own draw.
        chunk: Runs in one program; by default as many as fit into 256 MiB.

    Returns:
        The heads, in the order of ``itertools.product(rates, decays, seeds)``.

    Raises:
        ValueError: Naming all arguments that cannot be.
    """
    x = jnp.asarray(features)
    x = x[None] if x.ndim == 2 else x
    y = jnp.asarray(np.asarray(labels), jnp.int32)
    _check(head, x, np.asarray(labels), rates, decays, seeds, updates, batch_size, initial)
    starts = [dict(one) for one in initial or (_initial(head, x, seed) for seed in seeds)]
    # The rate is a number of the run: it must not make a program of its own.
    optimizer = dataclasses.replace(optimizer, rate=1.0)
    numbers = np.array(list(itertools.product(rates, decays)), np.float32)
    runs = chunk or _fitting(starts[0], optimizer, batch_size, updates)
    per_numbers = min(runs, len(numbers))
    per_seeds = min(max(runs // len(numbers), 1), len(seeds))
    epochs = -(-updates // -(-x.shape[1] // batch_size))
    view = jnp.asarray(np.arange(epochs).repeat(-(-x.shape[1] // batch_size))[:updates] % len(x))
    parts = []
    for block in _blocks(len(seeds), per_seeds):
        plans = [_rows(order, seeds[i], x.shape[1], batch_size, updates) for i in block]
        rows = jnp.asarray(np.stack([rows for rows, _ in plans]))
        mask = jnp.asarray(plans[0][1])
        start = {path: jnp.stack([starts[i][path] for i in block]) for path in starts[0]}
        keys = jnp.stack([jax.random.fold_in(jax.random.key(seeds[i]), 1) for i in block])
        across = []
        for chosen in _blocks(len(numbers), per_numbers):
            peak, decay = jnp.asarray(numbers[chosen]).T
            trained = _train(head, optimizer, start, x, y, rows, mask, view, keys, peak, decay)
            across.append(jax.tree.map(np.asarray, trained))
        parts.append(_joined(across, len(numbers), axis=1))
    params, losses = jax.tree.map(_by_run, _joined(parts, len(seeds), axis=0))
    grid = np.array(list(itertools.product(rates, decays, seeds)), np.float64)
    return Heads(head, params, grid[:, 0], grid[:, 1], grid[:, 2].astype(np.int64), losses)


@functools.partial(jax.jit, static_argnames=("head", "optimizer"))
def _train(
    head: nn.Module,
    optimizer: Optimizer,
    start: FlatParams,
    x: Array,
    y: Array,
    rows: Array,
    mask: Array,
    view: Array,
    keys: Array,
    peak: Array,
    decay: Array,
) -> tuple[FlatParams, Array]:
    """Trains [seeds, numbers] runs; those of one seed share every batch, so it is read once."""
    total = mask.shape[0]

    def one(start, rows, key, peak, decay):
        paths = sorted(start)
        decays = [path.rpartition("/")[2] not in UNDECAYED for path in paths]
        zero = jnp.zeros(len(paths))
        numbers = {"peak": peak, "rate": zero + 1.0, "pull": zero}
        numbers["decay"] = decay * jnp.array(decays, jnp.float32)

        def update(carry, now):
            params, slots = carry
            at, rows, mask, view = now
            batch = x[view, rows].astype(jnp.float32)

            def loss(params):
                rngs = {"dropout": jax.random.fold_in(key, at)}
                logits = _apply(head, params, batch, train=True, rngs=rngs)
                return jnp.sum(mask * _cross_entropy(logits, y[rows])) / jnp.sum(mask)

            value, gradients = jax.value_and_grad(loss)(params)
            params, slots, _ = take_step(
                optimizer,
                Pull(),
                (),
                gradients=gradients,
                slots=slots,
                trainable=params,
                source={},
                fisher=None,
                numbers=numbers,
                factor=jnp.asarray(optimizer.schedule.multiplier(at, total)),
                strength_factor=jnp.ones(()),
            )
            return (params, slots), value

        carry = (start, optimizer.direction().init(start))
        (params, _), losses = jax.lax.scan(update, carry, (jnp.arange(total), rows, mask, view))
        return params, losses

    of_numbers = jax.vmap(one, in_axes=(None, None, None, 0, 0))
    return jax.vmap(of_numbers, in_axes=(0, 0, 0, None, None))(start, rows, keys, peak, decay)


@functools.partial(jax.jit, static_argnames="head")
def _score(head: nn.Module, params: FlatParams, x: Array, y: Array) -> tuple[Array, Array]:
    def one(params):
        logits = _apply(head, params, x.astype(jnp.float32))
        losses = jnp.where(y >= 0, _cross_entropy(logits, y), 0.0)
        return jnp.sum(losses), jnp.sum(jnp.argmax(logits, axis=-1) == y)

    return jax.vmap(one)(params)


def _apply(head: nn.Module, params: FlatParams, x: Array, **options: Any) -> Array:
    variables = {"params": unflatten(params)["head"]}
    # Without this an accelerator may round products to fewer bits than float32 has.
    with jax.default_matmul_precision("highest"):
        return jnp.asarray(head.apply(variables, Features(pooled=x), **options))


def _cross_entropy(logits: Array, y: Array) -> Array:
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    return -jnp.sum(jax.nn.one_hot(y, logits.shape[-1]) * log_p, axis=-1)


def _initial(head: nn.Module, x: Array, seed: int) -> FlatParams:
    example = Features(pooled=x[0, :1].astype(jnp.float32))
    variables = head.init(jax.random.key(seed), example)
    return flatten({"head": variables["params"]})


def _rows(
    order: Order | None, seed: int, n: int, batch_size: int, updates: int
) -> tuple[np.ndarray, np.ndarray]:
    """Lists the examples of every update, [u b], and the mask of the filled-up ones."""
    steps = -(-n // batch_size)
    real = np.arange(steps * batch_size) < n
    rows = []
    for epoch in range(-(-updates // steps)):
        whole = permutation(seed, "order", n, epoch) if order is None else order(seed, epoch, n)
        rows.append(np.where(real, np.resize(whole, real.shape), whole[0]))
    shape = (-1, batch_size)
    mask = np.tile(real, len(rows)).reshape(shape)[:updates]
    return np.concatenate(rows).reshape(shape)[:updates].astype(np.int32), mask.astype(np.float32)


def _fitting(start: FlatParams, optimizer: Optimizer, batch_size: int, updates: int) -> int:
    size = sum(value.size for value in start.values())
    each = 4 * (size * (3 + optimizer.slots) + updates + 8 * batch_size)
    return max(_MEMORY // each, 1)


def _blocks(count: int, size: int) -> list[np.ndarray]:
    """Cuts indices into blocks of one size; the last repeats its last index to fill up."""
    starts = range(0, count, size)
    return [np.minimum(np.arange(start, start + size), count - 1) for start in starts]


def _joined(parts: list[Any], count: int, axis: int) -> Any:
    def join(*values):
        return np.concatenate(values, axis=axis).take(np.arange(count), axis=axis)

    return jax.tree.map(join, *parts)


def _by_run(value: np.ndarray) -> np.ndarray:
    """Lays [seeds, numbers, ...] out as runs with the seed counting fastest."""
    return np.swapaxes(value, 0, 1).reshape(-1, *value.shape[2:])


def _check(
    head: nn.Module,
    x: Array,
    labels: np.ndarray,
    rates: Sequence[float],
    decays: Sequence[float],
    seeds: Sequence[int],
    updates: int,
    batch_size: int,
    initial: Sequence[Mapping[str, Any]] | None,
) -> None:
    problems = []
    if x.ndim != 3 or 0 in x.shape:
        raise ValueError(f"features have shape {x.shape}; give [examples, width] or with views")
    _check_labels(head, labels, x.shape[1])
    for name, values in (("rates", rates), ("decays", decays), ("seeds", seeds)):
        if not len(values):
            problems.append(f"{name} is empty; every run needs one")
    if any(rate <= 0 for rate in rates):
        problems.append(f"rates are {list(rates)}; each must be above 0")
    if any(decay < 0 for decay in decays):
        problems.append(f"decays are {list(decays)}; each must be at least 0")
    if updates < 1 or batch_size < 1:
        problems.append(f"updates ({updates}) and batch_size ({batch_size}) must be at least 1")
    if initial is not None and len(initial) != len(seeds):
        problems.append(f"initial has {len(initial)} sets of values for {len(seeds)} seeds")
    if problems:
        raise ValueError("these heads cannot be trained:\n  " + "\n  ".join(problems))


def _check_labels(head: nn.Module, labels: np.ndarray, examples: int) -> None:
    classes = getattr(head, "classes", None)
    if labels.shape != (examples,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels are {labels.dtype} {labels.shape}; give one class number for each of "
            f"{examples} examples"
        )
    if labels.min() < 0 or (classes is not None and labels.max() >= classes):
        raise ValueError(
            f"labels run from {labels.min()} to {labels.max()}; the head has {classes} classes, "
            f"0 to {None if classes is None else classes - 1}"
        )
