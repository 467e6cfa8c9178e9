"""What all batches share: which rows of an epoch a step has, and which of those a host reads."""

import functools

import numpy as np
from jaxtyping import Int64

from tlearn.data.errors import DataError
from tlearn.data.streams import permutation


def check_blocks(batch_size: int, seed: int, host_index: int, host_count: int) -> None:
    """Checks the numbers that every kind of batches is given.

    Raises:
        DataError: If one makes no sense.
    """
    if batch_size < 1:
        raise DataError(f"batch_size {batch_size}; expected at least 1")
    if not 0 <= host_index < host_count or batch_size % host_count:
        raise DataError(
            f"host {host_index} of {host_count} with batch_size {batch_size}: "
            "hosts count from 0, and their number divides the batch size"
        )
    if seed < 0:
        raise DataError(f"seed {seed} is negative; a seed is a whole number from 0 up")


def block(batch_size: int, host_index: int, host_count: int) -> Int64[np.ndarray, " b"]:
    """Lists the rows of the global batch that are a host's."""
    size = batch_size // host_count
    return np.arange(host_index * size, (host_index + 1) * size, dtype=np.int64)


@functools.lru_cache(maxsize=8)
def epoch_order(seed: int, epoch: int, count: int) -> Int64[np.ndarray, " n"]:
    """Orders an epoch's examples at random; kept, since every step of the epoch asks for it."""
    found = permutation(seed, "order", count, epoch)
    found.flags.writeable = False
    return found
