"""An LSTM over time: everything that need not wait for the recurrence is one product.

Features come first and rows last: ``kernel · states`` with a batch's few rows as the columns is a
product that CPUs run as fast as large ones, where ``states · kernel`` is a quarter slower. Shapes:
t time, b batch, e width in, u units, g the four gates of all units (4u), in the order input,
forget, cell, output, as in torch.

References: Hochreiter and Schmidhuber 1997; Gers et al. 2000 (forget gates).
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from tlearn.bodies.embeddings import places


class Carry(NamedTuple):
    """The state between two tokens: ``hidden`` and ``cell``, [b u] each, in float32."""

    hidden: Any
    cell: Any


class Flow(NamedTuple):
    """What happens to the state before and at each token, [t b] each.

    Attributes:
        real: Whether the token is one; padding passes the state on unchanged.
        begins: Whether an example begins: the state starts from nothing.
        cuts: Whether the gradient ends here, though the state goes on.
    """

    real: Any
    begins: Any
    cuts: Any


def no_carry(rows: int, units: int) -> Carry:
    """The state before anything was read."""
    return Carry(jnp.zeros((rows, units), jnp.float32), jnp.zeros((rows, units), jnp.float32))


def flow_of(segments: Int[Array, "b t"], bptt: int = 0) -> Flow:
    """Reads off the segment numbers what happens to the state.

    An example begins where the number differs from that of the real token before; a row's first
    real token goes on from the state it is given.

    Args:
        segments: Number of the example within the row, 0 for padding.
        bptt: The gradient of the state ends every so many tokens of an example; 0 for never.
    """
    real = segments > 0
    index = jnp.arange(segments.shape[1])[None]
    latest = lax.cummax(jnp.where(real, index, -1), axis=1)
    before = jnp.pad(latest, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    number = jnp.take_along_axis(segments, jnp.maximum(before, 0), axis=1)
    begins = real & (before >= 0) & (number != segments)
    cuts = jnp.zeros_like(real)
    if bptt:
        place = places(segments)
        cuts = real & (place > 0) & (place % bptt == 0)
    return Flow(real.T, begins.T, cuts.T)


@functools.partial(jax.custom_vjp, nondiff_argnums=(6,))
def lstm(
    x: Float[Array, "e t b"],
    kernel: Float[Array, "e g"],
    bias: Float[Array, " g"],
    recurrent: Float[Array, "u g"],
    start: Carry,
    flow: Flow,
    remat: bool = False,
) -> tuple[Float[Array, "u t b"], Carry]:
    """Runs over time; returns the hidden states and the state after the last token.

    The input's share of all gates is one product before the scan. In the backward pass the
    gradients of both kernels are one product each after the scan, where differentiating the scan
    would add up one of a token's at a time.

    Args:
        x: Inputs; products are computed in their dtype, states and gates in float32.
        kernel: From inputs to gates.
        bias: Of the gates.
        recurrent: From the hidden state to the gates.
        start: The state before the first token.
        flow: What happens to the state.
        remat: Keep states only and compute the gates again in the backward pass: two products more
            for less than half of the memory.
    """
    outputs, _, last, _ = _forward(x, kernel, bias, recurrent, start, flow, keep=False)
    return outputs, last


def _product(a: Array, b: Array, over: tuple[int, int]) -> Array:
    """Multiplies over one axis of each, summed in float32."""
    axes = (((over[0],), (over[1],)), ((), ()))
    return lax.dot_general(a, b, axes, preferred_element_type=jnp.float32)


def _flat(x: Array) -> Array:
    """Times and rows as one axis."""
    return x.reshape(len(x), -1)


def _driven(x: Array, kernel: Array) -> Array:
    """What the inputs add to the gates at all times: [g t b]."""
    rows = _product(kernel.astype(x.dtype), _flat(x), (0, 0))
    return rows.reshape(-1, *x.shape[1:])


def _activated(z: Array) -> Array:
    """The gates of their inputs, along the first axis: sigmoids, and tanh for the cell's."""
    quarter = len(z) // 4
    # A sigmoid is half a tanh: one function for all rows, none of them copied apart.
    cell = jnp.arange(len(z)) // quarter == 2
    half = jnp.where(cell, 1.0, 0.5).reshape(-1, *(1,) * (z.ndim - 1))
    return jnp.tanh(z * half) * half + (1.0 - half)


def _slope(gates: Array) -> Array:
    """The derivative of `_activated`, from its values."""
    quarter = len(gates) // 4
    cell = jnp.arange(len(gates)) // quarter == 2
    return (1.0 - gates) * (gates + jnp.where(cell, 1.0, 0.0)[:, None])


def _at(x: Array, time: Array) -> Array:
    return lax.dynamic_index_in_dim(x, time, axis=1, keepdims=False)


def _put(x: Array, part: Array, time: Array) -> Array:
    return lax.dynamic_update_index_in_dim(x, part.astype(x.dtype), time, axis=1)


