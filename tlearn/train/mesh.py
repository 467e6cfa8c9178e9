"""Meshes and shardings: data-parallel and fully-sharded are the same step, placed differently."""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

AXIS = "data"
SMALLEST = 1024
"""Smaller arrays are copied to every device: splitting them costs more than it saves."""


def make_mesh(devices: int | None = None) -> Mesh:
    """A one-dimensional mesh over the first ``devices`` devices (all by default).

    Its axis is of type Auto: Linen modules do not follow the explicit sharding types.

    Raises:
        ValueError: If there are fewer devices than asked for.
    """
    available = jax.device_count()
    count = available if devices is None else devices
    if not 1 <= count <= available:
        raise ValueError(f"a mesh of {count} devices was asked for; this machine has {available}")
    return jax.make_mesh(
        (count,), (AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:count]
    )


def state_shardings(
    state: PyTree, mesh: Mesh, layout: Literal["replicated", "sharded"] = "replicated"
) -> PyTree:
    """Where each array of a state lives.

    Args:
        state: The state or its shapes.
        mesh: The mesh.
        layout: ``replicated`` (data-parallel) copies the state to every device; ``sharded``
            (fully-sharded; Rajbhandari et al. 2020) splits the largest divisible axis of each
            large array, optimizer slots included.
    """

    def place(leaf: Any) -> NamedSharding:
        spec = PartitionSpec() if layout == "replicated" else _split(np.shape(leaf), mesh)
        return NamedSharding(mesh, spec)

    return jax.tree.map(place, state)


def place_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Puts a host batch on the mesh, split over its examples.

    With several processes each passes its own contiguous block of the global batch.

    Raises:
        ValueError: If the examples do not divide over the devices.
    """
    devices = mesh.shape[AXIS]
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))
    placed = {}
    for name, array in batch.items():
        rows = len(array) * jax.process_count()
        if rows % devices:
            raise ValueError(
                f"a batch of {rows} examples ({name}) does not divide over {devices} devices; "
                "pad it (evaluation batches are padded and masked) or change batch_size"
            )
        placed[name] = jax.make_array_from_process_local_data(sharding, np.array(array, copy=True))
    return placed


def _split(shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    devices = mesh.shape[AXIS]
    if np.prod(shape, dtype=np.int64) < SMALLEST:
        return PartitionSpec()
    for axis in sorted(range(len(shape)), key=lambda a: -shape[a]):
        if shape[axis] % devices == 0:
            return PartitionSpec(*[AXIS if a == axis else None for a in range(len(shape))])
    return PartitionSpec()
