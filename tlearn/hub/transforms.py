"""Changes of layout between foreign arrays and ours, each with its exact inverse."""

import dataclasses
import math

import numpy as np

from tlearn.hub.errors import HubError


@dataclasses.dataclass(frozen=True)
class Transform:
    """How an array's layout changes; the inverse is exact.

    Attributes:
        rank: How many axes the array has; None for any number.
        axes: Where each axis of our array lies in the foreign one; empty for no change.
        single: An axis of the foreign array that must have size 1, or None.
    """

    rank: int | None
    axes: tuple[int, ...]
    single: int | None = None

    def view(self, array: np.ndarray) -> np.ndarray:
        """Shows the foreign array in our layout without copying it."""
        if self.rank is not None and array.ndim != self.rank:
            raise HubError(f"has the shape {array.shape}, but {self.rank} axes are wanted")
        if self.single is not None and array.shape[self.single] != 1:
            raise HubError(f"has the shape {array.shape}, but axis {self.single} must be 1")
        return array.transpose(self.axes) if self.axes else array

    def forward(self, array: np.ndarray) -> np.ndarray:
        """Turns the foreign layout into ours, always as a copy of its own."""
        return np.array(self.view(array), order="C", copy=True)

    def backward(self, array: np.ndarray) -> np.ndarray:
        """Turns our layout into the foreign one; `forward` undoes it bit for bit."""
        if self.rank is not None and array.ndim != self.rank:
            raise HubError(f"has the shape {array.shape}, but {self.rank} axes are wanted")
        there = array.transpose(tuple(np.argsort(self.axes))) if self.axes else array
        return np.array(there, order="C", copy=True)


@dataclasses.dataclass(frozen=True)
class PatchMatrix(Transform):
    """A matrix over flattened patches, [out, rows · columns · channels], as a convolution's kernel.

    Patches are square and have one or three channels; no number is both n² and 3n².
    """

    rank: int | None = 2
    axes: tuple[int, ...] = ()

    def view(self, array: np.ndarray) -> np.ndarray:
        """Shows [out, patch] as [rows, columns, channels, out]."""
        super().view(array)
        for channels in (1, 3):
            side = math.isqrt(array.shape[1] // channels)
            if side > 0 and side * side * channels == array.shape[1]:
                return array.T.reshape(side, side, channels, array.shape[0])
        raise HubError(
            f"has the shape {array.shape}: no square patch of 1 or 3 channels has "
            f"{array.shape[1]} numbers"
        )

    def backward(self, array: np.ndarray) -> np.ndarray:
        """Flattens the patches again."""
        if array.ndim != 4 or array.shape[0] != array.shape[1] or array.shape[2] not in (1, 3):
            raise HubError(f"has the shape {array.shape}, but [p, p, 1 or 3, out] is wanted")
        return np.array(array.reshape(-1, array.shape[3]).T, order="C", copy=True)


@dataclasses.dataclass(frozen=True)
class Pointwise(Transform):
    """A convolution of one pixel as the matrix it is.

    Attributes:
        pixel: The two axes of the foreign array that have size 1.
    """

    rank: int | None = 4
    axes: tuple[int, ...] = ()
    pixel: tuple[int, int] = (0, 1)

    def view(self, array: np.ndarray) -> np.ndarray:
        """Shows the foreign array as [in, out]."""
        turned = super().view(array)
        if any(array.shape[axis] != 1 for axis in self.pixel):
            raise HubError(f"has the shape {array.shape}, but axes {self.pixel} must be 1")
        return turned[0, 0]

    def backward(self, array: np.ndarray) -> np.ndarray:
        """Gives the matrix its pixel back."""
        if array.ndim != 2:
            raise HubError(f"has the shape {array.shape}, but 2 axes are wanted")
        return super().backward(array[None, None])


TRANSFORMS: dict[str, Transform] = {
    "identity": Transform(None, ()),
    # torch keeps [out, in, rows, columns], we [rows, columns, in, out].
    "conv": Transform(4, (2, 3, 1, 0)),
    "depthwise": Transform(4, (2, 3, 1, 0), single=1),
    # torch keeps [out, in], we [in, out].
    "linear": Transform(2, (1, 0)),
    "vector": Transform(1, ()),
    "patches": PatchMatrix(),
    # TensorFlow keeps [rows, columns, in, out], as we do.
    "pointwise": Pointwise(),
    "pointwise_torch": Pointwise(axes=(2, 3, 1, 0), pixel=(2, 3)),
}
"""The changes of layout a table may name."""
