"""One fingerprint for a set of named arrays."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np


class Digest:
    """A digest that grows array by array; names must come in their order."""

    def __init__(self) -> None:
        self._total = hashlib.sha256()
        self._last = ""

    def add(self, path: str, value: Any) -> None:
        """Takes in one array.

        Raises:
            ValueError: If its name does not come after the last one.
        """
        if path <= self._last:
            raise ValueError(f"{path!r} comes after {self._last!r}: digests go in order of name")
        self._last = path
        array = np.asarray(value)
        header = f"{path}\0{array.dtype.str}\0{array.dtype.name}\0{array.shape}\0"
        self._total.update(header.encode())
        # A view of the bytes: large arrays are not copied to be read.
        self._total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def hexdigest(self) -> str:
        """The 64 hexadecimal digits of all that was added."""
        return self._total.hexdigest()


def digest(flat: Mapping[str, Any]) -> str:
    """Computes the SHA-256 of named arrays: names, dtypes, shapes and bytes, in order of name.

    Two trees have equal digests exactly when they are bit-equal; a flipped bit, a renamed leaf or
    a cast changes it.

    Returns:
        64 hexadecimal digits.
    """
    total = Digest()
    for path in sorted(flat):
        total.add(path, flat[path])
    return total.hexdigest()
