"""A model is a body that carries over and a head that is new."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from tlearn.bodies.features import Features
from tlearn.params import FlatParams, flatten, unflatten
from tlearn.tracing import uncollected


class Model(nn.Module):
    """A body and a head; parameters are always ``{"body": ..., "head": ...}``.

    Attributes:
        body: A Linen module following the body contract (`tlearn.bodies`).
        head: A Linen module from `Features` to outputs (`tlearn.heads`).
    """

    body: nn.Module
    head: nn.Module

    reading: ClassVar[tuple[str, ...]] = ("places",)
    """What of a batch `both` takes as keywords, where it is there, beside the body's inputs."""

    def __call__(self, *inputs: Array, train: bool | frozenset[str] = False, **reading: Any) -> Any:
        """Computes the head's outputs.

        Args:
            *inputs: The body's inputs, in the order of ``body.inputs``.
            train: Names of the layers in training mode (``head`` is one); True for all.
            **reading: ``carry`` and ``places``, as `both` takes them.
        """
        return self.both(*inputs, train=train, **reading)[1]

    def features(self, *inputs: Array, train: bool | frozenset[str] = False) -> Features:
        """Computes the body's features alone."""
        return self.body(*inputs, train=train)

    def both(
        self,
        *inputs: Array,
        train: bool | frozenset[str] = False,
        carry: Any = None,
        places: Int[Array, "b m"] | None = None,
    ) -> tuple[Features, Any]:
        """Computes features and outputs in one pass.

        Args:
            *inputs: The body's inputs, in the order of ``body.inputs``.
            train: Names of the layers in training mode (``head`` is one); True for all.
            carry: What a recurrent body goes on from; None for a beginning.
            places: The only tokens of each row whose features the head reads: where few are
                predicted, a whole vocabulary is scored for those few.
        """
        state = {} if carry is None else {"carry": carry}
        features = self.body(*inputs, train=train, **state)
        read = features
        if places is not None:
            chosen = jnp.take_along_axis(features.sequence, places[..., None], axis=1)
            read = features.replace(sequence=chosen)
        return features, self.head(
            read, train=train if isinstance(train, bool) else "head" in train
        )

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers from input to output, the head last."""
        return (*self.body.layer_names, "head")


def variables(params: Mapping[str, Any], collections: Mapping[str, Any]) -> dict[str, Any]:
    """Builds what Linen's ``apply`` takes from flat parameters and flat BatchNorm statistics.

    Arrays of a source that still lie in their file are read here.
    """
    tree: dict[str, Any] = {"params": unflatten(_in_memory(params))}
    if collections:
        tree["batch_stats"] = unflatten(_in_memory(collections))
    return tree


def _in_memory(flat: Mapping[str, Any]) -> FlatParams:
    return {path: v.read() if hasattr(v, "read") else v for path, v in flat.items()}


def initialise(
    model: Model, key: Array, *inputs: jax.ShapeDtypeStruct | Array
) -> tuple[FlatParams, FlatParams]:
    """Draws all parameters and statistics of a model, as flat named arrays.

    Args:
        model: The model.
        key: A typed PRNG key.
        *inputs: Examples or shapes of the body's inputs; only their shapes matter.

    Returns:
        Parameters and statistics by path.
    """
    drawn = _draw(model, _described(inputs), key)
    return flatten(drawn["params"]), flatten(drawn.get("batch_stats", {}))


def _described(
    inputs: Sequence[jax.ShapeDtypeStruct | Array],
) -> tuple[tuple[tuple[int, ...], str], ...]:
    return tuple((x.shape, jnp.dtype(x.dtype).name) for x in inputs)


# At module level, so that a study's many seeds compile one program, and that shapes and weights are
# had from one trace.
@functools.partial(jax.jit, static_argnums=(0, 1))
def _draw(module: Any, inputs: tuple[tuple[tuple[int, ...], str], ...], key: Array) -> Any:
    zeros = [jnp.zeros(shape, dtype) for shape, dtype in inputs]
    return module.init(key, *zeros, train=False)


def shapes(module: nn.Module, *inputs: jax.ShapeDtypeStruct) -> tuple[FlatParams, FlatParams]:
    """Like `initialise`, of a model or a body alone, but only shapes: no memory, no compilation."""
    static: Any = module  # Linen modules are hashable, which their type does not say.
    with uncollected():
        drawn = jax.eval_shape(
            functools.partial(_draw, static, _described(inputs)), jax.random.key(0)
        )
    return flatten(drawn["params"]), flatten(drawn.get("batch_stats", {}))
