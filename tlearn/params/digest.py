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
        # What still lies in a file need not be in memory as a whole.
        pieces = value.pieces() if hasattr(value, "pieces") else [np.asarray(value)]
        like = value if hasattr(value, "pieces") else pieces[0]
        header = f"{path}\0{like.dtype.str}\0{like.dtype.name}\0{like.shape}\0"
        self._total.update(header.encode())
        for piece in pieces:
            # A view of the bytes: large arrays are not copied to be read.
            self._total.update(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)

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