def _forward(
    x: Array,
    kernel: Array,
    bias: Array,
    recurrent: Array,
    start: Carry,
    flow: Flow,
    *,
    keep: bool,
) -> tuple[Array, Array, Carry, Array | None]:
    """Outputs, cells, the last state, and the gates where they are to be kept."""
    dtype, (units, width) = x.dtype, recurrent.shape
    # Transposed once, not at every token.
    weights = recurrent.astype(dtype).T
    driven = _driven(x, kernel)
    empty = (
        jnp.zeros((units, *x.shape[1:]), dtype),
        jnp.zeros((units, *x.shape[1:]), jnp.float32),
        jnp.zeros((width, *x.shape[1:]), jnp.float32) if keep else None,
    )

    def step(state: Any, now: tuple[Array, Flow]) -> tuple[Any, None]:
        hidden, cell, (outputs, cells, kept) = state
        time, what = now
        begins, real = what.begins[None], what.real[None]
        hidden, cell = jnp.where(begins, 0.0, hidden), jnp.where(begins, 0.0, cell)
        z = _product(weights, hidden.astype(dtype), (1, 0)) + _at(driven, time)
        gates = _activated(z + bias[:, None])
        i, f, g, o = jnp.split(gates, 4)
        cell = jnp.where(real, f * cell + i * g, cell)
        hidden = jnp.where(real, o * jnp.tanh(cell), hidden)
        kept = None if kept is None else _put(kept, gates, time)
        return (hidden, cell, (_put(outputs, hidden, time), _put(cells, cell, time), kept)), None

    first = (start.hidden.T, start.cell.T, empty)
    times = jnp.arange(x.shape[1])
    (hidden, cell, (outputs, cells, gates)), _ = lax.scan(step, first, (times, flow))
    return outputs, cells, Carry(hidden.T, cell.T), gates


def _before(states: Array, first: Array, begins: Array) -> Array:
    """The state that each token found."""
    states = jnp.concatenate([first.T[:, None].astype(states.dtype), states[:, :-1]], 1)
    return jnp.where(begins[None], jnp.zeros((), states.dtype), states)


def _kept(
    x: Array,
    kernel: Array,
    bias: Array,
    recurrent: Array,
    start: Carry,
    flow: Flow,
    remat: bool,
) -> tuple[tuple[Array, Carry], Any]:
    outputs, cells, last, gates = _forward(x, kernel, bias, recurrent, start, flow, keep=not remat)
    return (outputs, last), (x, kernel, bias, recurrent, start, flow, outputs, cells, gates)


def _backward(remat: bool, kept: Any, given: tuple[Array, Carry]) -> tuple[Any, ...]:
    x, kernel, bias, recurrent, start, flow, outputs, cells, gates = kept
    d_outputs, d_last = given
    dtype, weights = x.dtype, recurrent.astype(x.dtype)
    hidden_before = _before(outputs, start.hidden, flow.begins)
    cell_before = _before(cells, start.cell, flow.begins)
    if remat:
        found = _product(weights, _flat(hidden_before), (0, 0))
        z = _driven(x, kernel) + found.reshape(-1, *x.shape[1:])
        gates = _activated(z + bias[:, None, None])

    def step(ahead: Any, now: tuple[Array, Array, Array]) -> tuple[Any, None]:
        d_hidden, d_cell, d_gates = ahead
        time, is_real, stop = now
        real, stop = is_real[None], stop[None]
        gate = _at(gates, time)
        i, f, g, o = jnp.split(gate, 4)
        d_hidden = d_hidden + _at(d_outputs, time).astype(jnp.float32)
        # Padding hands both on as they are.
        passed_hidden, passed_cell = (jnp.where(real, 0.0, d) for d in (d_hidden, d_cell))
        d_hidden, d_cell = (jnp.where(real, d, 0.0) for d in (d_hidden, d_cell))
        squashed = jnp.tanh(_at(cells, time))
        d_cell = d_cell + d_hidden * o * (1.0 - squashed * squashed)
        parts = [d_cell * g, d_cell * _at(cell_before, time), d_cell * i, d_hidden * squashed]
        d_gate = (jnp.concatenate(parts) * _slope(gate)).astype(dtype)
        d_hidden = _product(weights, d_gate, (1, 0)) + passed_hidden
        d_cell = d_cell * f + passed_cell
        d_hidden, d_cell = (jnp.where(stop, 0.0, d) for d in (d_hidden, d_cell))
        return (d_hidden, d_cell, _put(d_gates, d_gate, time)), None

    last = (d_last.hidden.T, d_last.cell.T, jnp.zeros(gates.shape, dtype))
    along = (jnp.arange(x.shape[1]), flow.real, flow.begins | flow.cuts)
    (d_hidden, d_cell, d_gates), _ = lax.scan(step, last, along, reverse=True)
    flat = _flat(d_gates)
    d_x = _product(kernel.astype(dtype), flat, (1, 0)).reshape(x.shape).astype(dtype)
    d_kernel = _product(_flat(x), flat, (1, 1))
    d_recurrent = _product(_flat(hidden_before), flat, (1, 1))
    d_bias = flat.astype(jnp.float32).sum(1)
    return d_x, d_kernel, d_bias, d_recurrent, Carry(d_hidden.T, d_cell.T), None


lstm.defvjp(_kept, _backward)
