"""Cross-entropy over a vocabulary, a token at a time; what all token objectives share.

Shapes: b batch, m predictions a row, v vocabulary.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tlearn.objectives.sums import Sums


def scored(
    logits: Float[Array, "b m v"], targets: Int[Array, "b m"]
) -> tuple[Float[Array, "b m"], Bool[Array, "b m"]]:
    """Scores predictions: the loss of each in float32, and whether it is right.

    Right is what has a higher score than every other token: of a tie nothing is right. Where the
    target is negative the loss is 0 and means nothing.

    No [b m v] array is made beside the logits and their gradient. An own gradient rule was tried
    (16 x 32 predictions of 16,000 tokens, CPU): it needs one copy more and is no faster.
    """
    logits = logits.astype(jnp.float32)
    target = jnp.maximum(targets, 0)[..., None]
    chosen = jnp.take_along_axis(logits, target, axis=-1)
    loss = jax.nn.logsumexp(logits, axis=-1) - chosen[..., 0]
    held, bar = jax.lax.stop_gradient((logits, chosen))
    right = jnp.sum(held >= bar, axis=-1) == 1
    real = targets >= 0
    return jnp.where(real, loss, 0.0), right & real


def targets_of(logits: Any, batch: Mapping[str, Array]) -> Int[Array, "b m"]:
    """Takes the targets of a batch; rows that only fill it have none.

    Args:
        logits: What is to predict them.
        batch: ``targets`` [b m], -1 where there is nothing to predict, and ``mask`` [b].

    Raises:
        ValueError: If there are not as many predictions as targets.
    """
    targets = batch["targets"]
    if logits.shape[:-1] != targets.shape:
        hint = "pass places=batch['places'] to the model" if "places" in batch else "check the head"
        raise ValueError(
            f"the outputs have the shape {logits.shape}, so they are predictions of "
            f"{logits.shape[:-1]} tokens, but the targets have the shape {targets.shape}: {hint}"
        )
    return jnp.where(batch["mask"][:, None] > 0, targets, -1)


def token_sums(logits: Float[Array, "b m v"], batch: Mapping[str, Array]) -> Sums:
    """Sums the losses of all targets, with their number and the number of right predictions.

    Args:
        logits: Scores of the vocabulary.
        batch: As `targets_of` takes it.
    """
    targets = targets_of(logits, batch)
    loss, right = scored(logits, targets)
    return Sums(
        loss=jnp.sum(loss),
        count=jnp.sum(targets >= 0, dtype=jnp.float32),
        metrics={"accuracy": jnp.sum(right, dtype=jnp.float32)},
    )


def token_rows(logits: Float[Array, "b m v"], batch: Mapping[str, Array]) -> Float[Array, "b 3"]:
    """Sums a row at a time: the loss, the number of targets, the number of right predictions.

    Args:
        logits: Scores of the vocabulary.
        batch: As `targets_of` takes it.
    """
    targets = targets_of(logits, batch)
    loss, right = scored(logits, targets)
    return rows(loss, targets >= 0, right)


def rows(
    loss: Float[Array, "b m"], real: Bool[Array, "b m"], right: Bool[Array, "b m"]
) -> Float[Array, "b 3"]:
    """Joins the sums of each row: loss, number, number right."""
    parts = (loss, real, right)
    return jnp.stack([jnp.sum(part, axis=1, dtype=jnp.float32) for part in parts], axis=1)
