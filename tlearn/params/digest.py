"""One fingerprint for a set of named arrays."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np


def digest(flat: Mapping[str, Any]) -> str:
    """Computes the SHA-256 of named arrays: names, dtypes, shapes and bytes, in order of name.

    Two trees have equal digests exactly when they are bit-equal; a flipped bit, a renamed leaf or
    a cast changes it.

    Returns:
        64 hexadecimal digits.
    """
    total = hashlib.sha256()
    for path in sorted(flat):
        array = np.asarray(flat[path])
        total.update(f"{path}\0{array.dtype.str}\0{array.dtype.name}\0{array.shape}\0".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
