"""An LSTM over time: everything that need not wait for the recurrence is one product.

Time comes first, as the scan reads it. Shapes: t time, b batch, e width in, u units, g the four
gates of all units (4u), in the order input, forget, cell, output, as in torch.

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
    x: Float[Array, "t b e"],
    kernel: Float[Array, "e g"],
    bias: Float[Array, " g"],
    recurrent: Float[Array, "u g"],
    start: Carry,
    flow: Flow,
    remat: bool = False,
) -> tuple[Float[Array, "t b u"], Carry]:
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


def _matmul(a: Array, b: Array, dims: tuple[int, int]) -> Array:
    """A product over one axis of each, summed in float32."""
    return lax.dot_general(
        a, b, (((dims[0],), (dims[1],)), ((), ())), preferred_element_type=jnp.float32
    )


def _driven(x: Array, kernel: Array, bias: Array) -> Array:
    rows = _matmul(x.reshape(-1, x.shape[-1]), kernel.astype(x.dtype), (1, 0))
    return (rows + bias[None].astype(jnp.float32)).reshape(*x.shape[:2], -1)


def _activated(z: Array) -> tuple[Array, Array, Array, Array]:
    """The gates from their inputs: i, f, g, o."""
    i, f, g, o = jnp.split(z, 4, axis=-1)
    return jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)


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
    dtype = x.dtype
    weights = recurrent.astype(dtype)

    def step(state: Carry, given: tuple[Array, Flow]) -> tuple[Carry, Any]:
        drive, now = given
        begins, real = now.begins[:, None], now.real[:, None]
        hidden, cell = (jnp.where(begins, 0.0, part) for part in state)
        i, f, g, o = _activated(drive + _matmul(hidden.astype(dtype), weights, (1, 0)))
        cell = jnp.where(real, f * cell + i * g, cell)
        hidden = jnp.where(real, o * jnp.tanh(cell), hidden)
        gates = jnp.concatenate([i, f, g, o], -1) if keep else None
        return Carry(hidden, cell), (hidden.astype(dtype), cell, gates)

    last, (outputs, cells, gates) = lax.scan(step, start, (_driven(x, kernel, bias), flow))
    return outputs, cells, last, gates


def _before(states: Array, first: Array, begins: Array) -> Array:
    """The state that each token found."""
    states = jnp.concatenate([first[None].astype(states.dtype), states[:-1]])
    return jnp.where(begins[:, :, None], jnp.zeros((), states.dtype), states)


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
    dtype = x.dtype
    times, rows, units = outputs.shape
    hidden_before = _before(outputs, start.hidden, flow.begins)
    cell_before = _before(cells, start.cell, flow.begins)
    if remat:
        found = _matmul(hidden_before.reshape(-1, units), recurrent.astype(dtype), (1, 0))
        z = _driven(x, kernel, bias) + found.reshape(times, rows, -1)
        gates = jnp.concatenate(_activated(z), -1)
    weights = recurrent.astype(dtype)
    stops = flow.begins | flow.cuts

    def step(ahead: Carry, at: Any) -> tuple[Carry, Array]:
        d_output, gate, cell, found, is_real, stop = at
        real, stop = is_real[:, None], stop[:, None]
        i, f, g, o = jnp.split(gate, 4, axis=-1)
        d_hidden = ahead.hidden + d_output.astype(jnp.float32)
        # Padding hands both on as they are.
        passed = Carry(jnp.where(real, 0.0, d_hidden), jnp.where(real, 0.0, ahead.cell))
        d_hidden, d_cell = jnp.where(real, d_hidden, 0.0), jnp.where(real, ahead.cell, 0.0)
        squashed = jnp.tanh(cell)
        d_cell = d_cell + d_hidden * o * (1 - squashed * squashed)
        parts = (
            d_cell * g * i * (1 - i),
            d_cell * found * f * (1 - f),
            d_cell * i * (1 - g * g),
            d_hidden * squashed * o * (1 - o),
        )
        d_gates = jnp.concatenate(parts, -1).astype(dtype)
        d_before = _matmul(d_gates, weights, (1, 1)) + passed.hidden
        d_cell_before = d_cell * f + passed.cell
        behind = Carry(jnp.where(stop, 0.0, d_before), jnp.where(stop, 0.0, d_cell_before))
        return behind, d_gates

    along = (d_outputs, gates, cells, cell_before, flow.real, stops)
    d_start, d_gates = lax.scan(step, d_last, along, reverse=True)
    flat = d_gates.reshape(times * rows, -1)
    d_x = _matmul(flat, kernel.astype(dtype), (1, 1)).reshape(x.shape).astype(dtype)
    d_kernel = _matmul(x.reshape(times * rows, -1), flat, (0, 0))
    d_recurrent = _matmul(hidden_before.reshape(times * rows, units), flat, (0, 0))
    d_bias = flat.astype(jnp.float32).sum(0)
    return d_x, d_kernel, d_bias, d_recurrent, d_start, None


lstm.defvjp(_kept, _backward)
