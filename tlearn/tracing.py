"""Tracing without the garbage collector: what a trace makes lives, and is not worth walking."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Holds the cyclic garbage collector back.

    To trace a network is to make some hundred thousand Python objects that all stay. The collector
    walks them, and all of JAX's modules, again and again: a fifth of the time that a trace takes.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
