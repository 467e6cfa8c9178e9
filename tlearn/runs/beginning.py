"""The state a run begins with: weights are handed over to it, not copied."""

from collections.abc import Callable
from typing import Any

import jax

from tlearn.params import FlatParams
from tlearn.runs.initial import Initial
from tlearn.train.state import State


class Start:
    """Makes the state of a run at step 0, out of weights that are nobody else's from then on.

    Asked for another, it reads and draws the weights again: kept for that, they would lie in memory
    a second time as long as the run goes on.
    """

    def __init__(
        self,
        make: Callable[[FlatParams, FlatParams], State],
        begun: Initial,
        again: Callable[[], Initial],
    ):
        """Holds on to the weights until somebody asks for a state.

        Args:
            make: Makes a state of parameters and statistics, which it may take as they are.
            begun: What the run begins with; nobody else may keep its arrays.
            again: Reads and draws the same once more; must not hold weights itself.
        """
        self._make, self._again = make, again
        self._begun: Initial | None = begun
        self._digests = _digests(begun)
        self._shapes = tuple(map(_shaped, (begun.params, begun.collections)))

    def __call__(self) -> State:
        """Makes the state.

        Raises:
            ValueError: If the source is not what it was when it was first read.
        """
        begun, self._begun = self._begun, None
        if begun is None:
            begun = self._again()
            if _digests(begun) != self._digests:
                raise ValueError(
                    "the source changed since the run was built: the digests of what is loaded are "
                    f"{_digests(begun)}, and were {self._digests}; build the run again"
                )
        return self._make(begun.params, begun.collections)

    def shapes(self) -> State:
        """The state's shapes; its weights stay where they are."""
        return jax.eval_shape(self._make, *self._shapes)

    def forget(self) -> None:
        """Lets go of the weights, where a saved state takes their place."""
        self._begun = None


def _digests(begun: Initial) -> dict[str, str]:
    return {} if begun.report is None else dict(begun.report.digests)


def _shaped(flat: FlatParams) -> dict[str, Any]:
    return {p: jax.ShapeDtypeStruct(value.shape, value.dtype) for p, value in flat.items()}
