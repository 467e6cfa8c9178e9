"""What is new for a task.

Names resolve on first use, so that building a command line imports no JAX.
"""

from typing import TYPE_CHECKING

from tlearn.lazy import lazy

if TYPE_CHECKING:
    from tlearn.heads.causal_lm import CausalLM as CausalLM
    from tlearn.heads.classifiers import MLP as MLP
    from tlearn.heads.classifiers import Cosine as Cosine
    from tlearn.heads.classifiers import Linear as Linear
    from tlearn.heads.language import MaskedLM as MaskedLM
    from tlearn.heads.language import Pretraining as Pretraining
    from tlearn.heads.language import ReplacedToken as ReplacedToken
    from tlearn.heads.registry import build as build
    from tlearn.heads.registry import create as create
    from tlearn.heads.registry import describe as describe
    from tlearn.heads.registry import names as names
    from tlearn.heads.replaced_training import ReplacedTokenTraining as ReplacedTokenTraining
    from tlearn.heads.tokens import Span as Span
    from tlearn.heads.tokens import Tagging as Tagging
    from tlearn.heads.ulmfit import ULMFiT as ULMFiT

__getattr__, __dir__ = lazy(
    __name__,
    {
        "CausalLM": "causal_lm",
        "Cosine": "classifiers",
        "Linear": "classifiers",
        "MLP": "classifiers",
        "MaskedLM": "language",
        "Pretraining": "language",
        "ReplacedToken": "language",
        "ReplacedTokenTraining": "replaced_training",
        "Span": "tokens",
        "Tagging": "tokens",
        "ULMFiT": "ulmfit",
        "build": "registry",
        "create": "registry",
        "describe": "registry",
        "names": "registry",
    },
)
