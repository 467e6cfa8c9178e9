"""A small world for tests: a three-layer residual body, a head, and pictures of eight pixels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from tlearn import bodies, heads
from tlearn.model import Model, shapes, variables
from tlearn.objectives import Classification
from tlearn.train.schedules import Constant
from tlearn.train.state import SourceWeights, State, init
from tlearn.train.step import Recipe, compile_step, make_step
from tlearn.transfer.optimizer import Optimizer, adamw, sgd
from tlearn.transfer.plan import Plan, plan
from tlearn.transfer.strategy import Strategy

CLASSES = 3
QUICK = {"xla_backend_optimization_level": 0}
"""Compiles in half the time; may round differently from what users get."""


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


def still(**changes) -> Model:
    """A two-layer model without chance: what it computes depends on weights and batch alone."""
    settings = {"stage_blocks": (1,), "stage_widths": (4,), "drop_path": 0.0}
    return Model(body(**settings | changes), heads.Linear(CLASSES, kernel_init="scaled"))


@functools.cache
def _shapes(model: Model, size: int):
    channels = model.body.in_channels
    return shapes(model, jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32))


def drawn(model: Model, seed: int = 0, size: int = 8):
    """Parameters and statistics nobody trained; nothing is compiled for them."""
    rng = np.random.default_rng([3, seed])

    def draw(path, like):
        kind = path.rpartition("/")[2]
        noise = rng.normal(size=like.shape).astype(np.float32)
        if kind in ("scale", "var"):
            return 1 + 0.1 * np.abs(noise)
        return noise * (np.prod(like.shape[:-1]) ** -0.5 if kind == "kernel" else 0.1)

    params, collections = _shapes(model, size)
    return tuple(
        {path: jnp.asarray(draw(path, like), jnp.float32) for path, like in flat.items()}
        for flat in (params, collections)
    )


@functools.cache
def compiled(network: Model, rows: Plan, recipe: Recipe, *, exact: bool = False):
    """The compiled step of a plan, once for equal arguments.

    Args:
        network: The model.
        rows: The plan.
        recipe: The recipe.
        exact: Whether to compile as users do, rather than `QUICK`.
    """
    step = make_step(network, rows, Classification(CLASSES), recipe)
    if exact:
        return compile_step(step)
    return jax.jit(step, donate_argnums=0, compiler_options=QUICK)


def batch(step: int = 0, size: int = 8, real: int | None = None):
    """A batch whose examples depend on the step; those past ``real`` are padding."""
    rng = np.random.default_rng([7, step])
    label = rng.integers(0, CLASSES, size).astype(np.int32)
    image = (rng.normal(size=(size, 8, 8, 1)) + label[:, None, None, None]).astype(np.float32)
    mask = (np.arange(size) < (size if real is None else real)).astype(np.float32)
    return {"image": image, "label": label, "mask": mask, "index": np.arange(size) + step * size}


def optimizers() -> dict[str, Optimizer]:
    return {
        "sgd": sgd(0.1, Constant(), momentum=0.9, clip=1.0),
        "coupled": sgd(0.1, Constant(), coupled_decay=True),
        "adamw": adamw(1e-2, Constant(), clip=0.5),
    }


def start(
    strategy: Strategy | None = None,
    optimizer: Optimizer | None = None,
    *,
    recipe: dict | None = None,
    total: int = 10,
    seed: int = 0,
    network: Model | None = None,
    exact: bool = False,
    **settings,
) -> tuple[Model, Plan, State, callable, SourceWeights]:
    """A state at step 0 with its compiled step and the source it started from."""
    strategy, network = strategy or Strategy(), network or model()
    optimizer = optimizer or adamw(1e-2, Constant())
    params, collections = drawn(network, seed)
    rows = plan(params, strategy, layers=network.body.layer_names, fresh=[])
    recipe = Recipe(optimizer=optimizer, **(recipe or {}))
    step = compiled(network, rows, recipe, exact=exact)
    state = init(
        rows,
        params,
        collections,
        optimizer,
        total=total,
        key=jax.random.key(seed),
        accumulate=recipe.accumulate,
        ema=recipe.ema is not None,
        function_pull=recipe.function_pull,
        **settings,
    )
    source = SourceWeights(params={p: jnp.asarray(params[p]) for p in rows.pulled})
    return network, rows, state, step, source


def gradients(network: Model, rows: Plan, state: State, given):
    """Mean loss and its gradient over *all* parameters, without any code of the step."""
    run = _gradients(network, rows.train_layers)
    value, found = run(state.params, state.collections, given)
    return float(value), {path: np.asarray(g, np.float64) for path, g in found.items()}


@functools.cache
def _gradients(network: Model, train: frozenset[str]):
    def loss(params, collections, given):
        tree, image = variables(params, collections), given["image"]
        mutable = ["batch_stats"] if collections else []
        logits, _ = network.apply(tree, image, train=train, mutable=mutable)
        log_p = jax.nn.log_softmax(logits)[jnp.arange(len(image)), given["label"]]
        return -jnp.sum(log_p * given["mask"]) / given["mask"].sum()

    return jax.jit(jax.value_and_grad(loss), compiler_options=QUICK)


def norm(flat) -> float:
    """The global norm, in float64."""
    return float(np.sqrt(sum(np.sum(np.asarray(v, np.float64) ** 2) for v in flat.values())))


def run(state, step, source, steps: int = 3, **batches):
    """Takes some steps."""
    log = None
    for _ in range(steps):
        state, log = step(state, batch(int(state.step), **batches), source)
    return state, log


def host(tree) -> dict[str, np.ndarray]:
    """Copies every leaf of a pytree to the host under its path; keys as their numbers."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    found = {}
    for path, leaf in leaves:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        found[jax.tree_util.keystr(path)] = np.array(leaf, copy=True)
    return found


def differing(a, b) -> list[str]:
    """Names the leaves of two pytrees that are not bit-equal."""
    left, right = (x if _is_host(x) else host(x) for x in (a, b))
    return [
        path
        for path in sorted(left.keys() | right.keys())
        if path not in left
        or path not in right
        or left[path].dtype != right[path].dtype
        or left[path].shape != right[path].shape
        or left[path].tobytes() != right[path].tobytes()
    ]


def _is_host(tree) -> bool:
    return isinstance(tree, dict) and all(isinstance(leaf, np.ndarray) for leaf in tree.values())


def flops(jitted, *args) -> float:
    """The compiled program's own count of its operations."""
    return jitted.lower(*args).compile().cost_analysis()["flops"]
