"""Randomness of the data room: named streams of numbers, each a pure function of its coordinates.

A stream is one Philox generator. Its key is a hash of (seed, name); its counter starts at a place
of its own for every pair of coordinates, such as (epoch, index). Two streams never share a number,
and any of them can be had at once, in any process, without drawing the ones before it.
"""

import functools
import hashlib

import numpy as np
from jaxtyping import Float64, Int64, UInt64


@functools.lru_cache(maxsize=256)
def _key(seed: int, name: str) -> tuple[int, int]:
    if seed < 0:
        raise ValueError(f"seed {seed} is negative; a seed is a whole number from 0 up")
    code = hashlib.sha256(f"{name}\0{seed}".encode()).digest()
    return int.from_bytes(code[:8], "little"), int.from_bytes(code[8:16], "little")


def _bits(seed: int, name: str, first: int, second: int) -> np.random.Philox:
    key = np.array(_key(int(seed), name), dtype=np.uint64)
    return np.random.Philox(key=key, counter=np.array([0, 0, first, second], dtype=np.uint64))


def stream(seed: int, name: str, first: int = 0, second: int = 0) -> np.random.Generator:
    """Opens the stream ``name`` of a seed at two coordinates, such as an epoch and an index.

    Raises:
        ValueError: If the seed is negative.
    """
    return np.random.Generator(_bits(seed, name, first, second))


def permutation(seed: int, name: str, count: int, first: int = 0) -> Int64[np.ndarray, " n"]:
    """Orders ``0 .. count-1`` at random, the same way under every version of NumPy.

    NumPy promises the bits of a generator but not what its methods make of them, so the order is
    read off the bits: positions sorted by one 64-bit draw each.
    """
    draws = _bits(seed, name, first, 0).random_raw(count)
    return np.argsort(draws, kind="stable").astype(np.int64)


def draws(
    seed: int, name: str, count: int, first: int, seconds: Int64[np.ndarray, " b"]
) -> UInt64[np.ndarray, "b count"]:
    """Takes the first 64-bit numbers of many streams: row i is that of ``(first, seconds[i])``."""
    return np.stack([_bits(seed, name, first, int(i)).random_raw(count) for i in seconds])


def uniform(bits: UInt64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """Makes numbers from 0 up to but not including 1 of 64-bit draws."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
