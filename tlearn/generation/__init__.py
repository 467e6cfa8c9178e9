"""Texts out of models: decoding with keys and values kept.

Names resolve on first use, so that building a command line imports no JAX.
"""

from typing import TYPE_CHECKING

from tlearn.lazy import lazy

if TYPE_CHECKING:
    from tlearn.generation.decoding import Generated as Generated
    from tlearn.generation.greedily import greedy as greedy
    from tlearn.generation.making import generate as generate
    from tlearn.generation.options import Options as Options

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Generated": "decoding",
        "Options": "options",
        "generate": "making",
        "greedy": "greedily",
    },
)
