"""A model whose examples all pass twice, so that its dropout can be compared with itself."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from tlearn.bodies.features import Features
from tlearn.model import Model


class TwoPasses(Model):
    """A body and a head that every example of a batch passes twice, each time with other dropout.

    The two copies of an example are rows of one batch, side by side: one program of the usual size,
    on twice the rows, and a batch that is split over devices stays where it is. Parameters and
    statistics are those of the model that passes once.

    Attributes:
        body: As in `tlearn.model.Model`.
        head: As in `tlearn.model.Model`.

    Reference: Liang et al. 2021 (R-Drop), section 2.2.
    """

    def both(
        self, *inputs: Array, train: bool | frozenset[str] = False, **reading: Any
    ) -> tuple[Features, tuple[Any, Any]]:
        """Computes the first pass's features, and the outputs of both passes.

        Args:
            *inputs: The body's inputs, in the order of ``body.inputs``.
            train: Names of the layers in training mode (``head`` is one); True for all.
            **reading: As in `tlearn.model.Model.both`.
        """
        twice = [jnp.repeat(value, 2, axis=0) for value in inputs]
        told = {name: jnp.repeat(value, 2, axis=0) for name, value in reading.items()}
        features, outputs = super().both(*twice, train=train, **told)
        first, second = (jax.tree.map(lambda x, i=i: x[i::2], outputs) for i in (0, 1))
        return _first(features), (first, second)


def _first(features: Features) -> Features:
    """Every other row of what has a row for each example; a table of words has none."""
    rows = dataclasses.replace(features, table=None, carry=None)
    first = jax.tree.map(lambda x: x[::2], rows)
    return dataclasses.replace(first, table=features.table)
