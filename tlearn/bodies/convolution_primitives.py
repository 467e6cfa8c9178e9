"""The convolution as three JAX primitives that are each other's transposes.

A convolution is linear in its input and in its kernel, and so are its two gradients: the transposes
of each are the other two. Written as primitives they differentiate to any order, forwards and
backwards, keep their form under `vmap`, `scan` and `remat`, and choose how to be computed when they
are compiled, by the platform they are compiled for.

Every operand has a leading axis of runs with kernels of their own (n); a plain convolution is one
run.

Shapes: n runs, b batch, h w pixels in, p q pixels out, c channels in, o channels out, r s kernel.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.core import ShapedArray
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from tlearn.bodies.convolution_forms import Builtin, Geometry
from tlearn.bodies.convolution_rules import choose

forward_p = Primitive("tlearn_convolution")
kernel_gradient_p = Primitive("tlearn_convolution_kernel_gradient")
input_gradient_p = Primitive("tlearn_convolution_input_gradient")


def _shape(operation: str, a: Any, b: Any, geometry: Geometry) -> tuple[Any, ...]:
    if operation == "forward":
        return (*a.shape[:2], *geometry.out, b.shape[-1])
    if operation == "kernel_gradient":
        return (a.shape[0], *geometry.kernel, a.shape[-1] // geometry.groups, b.shape[-1])
    return (*a.shape[:2], *geometry.size, b.shape[3] * geometry.groups)


def _widths(operation: str, a: Any, b: Any, geometry: Geometry) -> tuple[int, int]:
    """Channels in and channels out, from the operands of an operation."""
    if operation == "input_gradient":
        return b.shape[3] * geometry.groups, b.shape[-1]
    return a.shape[-1], b.shape[-1]


def _compute(operation: str, cpu: bool, a: Array, b: Array, *, geometry: Geometry, form: str):
    """Computes an operation in the form chosen for the platform."""
    widths = _widths(operation, a, b, geometry)
    cls = choose(operation, form, geometry, *widths, cpu=cpu)
    function = functools.partial(getattr(cls, operation), geometry=geometry)
    dtype = a.dtype
    if cpu and dtype in (jnp.bfloat16, jnp.float16):
        # CPUs have no fast half precision, and sums must not be kept in it.
        a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    if a.shape[0] == 1:
        # XLA's own gradients need what it does at the top level only: never apart.
        apart = cpu and cls is not Builtin and operation != "input_gradient"
        apart = apart and geometry.kernel != (1, 1)
        y = (_apart(function) if apart else function)(a[0], b[0])[None]
    elif cpu:
        # One run after another: XLA turns a vmapped convolution into a grouped one, its slowest.
        y = lax.map(lambda pair: function(*pair), (a, b))
    else:
        y = jax.vmap(function)(a, b)
    return y.astype(dtype)


def _apart(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """Compiles a function as a call of its own.

    An operand is often the end of a chain of cheap steps (normalise, add, clip, block after block).
    XLA on a CPU would fuse the whole chain once more into the first copy made here, and compute it
    in that copy's slow order, instead of reading the array that it has: a third of a step.
    """

    def call(a: Array, b: Array) -> Array:
        with set_xla_metadata(inlineable="false"):
            return jax.jit(function)(a, b)

    return call


def _define(primitive: Primitive, operation: str) -> None:
    @primitive.def_abstract_eval
    def _(a, b, *, geometry, form):
        return ShapedArray(_shape(operation, a, b, geometry), a.dtype)

    @functools.cache
    def compiled(geometry, form):
        return jax.jit(functools.partial(primitive.bind, geometry=geometry, form=form))

    @primitive.def_impl
    def _(a, b, *, geometry, form):
        return compiled(geometry, form)(a, b)

    for platform in (None, "cpu"):
        compute = functools.partial(_compute, operation, platform == "cpu")
        lowering = mlir.lower_fun(compute, multiple_results=False)
        mlir.register_lowering(primitive, lowering, platform=platform)


for _primitive, _operation in (
    (forward_p, "forward"),
    (kernel_gradient_p, "kernel_gradient"),
    (input_gradient_p, "input_gradient"),
):
    _define(_primitive, _operation)

ad.defbilinear(
    forward_p,
    lambda ct, x, kernel, **how: input_gradient_p.bind(ct, kernel, **how),
    lambda ct, x, kernel, **how: kernel_gradient_p.bind(x, ct, **how),
)
ad.defbilinear(
    kernel_gradient_p,
    lambda ct, x, dy, **how: input_gradient_p.bind(dy, ct, **how),
    lambda ct, x, dy, **how: forward_p.bind(x, ct, **how),
)
ad.defbilinear(
    input_gradient_p,
    lambda ct, dy, kernel, **how: forward_p.bind(ct, kernel, **how),
    lambda ct, dy, kernel, **how: kernel_gradient_p.bind(ct, dy, **how),
)


# Under vmap an operand that all runs share lets their work be one larger convolution: pictures are
# stacked in the batch, kernels side by side in the output channels. Otherwise they stay runs.


def _stack(x: Array, axis: int) -> Array:
    """Moves the leading axis in front of ``axis`` and joins the two."""
    moved = jnp.moveaxis(x, 0, axis - 1)
    return moved.reshape(*moved.shape[: axis - 1], -1, *moved.shape[axis + 1 :])


def _unstack(y: Array, axis: int, size: int) -> Array:
    """Undoes `_stack` on an array without its leading axis."""
    split = y.reshape(*y.shape[:axis], size, -1, *y.shape[axis + 1 :])
    return jnp.moveaxis(split, axis, 0)


def _batch_rule(
    primitive: Primitive, joint: Callable[[bool, bool, Geometry], tuple[Any, ...] | None]
) -> None:
    def rule(operands: Sequence[Array], axes: Sequence[Any], *, geometry: Geometry, form: str):
        a, b = operands
        on_a, on_b = (axis is not None for axis in axes)
        size = a.shape[axes[0]] if on_a else b.shape[axes[1]]
        a = jnp.moveaxis(a, axes[0], 0) if on_a else a
        b = jnp.moveaxis(b, axes[1], 0) if on_b else b
        how = {"geometry": geometry, "form": form}
        where = joint(on_a, on_b, geometry)
        if where is not None:
            a_axis, b_axis, y_axis = where
            a = a if a_axis is None else _stack(a, a_axis + 1)
            b = b if b_axis is None else _stack(b, b_axis + 1)
            return _unstack(primitive.bind(a, b, **how), y_axis, size), 0
        a = a if on_a else jnp.broadcast_to(a, (size, *a.shape))
        b = b if on_b else jnp.broadcast_to(b, (size, *b.shape))
        y = primitive.bind(_stack(a, 1), _stack(b, 1), **how)
        return y.reshape(size, -1, *y.shape[1:]), 0

    batching.primitive_batchers[primitive] = rule


def _joint_forward(on_x: bool, on_kernel: bool, geometry: Geometry) -> tuple[Any, ...] | None:
    if not on_kernel:
        return (1, None, 1)
    return (None, 4, 4) if not on_x and geometry.groups == 1 else None


def _joint_kernel_gradient(on_x: bool, on_dy: bool, geometry: Geometry) -> tuple[Any, ...] | None:
    return (None, 4, 4) if not on_x and geometry.groups == 1 else None


def _joint_input_gradient(on_dy: bool, on_kernel: bool, geometry: Geometry) -> Any:
    return (1, None, 1) if not on_kernel else None


_batch_rule(forward_p, _joint_forward)
_batch_rule(kernel_gradient_p, _joint_kernel_gradient)
_batch_rule(input_gradient_p, _joint_input_gradient)
