"""Every form of a convolution on the shapes tlearn meets, beside torch where it is installed.

Per shape and operation (forward, kernel gradient, input gradient): median milliseconds of each
form, of CPU time on one thread (others on the machine disturb it least), by the wall on more; and
how many times longer XLA's built-in form and torch took. Then both gradients inside a loop and with
a kernel per run under vmap, where the built-in ones are at their worst.

Tried as well and left out (one core, CPU time, 2026-11):
- several columns of outputs side by side as channels: 1.4 times faster for 16 channels and 2 times
  for 8, but with a third to all of the operations more, and a step has to cost what it counts;
- one row of kernel positions at a time, alone or in blocks of columns: 1.5 to 5 times slower;
- the whole map as one matrix (Toeplitz): 4 to 15 times slower above 4x4, even at 2x2;
- depthwise kernel gradients as sums over pictures, as rows of sums, as products with ones: 2 to 6
  times slower than one pass with as many sums as kernel positions;
- transposes in pieces or in two steps for the kernel gradient: no faster. What did matter was where
  they are compiled: fused with what precedes them they took up to 30 % of a training step.

    python experiments/bench/convolution.py [--threads 2] [--json PATH] [--only mobilenet]
"""

import argparse
import functools
from pathlib import Path
from typing import Any

from side_by_side import alternate, median_ms, ratio, settle, write

FORMS = ("auto", "builtin", "canonical", "patches", "taps")
# name: batch, size, channels, features, stride, kernel, groups
SHAPES = {
    "digits 8x8x16": (50, 8, 16, 16, 1, 3, 1),
    "digits 2x2x64": (50, 2, 64, 64, 1, 3, 1),
    "cifar stem": (32, 32, 3, 16, 1, 3, 1),
    "cifar 32x32x16": (32, 32, 16, 16, 1, 3, 1),
    "cifar 16x16x32 down": (32, 32, 16, 32, 2, 3, 1),
    "cifar 8x8x64": (32, 8, 64, 64, 1, 3, 1),
    "imagenet 14x14x256": (4, 14, 256, 256, 1, 3, 1),
    "mobilenet expand": (4, 56, 24, 144, 1, 1, 1),
    "mobilenet depthwise": (4, 56, 144, 144, 1, 3, 144),
    "mobilenet depthwise down": (4, 56, 144, 144, 2, 3, 144),
}
IN_A_LOOP = ("digits 8x8x16", "digits 2x2x64")
RUNS = 4


