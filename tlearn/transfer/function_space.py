"""The pull toward the source in function space: features and predictions on target inputs.

Distances compare what two networks give for the same batch. They are sums and counts over
unmasked examples, so that padding, accumulation and devices cannot change a mean; the source side
is a constant (no gradient flows into it).

Shapes: b batch, d width, k classes.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from tlearn.params import nearest


class Distance(NamedTuple):
    """A distance summed over examples, and the number of examples.

    Attributes:
        sum: Sum of the examples' distances, float32.
        count: Unmasked examples.
    """

    sum: Scalar
    count: Scalar

    @property
    def mean(self) -> Scalar:
        """The mean distance; 0 for a batch of nothing but padding."""
        return self.sum / jnp.maximum(self.count, 1.0)


def feature_distance(
    pooled: Float[Array, "b d"],
    pooled_source: Float[Array, "b d"],
    mask: Array | None = None,
) -> Distance:
    """Measures ½ ‖f(x) − f_source(x)‖² of pooled features.

    Args:
        pooled: Features of the network that is trained.
        pooled_source: Features of the source network for the same inputs.
        mask: 0 on padding; ``None`` for no padding.
    """
    return _summed(_half_squares(pooled, pooled_source), mask)


def layer_distance(
    layers: Mapping[str, Array],
    layers_source: Mapping[str, Array],
    strength: Mapping[str, Any],
    mask: Array | None = None,
) -> Distance:
    """Measures Σ_j strength_j · ½ ‖FM_j(x) − FM_j,source(x)‖² over the outputs of layers.

    Sums run over all positions and channels of a layer, so a strength suits its layer's size.

    Args:
        layers: Outputs of the layers, examples first.
        layers_source: The same of the source network.
        strength: Weight of every layer to compare, a scalar each; other layers do not count.
        mask: 0 on padding; ``None`` for no padding.

    Raises:
        ValueError: Naming every layer that is not there or has another shape in the source.

    Reference:
        Li et al. 2019, "DELTA: deep learning transfer using feature map with attention", eq. 3,
        without the attention.
    """
    problems = []
    for name in strength:
        if name not in layers or name not in layers_source:
            problems.append(f"there is no layer {name!r}; closest: {nearest(name, layers)}")
        elif layers[name].shape != layers_source[name].shape:
            shapes = f"{layers[name].shape}, in the source {layers_source[name].shape}"
            problems.append(f"layer {name!r} has shape {shapes}")
    if not strength:
        problems.append("strength names no layer")
    if problems:
        raise ValueError("layers cannot be compared:\n  " + "\n  ".join(problems))
    each = [strength[name] * _half_squares(layers[name], layers_source[name]) for name in strength]
    return _summed(jnp.sum(jnp.stack(each), axis=0), mask)


def logit_distance(
    logits: Float[Array, "b k"],
    logits_source: Float[Array, "b k"],
    mask: Array | None = None,
    *,
    temperature: Any = 2.0,
) -> Distance:
    """Measures T² · KL(p_source ‖ p) of predictions softened by a temperature T.

    Both sets of logits come from the source's head: the trained body through it, and the source.

    Args:
        logits: Of the network that is trained.
        logits_source: Of the source network for the same inputs.
        mask: 0 on padding; ``None`` for no padding.
        temperature: T, above 0; 2 in the paper. T² keeps gradients of one size over T.

    Reference:
        Li & Hoiem 2016, "Learning without forgetting", eq. 2 (there the cross-entropy, which has
        the same gradient); Hinton et al. 2015 for T².
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32) / temperature)
    fixed = jax.lax.stop_gradient(logits_source).astype(jnp.float32) / temperature
    log_p_source = jax.nn.log_softmax(fixed)
    p_source = jnp.exp(log_p_source)
    # A class the source rules out counts 0, not 0 · ∞.
    terms = jnp.where(p_source > 0, p_source * (log_p_source - log_p), 0.0)
    return _summed(temperature**2 * jnp.sum(terms, axis=-1), mask)


def _half_squares(values: Array, values_source: Array) -> Float[Array, " b"]:
    fixed = jax.lax.stop_gradient(values_source).astype(jnp.float32)
    d = values.astype(jnp.float32) - fixed
    return 0.5 * jnp.sum(d * d, axis=tuple(range(1, d.ndim)))


def _summed(each: Array, mask: Array | None) -> Distance:
    if mask is None:
        return Distance(jnp.sum(each), jnp.float32(each.shape[0]))
    kept = mask > 0
    # By choice, not by product: what the networks make of padding may be anything.
    return Distance(jnp.sum(jnp.where(kept, each, 0.0)), jnp.sum(kept, dtype=jnp.float32))
