"""Blocks of one kind are traced once, however many of them a network has."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jax.core import Tracer


def traced_once(module: nn.Module, method: str, train: bool, *arrays: Any) -> Any:
    """Calls a module's method as a function of its parameters, traced once for all of its kind.

    Twelve equal blocks are twelve times the same trace, gradient and lowering. Here the first block
    is traced, and the others find what it left by their settings and the shapes of their arguments.
    The compiler puts the function in wherever it is called, so the same program runs.

    Args:
        module: The module, bound to its parameters.
        method: Name of a compact method, which draws no random numbers but those of a key that it
            is given, and changes nothing.
        train: Its first argument, which decides what is traced.
        *arrays: The others: arrays, trees of arrays, or None.
    """
    if module.is_initializing():
        # What is drawn depends on where in the network the module stands.
        return getattr(module, method)(train, *arrays)
    params = module.variables["params"]
    if not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((params, arrays))):
        # Outside of any trace there is none to save, and compiling takes longer than one call.
        return getattr(module, method)(train, *arrays)
    return _function(module.clone(parent=None, name=None), method, train)(params, arrays)


# Of many networks the newest are kept: what was traced lives as long as its function.
@functools.lru_cache(maxsize=64)
def _function(module: nn.Module, method: str, train: bool) -> Callable[[Any, Any], Any]:
    def call(params: Any, arrays: tuple[Any, ...]) -> Any:
        return module.apply({"params": params}, train, *arrays, method=method)

    return jax.jit(call)
