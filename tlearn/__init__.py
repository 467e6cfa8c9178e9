"""tlearn: transfer learning in JAX and Flax.

Names resolve on first use, so that ``import tlearn`` and the command line's help stay light.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tlearn import bodies as bodies
    from tlearn import data as data
    from tlearn import generation as generation
    from tlearn import heads as heads
    from tlearn import hub as hub
    from tlearn import objectives as objectives
    from tlearn import params as params
    from tlearn import tasks as tasks
    from tlearn.model import Model as Model
    from tlearn.model import initialise as initialise
    from tlearn.train import schedules as schedules
    from tlearn.train.evaluate import evaluate as evaluate
    from tlearn.train.evaluate import make_eval_step as make_eval_step
    from tlearn.train.loop import Program as Program
    from tlearn.train.loop import fit as fit
    from tlearn.train.loop import timeline as timeline
    from tlearn.train.state import SourceWeights as SourceWeights
    from tlearn.train.state import init as init
    from tlearn.train.step import Recipe as Recipe
    from tlearn.train.step import compile_step as compile_step
    from tlearn.train.step import make_step as make_step
    from tlearn.transfer.function_pull import FunctionPull as FunctionPull
    from tlearn.transfer.optimizer import adamw as adamw
    from tlearn.transfer.optimizer import sgd as sgd
    from tlearn.transfer.plan import Plan as Plan
    from tlearn.transfer.plan import diff as diff
    from tlearn.transfer.plan import plan as plan
    from tlearn.transfer.plan import plans as plans
    from tlearn.transfer.pull import Pull as Pull
    from tlearn.transfer.strategy import Strategy as Strategy

_MODULES = ("bodies", "data", "generation", "heads", "hub", "objectives", "params", "tasks")
_NAMES = {
    "Model": "tlearn.model",
    "initialise": "tlearn.model",
    "evaluate": "tlearn.train.evaluate",
    "make_eval_step": "tlearn.train.evaluate",
    "Program": "tlearn.train.loop",
    "fit": "tlearn.train.loop",
    "timeline": "tlearn.train.loop",
    "SourceWeights": "tlearn.train.state",
    "init": "tlearn.train.state",
    "Recipe": "tlearn.train.step",
    "compile_step": "tlearn.train.step",
    "make_step": "tlearn.train.step",
    "FunctionPull": "tlearn.transfer.function_pull",
    "adamw": "tlearn.transfer.optimizer",
    "sgd": "tlearn.transfer.optimizer",
    "Plan": "tlearn.transfer.plan",
    "diff": "tlearn.transfer.plan",
    "plan": "tlearn.transfer.plan",
    "plans": "tlearn.transfer.plan",
    "Pull": "tlearn.transfer.pull",
    "Strategy": "tlearn.transfer.strategy",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"tlearn.{name}")
    if name == "schedules":
        return importlib.import_module("tlearn.train.schedules")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'tlearn' has no name {name!r}; it has {__dir__()}")


def __dir__() -> list[str]:
    return sorted([*_MODULES, "schedules", *_NAMES, "__version__"])
