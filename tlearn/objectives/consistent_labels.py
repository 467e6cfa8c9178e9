"""Labels, and that two passes with other dropout answer alike.

Shapes: b batch, k classes.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tlearn.objectives.sums import Sums


@dataclasses.dataclass(frozen=True)
class ConsistentLabels:
    """The labels' mean loss over two passes, plus ``weight`` times how far their answers differ.

    Attributes:
        labels: The labels' objective.
        weight: Of the difference. The paper adds the two passes' losses up where this takes their
            mean, so its α is twice this.

    Reference: Liang et al. 2021 (R-Drop), equations 1 to 3.
    """

    labels: Callable[[Any, Mapping[str, Array]], Sums]
    weight: float

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(f"weight is {self.weight}; it must be above 0")

    def __call__(self, outputs: Any, batch: Mapping[str, Array]) -> Sums:
        """Sums the loss over the examples; metrics are the two passes' means.

        Args:
            outputs: Logits of both passes: a pair of [b k].
            batch: What the labels' objective takes, ``mask`` [b] among it.
        """
        one, two = (self.labels(logits, batch) for logits in outputs)
        apart = jnp.sum(divergence(*outputs) * batch["mask"].astype(jnp.float32))
        mean = jax.tree.map(lambda a, b: (a + b) / 2, one, two)
        return mean.replace(
            loss=mean.loss + self.weight * apart,
            metrics=mean.metrics | {"label_loss": mean.loss, "inconsistency": apart},
        )


def divergence(one: Float[Array, "b k"], two: Float[Array, "b k"]) -> Float[Array, " b"]:
    """The mean of both Kullback-Leibler divergences between two answers, in nats.

    Example:
        >>> a, b = jnp.log(jnp.array([[0.5, 0.5]])), jnp.log(jnp.array([[0.8, 0.2]]))
        >>> divergence(a, b).round(4).tolist(), divergence(b, b).tolist()
        ([0.2079], [0.0])
    """
    log_p, log_q = (jax.nn.log_softmax(x.astype(jnp.float32)) for x in (one, two))
    return jnp.sum((jnp.exp(log_p) - jnp.exp(log_q)) * (log_p - log_q), axis=-1) / 2
