"""The diagonal Fisher information of a source model on source data: how much each weight matters.

F = mean over examples of Σ_k p_k (∂ log p_k)², with p the model's own predictions. Labels of the
data are not used: with them it would be the "empirical" Fisher, which vanishes where the model fits
(Kunstner et al. 2019). Li et al. 2018, §4.1, weight the pull by it; Kirkpatrick et al. 2017 call
the same elastic weight consolidation.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tlearn.params import FlatParams

Logits = Callable[[FlatParams, Any, Mapping[str, Any]], Float[Array, "b k"]]
"""``logits(params, fixed, batch)``: the model in evaluation mode, examples independent."""


def diagonal_fisher(
    logits: Logits,
    params: Mapping[str, Any],
    batches: Iterable[Mapping[str, Any]],
    *,
    fixed: Any = None,
    labels: Literal["expected", "sampled"] = "expected",
    key: Array | None = None,
    chunk: int = 8,
) -> FlatParams:
    """Estimates F for every given parameter, by gradients of single examples.

    Args:
        logits: The source model with its source head. It must treat examples independently, as
            normalisation with running statistics does.
        params: The parameters to weigh; others belong into `fixed`.
        batches: Batches of arrays along examples; ``"mask"`` is 0 on padding, if present.
        fixed: What else `logits` needs, such as frozen parameters and statistics.
        labels: ``"expected"`` sums over all classes, one backward pass each; ``"sampled"`` draws
            one label an example from the model: cheaper with many classes, unbiased, noisier.
        key: For ``"sampled"``.
        chunk: Examples whose gradients are held at once; memory is chunk × parameters.

    Returns:
        F under the parameters' paths, float32, at least 0.

    Raises:
        ValueError: If there is no example, or no key to sample with.

    Reference:
        Li, Grandvalet & Davoine 2018, "Explicit inductive bias for transfer learning".
    """
    if labels not in ("expected", "sampled"):
        raise ValueError(f"labels is {labels!r}; use 'expected' or 'sampled'")
    if (labels == "sampled") != (key is not None):
        raise ValueError("labels='sampled' needs a key=, labels='expected' uses none")
    key = jax.random.key(0) if key is None else key
    expected = labels == "expected"

    def of_example(params, fixed, example, key):
        batch = jax.tree.map(lambda x: x[None], example)

        def log_probs(params):
            return jax.nn.log_softmax(logits(params, fixed, batch)[0].astype(jnp.float32))

        values, backward = jax.vjp(log_probs, params)

        def square(k):
            (slope,) = backward(jax.nn.one_hot(k, values.shape[0], dtype=values.dtype))
            return jax.tree.map(lambda g: jnp.square(g.astype(jnp.float32)), slope)

        if not expected:
            return square(jax.random.categorical(key, values))

        def add(total, k):
            weight = jnp.exp(values[k])
            return jax.tree.map(lambda t, s: t + weight * s, total, square(k)), None

        return jax.lax.scan(add, _zeros(params), jnp.arange(values.shape[0]))[0]

    @jax.jit
    def of_batch(total, params, fixed, batch, mask, key):
        order = jnp.arange(mask.shape[0])
        # Whole chunks: filled up with copies of the last example, which the mask leaves out.
        pieces = jax.tree.map(lambda x: _in_chunks(x, chunk, "edge"), (batch, order))
        kept = _in_chunks(mask, chunk, "constant")

        def add(total, piece):
            (examples, order), kept = piece
            keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, order)
            each = jax.vmap(of_example, in_axes=(None, None, 0, 0))(params, fixed, examples, keys)
            sums = jax.tree.map(lambda x: jnp.sum(_masked(x, kept), axis=0), each)
            return jax.tree.map(jnp.add, total, sums), None

        return jax.lax.scan(add, total, (pieces, kept))[0]

    params, count = dict(params), 0
    total = _zeros(params)
    for number, batch in enumerate(batches):
        arrays = {name: jnp.asarray(value) for name, value in batch.items() if name != "mask"}
        size = next(iter(arrays.values())).shape[0]
        mask = jnp.asarray(batch.get("mask", jnp.ones(size)))
        count += int(jnp.sum(mask > 0))
        total = of_batch(total, params, fixed, arrays, mask, jax.random.fold_in(key, number))
    if not count:
        raise ValueError("the Fisher information needs source data; the batches hold no example")
    return jax.tree.map(lambda x: x / count, total)


def _zeros(params: Mapping[str, Any]) -> FlatParams:
    return {path: jnp.zeros(value.shape, jnp.float32) for path, value in params.items()}


def _in_chunks(x: Array, chunk: int, mode: str) -> Array:
    missing = -x.shape[0] % chunk
    x = jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1), mode=mode)
    return x.reshape(-1, chunk, *x.shape[1:])


def _masked(x: Array, mask: Array) -> Array:
    """Zeroes padding by choice, not by product: padding may give anything, also NaN."""
    return jnp.where((mask > 0).reshape(-1, *[1] * (x.ndim - 1)), x, 0.0)
