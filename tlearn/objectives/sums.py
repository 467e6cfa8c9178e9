"""What every objective returns: sums and a count, never means."""

import flax.struct
from jaxtyping import Array, Float


@flax.struct.dataclass
class Sums:
    """Sums over the examples of a batch.

    Attributes:
        loss: Sum of the examples' losses.
        count: What the loss is divided by at the end: the number of examples, or of targets.
        metrics: Further sums.
        counts: What the metrics of these names are divided by; the others go by ``count``.
    """

    loss: Float[Array, ""]
    count: Float[Array, ""]
    metrics: dict[str, Float[Array, ""]]
    counts: dict[str, Float[Array, ""]] = flax.struct.field(default_factory=dict)
