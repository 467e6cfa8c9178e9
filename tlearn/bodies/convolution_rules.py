"""Which form of a convolution runs: XLA's own, except on a CPU, where measured rules choose.

The rules come from `experiments/bench/convolution.py` (XLA on two AVX-512 cores, 2026-11).
"""

from tlearn.bodies.convolution_forms import FORMS, Depthwise, Form, Geometry

OPERATIONS = ("forward", "kernel_gradient", "input_gradient")


def choose(
    operation: str, form: str, geometry: Geometry, channels: int, features: int, *, cpu: bool
) -> type[Form]:
    """Picks the form for one operation of a convolution.

    Args:
        operation: One of `OPERATIONS`.
        form: ``auto``, or the name of a form to use wherever it applies.
        geometry: The convolution.
        channels: Channels in.
        features: Channels out.
        cpu: Whether it will run on a CPU.
    """
    if form == "auto":
        form = _measured(operation, geometry, channels, features) if cpu else "builtin"
    if geometry.groups == 1:
        return FORMS[form]
    depthwise = geometry.groups == channels == features
    return Depthwise if depthwise and form == "taps" else FORMS["builtin"]


def _measured(operation: str, geometry: Geometry, channels: int, features: int) -> str:
    """Names the fastest form on a CPU."""
    if geometry.groups > 1:
        # XLA's grouped convolution runs channel by channel: 10 to 100 times slower.
        return "taps" if geometry.groups == channels == features else "builtin"
    area = geometry.kernel[0] * geometry.kernel[1]
    if area == 1:
        return "patches"
    # XLA swaps the operands of a convolution whose kernel is larger than its input, out of the
    # layout that its fast path wants.
    few = channels * area <= 32
    if operation == "forward":
        if channels == 1:
            return "taps"
        tiny = area > geometry.size[0] * geometry.size[1]
        return "patches" if tiny or few else "canonical"
    if operation == "kernel_gradient":
        return "canonical"
    tiny = area > geometry.out[0] * geometry.out[1]
    strided = max(geometry.strides) > 1 and area <= 9
    return "patches" if tiny or strided or few else "canonical"
