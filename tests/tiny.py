"""A small world for tests: a three-layer residual body, a head, and pictures of eight pixels."""

import jax
import jax.numpy as jnp
import numpy as np

from tlearn import bodies, heads
from tlearn.model import Model, initialise
from tlearn.objectives import Classification
from tlearn.train.schedules import Constant
from tlearn.train.state import SourceWeights, State, init
from tlearn.train.step import Recipe, compile_step, make_step
from tlearn.transfer.optimizer import Optimizer, adamw, sgd
from tlearn.transfer.plan import Plan, plan
from tlearn.transfer.strategy import Strategy

CLASSES = 3


def body(**changes):
    settings = {
        "stage_blocks": (1, 1),
        "stage_widths": (4, 8),
        "stem_width": 4,
        "in_channels": 1,
        "drop_path": 0.2,
    }
    return bodies.create("resnet20", **settings | changes)


def model(**changes) -> Model:
    return Model(body(**changes), heads.Linear(CLASSES, kernel_init="scaled", dropout=0.1))


def drawn(model: Model, seed: int = 0):
    """Initial parameters and statistics, as numpy."""
    params, collections = initialise(
        model, jax.random.key(seed), jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
    )
    return jax.device_get(params), jax.device_get(collections)


def batch(step: int = 0, size: int = 8, real: int | None = None):
    """A batch whose examples depend on the step; those past ``real`` are padding."""
    rng = np.random.default_rng([7, step])
    label = rng.integers(0, CLASSES, size).astype(np.int32)
    image = rng.normal(size=(size, 8, 8, 1)).astype(np.float32) + label[:, None, None, None]
    mask = (np.arange(size) < (size if real is None else real)).astype(np.float32)
    return {"image": image, "label": label, "mask": mask, "index": np.arange(size) + step * size}


def optimizers() -> dict[str, Optimizer]:
    return {
        "sgd": sgd(0.1, Constant(), momentum=0.9, clip=1.0),
        "coupled": sgd(0.1, Constant(), coupled_decay=True),
        "adamw": adamw(1e-2, Constant(), clip=0.5),
    }


def start(
    strategy: Strategy = Strategy(),
    optimizer: Optimizer | None = None,
    *,
    recipe: dict | None = None,
    total: int = 10,
    seed: int = 0,
    network: Model | None = None,
    **settings,
) -> tuple[Model, Plan, State, callable, SourceWeights]:
    """A state at step 0 with its compiled step and the source it started from."""
    network = network or model()
    optimizer = optimizer or adamw(1e-2, Constant())
    params, collections = drawn(network, seed)
    rows = plan(params, strategy, layers=network.body.layer_names, fresh=[])
    recipe = Recipe(optimizer=optimizer, **(recipe or {}))
    step = compile_step(make_step(network, rows, Classification(CLASSES), recipe))
    state = init(
        rows,
        params,
        collections,
        optimizer,
        total=total,
        key=jax.random.key(seed),
        accumulate=recipe.accumulate,
        ema=recipe.ema is not None,
        **settings,
    )
    source = SourceWeights(params={p: jnp.asarray(params[p]) for p in rows.pulled})
    return network, rows, state, step, source


def run(state, step, source, steps: int = 3, **batches):
    """Takes some steps."""
    log = None
    for i in range(steps):
        state, log = step(state, batch(int(state.step), **batches), source)
    return state, log