def operations(shape: tuple[int, ...], form: str) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """The three operations as jitted functions with their operands."""
    import jax

    from tlearn.bodies import conv2d

    batch, size, channels, features, stride, area, groups = shape
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (batch, size, size, channels))
    kernel = jax.random.normal(keys[1], (area, area, channels // groups, features))
    convolve = functools.partial(conv2d, strides=stride, groups=groups, form=form)
    dy = jax.random.normal(keys[2], jax.eval_shape(convolve, x, kernel).shape)

    def kernel_gradient(x, kernel, dy):
        return jax.vjp(lambda k: convolve(x, k), kernel)[1](dy)[0]

    def input_gradient(x, kernel, dy):
        return jax.vjp(lambda x: convolve(x, kernel), x)[1](dy)[0]

    return {
        "forward": (jax.jit(convolve), (x, kernel)),
        "kernel gradient": (jax.jit(kernel_gradient), (x, kernel, dy)),
        "input gradient": (jax.jit(input_gradient), (x, kernel, dy)),
    }


def peers(shape: tuple[int, ...], threads: int) -> dict[str, Any]:
    """The same operations in torch, or nothing if it is not installed."""
    try:
        import torch  # noqa: TID251 - the peer
    except ImportError:
        return {}
    torch.set_num_threads(threads)
    batch, size, channels, features, stride, area, groups = shape
    x = torch.randn(batch, channels, size, size)
    kernel = torch.randn(features, channels // groups, area, area)
    how: dict[str, Any] = {"stride": stride, "padding": area // 2, "groups": groups}
    dy = torch.randn_like(torch.nn.functional.conv2d(x, kernel, **how))
    from torch.nn import grad  # noqa: TID251 - the peer

    return {
        "forward": lambda: torch.nn.functional.conv2d(x, kernel, **how),
        "kernel gradient": lambda: grad.conv2d_weight(x, kernel.shape, dy, **how),
        "input gradient": lambda: grad.conv2d_input(x.shape, kernel, dy, **how),
    }


def apart(name: str, threads: int, repeats: int) -> list[dict[str, Any]]:
    """One row per operation of a shape."""
    import jax
    import numpy as np

    shape, clock = SHAPES[name], "cpu" if threads == 1 else "wall"
    grouped = shape[-1] > 1
    forms = [f for f in FORMS if not (grouped and f in ("canonical", "patches"))]
    compiled = {form: operations(shape, form) for form in forms}
    others = peers(shape, threads)
    rows = []
    for operation in ("forward", "kernel gradient", "input gradient"):
        sides, outputs = {}, {}
        for form in forms:
            function, operands = compiled[form][operation]
            outputs[form] = np.asarray(function(*operands))
            sides[form] = lambda f=function, a=operands: jax.block_until_ready(f(*a))
        if others:
            sides["torch"] = others[operation]
        times = alternate(sides, repeats)
        scale = np.abs(outputs["builtin"]).max()
        errors = [np.abs(y - outputs["builtin"]).max() / scale for y in outputs.values()]
        rows.append(
            {
                "shape": name,
                "clock": clock,
                "sizes": shape,
                "operation": operation,
                "ms": {side: median_ms(t) for side, t in times.items()},
                "cpu_ms": {side: median_ms(t, "cpu") for side, t in times.items()},
                "builtin_over_auto": ratio(times["builtin"], times["auto"], clock),
                "torch_over_auto": ratio(times["torch"], times["auto"], clock) if others else None,
                "largest_difference": float(max(errors)),
            }
        )
    return rows


def transformed(name: str, threads: int, repeats: int) -> list[dict[str, Any]]:
    """Forward and backward inside a loop, and with a kernel per run under vmap."""
    import jax
    import jax.numpy as jnp

    from tlearn.bodies import conv2d

    batch, size, channels, features, stride, area, groups = SHAPES[name]
    clock = "cpu" if threads == 1 else "wall"
    x = jax.random.normal(jax.random.key(0), (RUNS, batch, size, size, channels))
    shape = (RUNS, area, area, channels // groups, features)
    kernel = jax.random.normal(jax.random.key(1), shape)

    def gradients(form, x, kernel):
        def value(x, kernel):
            y = conv2d(x, kernel, strides=stride, groups=groups, form=form)
            return jnp.square(y).mean()

        return jax.grad(value, (0, 1))(x, kernel)

    rows = []
    for where, transform in (("lax.map", _mapped), ("vmap", jax.vmap)):
        sides = {}
        for form in ("auto", "builtin", "patches"):
            program = jax.jit(transform(functools.partial(gradients, form)))
            sides[form] = lambda f=program: jax.block_until_ready(f(x, kernel))
        times = alternate(sides, repeats)
        rows.append(
            {
                "shape": name,
                "clock": clock,
                "operation": f"both gradients, {RUNS} runs in {where}",
                "ms": {side: median_ms(t) for side, t in times.items()},
                "cpu_ms": {side: median_ms(t, "cpu") for side, t in times.items()},
                "builtin_over_auto": ratio(times["builtin"], times["auto"], clock),
                "torch_over_auto": None,
            }
        )
    return rows


def _mapped(function):
    import jax

    return lambda *operands: jax.lax.map(lambda pair: function(*pair), operands)


def show(row: dict[str, Any]) -> None:
    """Prints a row."""
    columns, ms = [*FORMS, "torch"], row["cpu_ms" if row["clock"] == "cpu" else "ms"]
    cells = "".join(f"{ms[c]:10.2f}" if c in ms else f"{'-':>10}" for c in columns)
    peer = row["torch_over_auto"]
    against = f"{peer:8.2f}" if peer else f"{'-':>8}"
    label = f"{row['shape']}: {row['operation']}"
    print(f"{label:54}{cells}{row['builtin_over_auto']:10.2f}{against}", flush=True)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="shapes whose name contains this")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    settle(args.threads)
    heads = "".join(f"{head:>10}" for head in [*FORMS, "torch"])
    print(f"{'median ms':54}{heads}{'built-in':>10}{'torch':>8}")
    print(f"{'':54}{'':60}{'/ auto':>10}{'/ auto':>8}")
    rows = []
    for name in SHAPES:
        if args.only in name:
            found = apart(name, args.threads, args.repeats)
            found += transformed(name, args.threads, args.repeats) if name in IN_A_LOOP else []
            for row in found:
                show(row)
            rows += found
    if args.json:
        write(args.json, rows, threads=args.threads, repeats=args.repeats)


if __name__ == "__main__":
    main()
