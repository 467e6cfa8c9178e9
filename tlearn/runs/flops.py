"""How many floating-point operations a function takes, before anything is compiled."""

from typing import Any

import jax
from jax.extend import core

_CALLS = (core.Jaxpr, core.ClosedJaxpr)


def count_flops(function: Any, *shapes: Any) -> float:
    """Counts by XLA's own analysis of the traced function, and every turn of its scans.

    XLA counts the inside of a loop once, however often it turns. `lax.scan` says how often, so
    what is inside is counted by itself and multiplied.

    Args:
        function: What is counted; traced, not compiled.
        *shapes: Its arguments, or their shapes.
    """
    traced = jax.jit(function).trace(*shapes)
    return _analysed(traced.lower()) + _turns(traced.jaxpr)


def _turns(jaxpr: Any) -> float:
    """What the scans in a function take beyond what XLA counts."""
    more = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name != "scan":
            more += sum(map(_turns, _inside(equation.params)))
            continue
        body, length = equation.params["jaxpr"], equation.params["length"]
        unroll = min(equation.params["unroll"], length)
        counted = length if unroll == length else unroll + length % unroll
        once = jax.jit(core.jaxpr_as_fun(body)).lower(*map(_shape, body.in_avals))
        more += (length - counted) * _analysed(once) + length * _turns(body.jaxpr)
    return more


def _inside(params: dict[str, Any]) -> list[Any]:
    """The functions that an operation calls."""
    found = []
    for value in params.values():
        for one in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(one, _CALLS):
                found.append(one.jaxpr if isinstance(one, core.ClosedJaxpr) else one)
    return found


def _shape(aval: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype)


def _analysed(lowered: Any) -> float:
    return float((lowered.cost_analysis() or {}).get("flops", float("nan")))
