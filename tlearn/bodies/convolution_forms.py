"""Exact ways to compute a convolution and its two gradients; pure functions of arrays.

A form is three functions: `forward` (x, kernel) → y, `kernel_gradient` (x, dy) → dkernel and
`input_gradient` (dy, kernel) → dx. All forms agree to rounding; which is fastest depends on shapes
and on the compiler (`tlearn.bodies.convolution_rules`).

    builtin    XLA's convolution and the transposes JAX derives from it
    canonical  the same, but every gradient spelled as a convolution in the plain layout: XLA on a
               CPU has a fast path for that layout alone, and in loops it rewrites nothing into it
    patches    copy the window of every output into a row, then one matrix product
    taps       one product per kernel position, or one multiply-add when channels do not mix

Shapes: b batch, h w pixels in, p q pixels out, c channels in, o channels out, r s kernel.
"""

import dataclasses
import itertools
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

Pairs = tuple[tuple[int, int], tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Everything about a convolution but its numbers.

    Attributes:
        strides: Steps between outputs.
        pads: Zeros around the input: ``((top, bottom), (left, right))``.
        groups: Channel groups convolved apart.
        size: Rows and columns of the input.
        kernel: Rows and columns of the kernel.
    """

    strides: tuple[int, int]
    pads: Pairs
    groups: int
    size: tuple[int, int]
    kernel: tuple[int, int]

    @property
    def out(self) -> tuple[int, int]:
        """Rows and columns of the output."""
        rows, columns = (
            (n + sum(pad) - k) // s + 1
            for n, pad, k, s in zip(self.size, self.pads, self.kernel, self.strides, strict=True)
        )
        return rows, columns

    @property
    def positions(self) -> list[tuple[int, int]]:
        """Kernel positions in row order."""
        return list(itertools.product(range(self.kernel[0]), range(self.kernel[1])))


@runtime_checkable
class Form(Protocol):
    """One way to compute a convolution and its gradients."""

    @staticmethod
    def forward(
        x: Float[Array, "b h w c"], kernel: Float[Array, "r s cg o"], geometry: Geometry
    ) -> Float[Array, "b p q o"]:
        """Convolves."""
        ...

    @staticmethod
    def kernel_gradient(
        x: Float[Array, "b h w c"], dy: Float[Array, "b p q o"], geometry: Geometry
    ) -> Float[Array, "r s cg o"]:
        """Transposes `forward` in its kernel."""
        ...

    @staticmethod
    def input_gradient(
        dy: Float[Array, "b p q o"], kernel: Float[Array, "r s cg o"], geometry: Geometry
    ) -> Float[Array, "b h w c"]:
        """Transposes `forward` in its input."""
        ...


def _convolve(
    x: Array,
    kernel: Array,
    strides: tuple[int, int],
    pads: Pairs,
    groups: int = 1,
    input_dilation: tuple[int, int] = (1, 1),
    kernel_dilation: tuple[int, int] = (1, 1),
) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        pads,
        lhs_dilation=input_dilation,
        rhs_dilation=kernel_dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


class Builtin:
    """XLA's convolution and the transposes JAX derives from it."""

    @staticmethod
    def forward(x: Array, kernel: Array, geometry: Geometry) -> Array:
        """Convolves."""
        return _convolve(x, kernel, geometry.strides, geometry.pads, geometry.groups)

    @staticmethod
    def kernel_gradient(x: Array, dy: Array, geometry: Geometry) -> Array:
        """Transposes the convolution in its kernel."""
        shape = (*geometry.kernel, x.shape[-1] // geometry.groups, dy.shape[-1])
        kernel = jax.ShapeDtypeStruct(shape, x.dtype)
        return jax.linear_transpose(lambda k: Builtin.forward(x, k, geometry), kernel)(dy)[0]

    @staticmethod
    def input_gradient(dy: Array, kernel: Array, geometry: Geometry) -> Array:
        """Transposes the convolution in its input."""
        shape = (dy.shape[0], *geometry.size, kernel.shape[2] * geometry.groups)
        x = jax.ShapeDtypeStruct(shape, dy.dtype)
        return jax.linear_transpose(lambda x: Builtin.forward(x, kernel, geometry), x)(dy)[0]


class Canonical:
    """Gradients as convolutions in the plain layout. Ungrouped only."""

    @staticmethod
    def forward(x: Array, kernel: Array, geometry: Geometry) -> Array:
        """Convolves."""
        return Builtin.forward(x, kernel, geometry)

    @staticmethod
    def kernel_gradient(x: Array, dy: Array, geometry: Geometry) -> Array:
        """Convolves the input with the output's gradient, batch and channels trading places."""
        (top, left), ends = (geometry.pads[0][0], geometry.pads[1][0]), []
        for axis in (0, 1):
            reach = (geometry.out[axis] - 1) * geometry.strides[axis] + geometry.kernel[axis]
            # Negative where the last rows of the input reach no output.
            ends.append(reach - geometry.size[axis] - geometry.pads[axis][0])
        dkernel = _convolve(
            x.transpose(3, 1, 2, 0),
            dy.transpose(1, 2, 0, 3),
            (1, 1),
            ((top, ends[0]), (left, ends[1])),
            kernel_dilation=geometry.strides,
        )
        return dkernel.transpose(1, 2, 0, 3)

    @staticmethod
    def input_gradient(dy: Array, kernel: Array, geometry: Geometry) -> Array:
        """Convolves the output's gradient, spread by the strides, with the turned kernel."""
        pads = []
        for axis in (0, 1):
            start = geometry.kernel[axis] - 1 - geometry.pads[axis][0]
            spread = (geometry.out[axis] - 1) * geometry.strides[axis] + 1
            pads.append((start, geometry.size[axis] + geometry.kernel[axis] - 1 - start - spread))
        turned = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
        return _convolve(dy, turned, (1, 1), (pads[0], pads[1]), input_dilation=geometry.strides)


def _windows(x: Array, geometry: Geometry) -> list[Array]:
    """Cuts out, per kernel position, the inputs that it meets: arrays [b p q c]."""
    padded = jnp.pad(x, ((0, 0), *geometry.pads, (0, 0)))
    (p, q), (down, right) = geometry.out, geometry.strides
    b, c = x.shape[0], x.shape[3]
    return [
        lax.slice(
            padded,
            (0, i, j, 0),
            (b, i + (p - 1) * down + 1, j + (q - 1) * right + 1, c),
            (1, down, right, 1),
        )
        for i, j in geometry.positions
    ]


def _unwindow(parts: list[Array], geometry: Geometry) -> Array:
    """Adds every part back to where `_windows` cut it out; its exact transpose."""
    total = None
    for (i, j), part in zip(geometry.positions, parts, strict=True):
        pads = []
        for axis, start in ((0, i), (1, j)):
            spread = (geometry.out[axis] - 1) * geometry.strides[axis] + 1
            low = start - geometry.pads[axis][0]
            pads.append((low, geometry.size[axis] - low - spread, geometry.strides[axis] - 1))
        # Negative pads crop what fell on the border.
        placed = lax.pad(part, jnp.zeros((), part.dtype), ((0, 0, 0), *pads, (0, 0, 0)))
        total = placed if total is None else total + placed
    if total is None:
        raise ValueError("a kernel has at least one position")
    return total


def _over_rows(a: Array, b: Array) -> Array:
    """Contracts the first axis of two matrices."""
    return lax.dot_general(a, b, (((0,), (0,)), ((), ())))


class Patches:
    """Windows copied into rows, then one matrix product. Ungrouped only."""

    @staticmethod
    def forward(x: Array, kernel: Array, geometry: Geometry) -> Array:
        """Multiplies patches by the kernel."""
        rows = jnp.concatenate(_windows(x, geometry), -1)
        o = kernel.shape[-1]
        y = rows.reshape(-1, rows.shape[-1]) @ kernel.reshape(-1, o)
        return y.reshape(x.shape[0], *geometry.out, o)

    @staticmethod
    def kernel_gradient(x: Array, dy: Array, geometry: Geometry) -> Array:
        """Multiplies patches by the output's gradient."""
        rows = jnp.concatenate(_windows(x, geometry), -1)
        c, o = x.shape[-1], dy.shape[-1]
        dkernel = _over_rows(rows.reshape(-1, rows.shape[-1]), dy.reshape(-1, o))
        return dkernel.reshape(*geometry.kernel, c, o)

    @staticmethod
    def input_gradient(dy: Array, kernel: Array, geometry: Geometry) -> Array:
        """Multiplies the output's gradient by the kernel and adds the patches up."""
        c, o = kernel.shape[2:]
        rows = dy.reshape(-1, o) @ kernel.reshape(-1, o).T
        rows = rows.reshape(dy.shape[0], *geometry.out, -1)
        parts = [rows[..., n * c : (n + 1) * c] for n in range(len(geometry.positions))]
        return _unwindow(parts, geometry)


class Taps:
    """One product per kernel position. Ungrouped only."""

    @staticmethod
    def forward(x: Array, kernel: Array, geometry: Geometry) -> Array:
        """Sums the products of shifted inputs and kernel positions."""
        c, o = kernel.shape[2:]
        y = jnp.zeros((), x.dtype)
        for (i, j), window in zip(geometry.positions, _windows(x, geometry), strict=True):
            y = y + window.reshape(-1, c) @ kernel[i, j]
        return y.reshape(x.shape[0], *geometry.out, o)

    @staticmethod
    def kernel_gradient(x: Array, dy: Array, geometry: Geometry) -> Array:
        """Multiplies every shifted input by the output's gradient."""
        c, o = x.shape[-1], dy.shape[-1]
        flat = dy.reshape(-1, o)
        positions = [_over_rows(w.reshape(-1, c), flat) for w in _windows(x, geometry)]
        return jnp.stack(positions).reshape(*geometry.kernel, c, o)

    @staticmethod
    def input_gradient(dy: Array, kernel: Array, geometry: Geometry) -> Array:
        """Multiplies by every kernel position and adds where it came from."""
        c, o = kernel.shape[2:]
        flat = dy.reshape(-1, o)
        parts = [(flat @ kernel[i, j].T).reshape(*dy.shape[:3], c) for i, j in geometry.positions]
        return _unwindow(parts, geometry)


class Depthwise:
    """One multiply-add per kernel position, channel by channel: groups = c = o only."""

    @staticmethod
    def forward(x: Array, kernel: Array, geometry: Geometry) -> Array:
        """Sums shifted inputs scaled by kernel positions."""
        y = jnp.zeros((), x.dtype)
        for (i, j), window in zip(geometry.positions, _phases(x, geometry), strict=True):
            y = y + window * kernel[i, j].reshape(1, 1, 1, -1)
        return y

    @staticmethod
    def kernel_gradient(x: Array, dy: Array, geometry: Geometry) -> Array:
        """Sums, in one pass over the data, the products with every shifted input."""
        products = tuple(window * dy for window in _phases(x, geometry))
        zeros = tuple(jnp.zeros((), x.dtype) for _ in products)
        sums = lax.reduce(products, zeros, _add_each, (0, 1, 2))
        return jnp.stack(sums).reshape(*geometry.kernel, 1, dy.shape[-1])

    @staticmethod
    def input_gradient(dy: Array, kernel: Array, geometry: Geometry) -> Array:
        """Adds the scaled gradients where they came from."""
        return _unwindow(
            [dy * kernel[i, j].reshape(1, 1, 1, -1) for i, j in geometry.positions], geometry
        )


def _add_each(left: tuple[Array, ...], right: tuple[Array, ...]) -> tuple[Array, ...]:
    return tuple(a + b for a, b in zip(left, right, strict=True))


def _phases(x: Array, geometry: Geometry) -> list[Array]:
    """Cuts out the same arrays as `_windows`, from a copy in which every slice is contiguous."""
    (down, right), (p, q) = geometry.strides, geometry.out
    b, c = x.shape[0], x.shape[3]
    pads = []
    for axis in (0, 1):
        low, high = geometry.pads[axis]
        stride = geometry.strides[axis]
        pads.append((low, high + -(geometry.size[axis] + low + high) % stride))
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    rows, columns = padded.shape[1] // down, padded.shape[2] // right
    split = padded.reshape(b, rows, down, columns, right, c).transpose(2, 4, 0, 1, 3, 5)
    # Without the barrier XLA fuses the padding into every tap and tests the border per pixel.
    split = lax.optimization_barrier(split)
    return [
        split[i % down, j % right][:, i // down : i // down + p, j // right : j // right + q]
        for i, j in geometry.positions
    ]


FORMS: dict[str, type[Form]] = {
    "builtin": Builtin,
    "canonical": Canonical,
    "patches": Patches,
    "taps": Taps,
}
"""Forms by name; for depthwise convolutions ``taps`` means `Depthwise`."""
