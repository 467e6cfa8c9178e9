"""Logistic regression on features, solved to its optimum: the convex reference for heads.

Shapes: n examples, d width, k classes.
"""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Scalar

from tlearn.params import FlatParams

# In the coordinates it is solved in, an objective is off its optimum by about half the squared
# gradient norm: these leave it within 1e-12 and within float32's own precision.
_TOLERANCE = {"float64": 1e-7, "float32": 1e-4}


@dataclasses.dataclass(frozen=True)
class LogisticFit:
    """A solved logistic regression.

    Attributes:
        kernel: [d k].
        bias: [k].
        objective: Mean cross-entropy + ½ l2 ‖kernel‖².
        gradient_norm: Norm of the objective's gradient in the preconditioned coordinates, relative
            to that of the zero head.
        iterations: Iterations of L-BFGS.
        converged: Whether the gradient norm fell to the tolerance; if not, this is no optimum.
    """

    kernel: np.ndarray
    bias: np.ndarray
    objective: float
    gradient_norm: float
    iterations: int
    converged: bool

    def logits(self, features: Any) -> np.ndarray:
        """Gives the logits [n k] of features [n d]."""
        return np.asarray(features, self.kernel.dtype) @ self.kernel + self.bias

    def params(self) -> FlatParams:
        """Gives the float32 parameters of a linear head (`tlearn.heads` `Linear`)."""
        kernel, bias = self.kernel.astype(np.float32), self.bias.astype(np.float32)
        return {"head/dense/bias": bias, "head/dense/kernel": kernel}


def logistic_regression(
    features: Any,
    labels: Any,
    classes: int,
    l2: float,
    *,
    dtype: Literal["float64", "float32"] = "float64",
    tolerance: float | None = None,
    iterations: int = 1000,
) -> LogisticFit:
    """Minimises mean cross-entropy + ½ l2 ‖kernel‖² by L-BFGS; the bias is not penalised.

    scikit-learn's ``LogisticRegression(C=1 / (n * l2))`` has the same optimum.

    Args:
        features: [n d].
        labels: [n] class numbers.
        classes: k.
        l2: Above 0: without it separable classes have no optimum.
        dtype: What it is solved in. float64 needs twice the memory, and an accelerator that has
            it; float32 stops at a looser tolerance.
        tolerance: Largest gradient norm, as in `LogisticFit`; by default 1e-7 (float64) or 1e-4
            (float32).
        iterations: Most iterations.

    Raises:
        ValueError: If the arguments do not fit each other.

    Reference:
        Liu & Nocedal 1989; with optax's zoom line search.
    """
    x, y = np.asarray(features), np.asarray(labels)
    if x.ndim != 2 or y.shape != x.shape[:1] or not x.size:
        raise ValueError(f"features {x.shape} and labels {y.shape} must be [n d] and [n]")
    if not np.issubdtype(y.dtype, np.integer) or y.min() < 0 or y.max() >= classes:
        raise ValueError(
            f"labels must be class numbers 0 to {classes - 1}, not {np.unique(y)[:20]}"
        )
    if not l2 > 0:
        raise ValueError(f"l2 is {l2}; it must be above 0, or the optimum may not exist")
    if dtype not in _TOLERANCE:
        raise ValueError(f"dtype is {dtype!r}; use float64 or float32")
    tolerance = _TOLERANCE[dtype] if tolerance is None else tolerance
    # The same optimum in better coordinates: features centred (the bias is free), and both kernel
    # and bias scaled by the inverse root of the Hessian of the zero head.
    mean = x.mean(axis=0, dtype=np.float64)
    centred = x - mean
    hessian = centred.T @ centred / (len(x) * classes) + l2 * np.eye(x.shape[1])
    scale = np.linalg.inv(np.linalg.cholesky(hessian)).T
    with jax.enable_x64(dtype == "float64"):
        numbers = [jnp.asarray(value, dtype) for value in (centred, scale, l2, tolerance)]
        solved = _solve(jnp.asarray(y, jnp.int32), *numbers, iterations, classes=classes)
        kernel, bias, value, norm, count = jax.device_get(solved)
    return LogisticFit(
        kernel=kernel,
        bias=(bias - mean @ kernel.astype(np.float64)).astype(dtype),
        objective=float(value),
        gradient_norm=float(norm),
        iterations=int(count),
        converged=bool(norm <= tolerance),
    )


@functools.partial(jax.jit, static_argnames="classes")
def _solve(
    y: Array,
    x: Array,
    scale: Array,
    l2: Scalar,
    tolerance: Scalar,
    iterations: Scalar | int,
    *,
    classes: int,
) -> tuple[Array, Array, Scalar, Scalar, Scalar]:
    def weights(v: Any) -> tuple[Array, Array]:
        kernel = jnp.matmul(scale, v["kernel"], precision="highest")
        return kernel, v["bias"] * classes**0.5

    def objective(v: Any) -> Array:
        kernel, bias = weights(v)
        logits = jnp.matmul(x, kernel, precision="highest") + bias[None]
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
        return jnp.mean(losses) + 0.5 * l2 * jnp.sum(kernel * kernel)

    solver = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(objective)

    def going(carry):
        _, _, norm, count = carry
        return (norm > tolerance) & (count < iterations)

    def iterate(carry):
        v, state, _, count = carry
        value, grad = value_and_grad(v, state=state)
        updates, state = solver.update(grad, state, v, value=value, grad=grad, value_fn=objective)
        norm = optax.tree.norm(optax.tree.get(state, "grad")) / first
        return optax.apply_updates(v, updates), state, norm, count + 1

    kernel = jnp.zeros((x.shape[1], classes), x.dtype)
    zero: Any = {"kernel": kernel, "bias": jnp.zeros(classes, x.dtype)}
    first = optax.tree.norm(jax.grad(objective)(zero))
    first = jnp.where(first > 0, first, 1.0)
    carry = (zero, solver.init(zero), jnp.ones((), x.dtype), jnp.int32(0))
    v, _, _, count = jax.lax.while_loop(going, iterate, carry)
    value, grad = jax.value_and_grad(objective)(v)
    return *weights(v), value, optax.tree.norm(grad) / first, count
