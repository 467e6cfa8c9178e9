"""One array that lies in a file as text, not parsed before somebody looks at its numbers."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from tlearn.hub.leaf import Leaf


class ParsedLeaf(Leaf):
    """A leaf without a view of its file: its shape is known, its numbers are made on demand."""

    __slots__ = ("_parse",)

    def __init__(
        self, parse: Callable[[], np.ndarray], shape: tuple[int, ...], dtype: Any = None
    ) -> None:
        """Keeps how to read.

        Args:
            parse: Reads the file and makes the float32 array.
            shape: The shape it will have.
            dtype: What to cast to; None for float32.
        """
        super().__init__(np.broadcast_to(np.float32(np.nan), shape), dtype=dtype)
        self._parse = parse

    def astype(self, dtype: Any) -> "ParsedLeaf":
        """The same leaf, to be read in another dtype."""
        return ParsedLeaf(self._parse, self.shape, dtype)

    def read(self) -> np.ndarray:
        """Reads it anew.

        Raises:
            HubError: If the file is unsound.
        """
        return self._parse().astype(self.dtype, copy=False)

    def pieces(self) -> Iterator[np.ndarray]:
        """Reads it as a whole: text cannot be entered in its middle."""
        yield self.read()


def _array(_: None, children: Any) -> Any:
    return children[0]


# JAX knows exact classes only: what it does with a leaf it does with this one.
jax.tree_util.register_pytree_node(ParsedLeaf, lambda leaf: ((leaf.read(),), None), _array)
