"""Where a run's arrays live."""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from tlearn.runs.config import RunConfig
from tlearn.train.mesh import make_mesh, place_batch, state_shardings


class Devices:
    """The devices of a run: one, or a mesh of several.

    Attributes:
        count: How many there are.
        shardings: Where the arrays of a tree go, from their shapes; None on one device.
    """

    def __init__(self, config: RunConfig):
        """Makes the mesh that is asked for.

        Args:
            config: What is asked.

        Raises:
            ValueError: If there are fewer devices than asked for.
        """
        self._layout: Literal["replicated", "sharded"] = config.train.layout
        self._mesh = make_mesh(config.train.devices or None) if config.train.devices != 1 else None
        self.count = 1 if self._mesh is None else self._mesh.size
        self.shardings = None if self._mesh is None else self._shardings

    def _shardings(self, tree: Any) -> Any:
        return state_shardings(tree, self._mesh, self._layout) if self._mesh is not None else None

    def put(self, tree: Any) -> Any:
        """Puts a state, or source weights, where they belong; what is there already stays."""
        return tree if self._mesh is None else jax.device_put(tree, self._shardings(tree))

    def place(self, batch: dict[str, Any]) -> dict[str, jax.Array]:
        """Puts a batch on the devices."""
        if self._mesh is not None:
            return place_batch(batch, self._mesh)
        return {name: jnp.array(value) for name, value in batch.items()}
