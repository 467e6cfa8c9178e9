"""Classification: cross-entropy with label smoothing and soft labels."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tlearn.objectives.sums import Sums


@dataclasses.dataclass(frozen=True)
class Classification:
    """Cross-entropy over classes.

    Attributes:
        classes: Number of classes.
        smoothing: Share of the probability spread evenly over all classes (Szegedy et al. 2016).
    """

    classes: int
    smoothing: float = 0.0

    def __call__(self, logits: Float[Array, "b k"], batch: Mapping[str, Array]) -> Sums:
        """Sums the loss and the number of right answers.

        Args:
            logits: Outputs of the head.
            batch: ``label`` [b] or soft ``label_weights`` [b k] (mixup), and ``mask`` [b], 0 for
                examples that only fill the batch.
        """
        mask = batch["mask"].astype(jnp.float32)
        log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
        if "label_weights" in batch:
            target = batch["label_weights"].astype(jnp.float32)
        else:
            target = jax.nn.one_hot(batch["label"], self.classes, dtype=jnp.float32)
        if self.smoothing:
            target = (1 - self.smoothing) * target + self.smoothing / self.classes
        loss = -jnp.sum(target * log_p, axis=-1)
        right = (jnp.argmax(logits, axis=-1) == batch["label"]).astype(jnp.float32)
        return Sums(
            loss=jnp.sum(loss * mask),
            count=jnp.sum(mask),
            metrics={"accuracy": jnp.sum(right * mask)},
        )
