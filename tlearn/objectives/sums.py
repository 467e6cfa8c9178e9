"""What every objective returns: sums and a count, never means."""

import flax.struct
from jaxtyping import Array, Float


@flax.struct.dataclass
class Sums:
    """Sums over the examples of a batch.

    Attributes:
        loss: Sum of the examples' losses.
        count: Number of examples (the sum of their mask).
        metrics: Further sums, to be divided by the count.
    """

    loss: Float[Array, ""]
    count: Float[Array, ""]
    metrics: dict[str, Float[Array, ""]]
