"""What a run begins with: the source's weights where they fit, and what is drawn afresh."""

import dataclasses
import functools
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from tlearn import bodies, hub
from tlearn.data.remap import vocabulary_in
from tlearn.hub.tables.published_heads import published_pooling
from tlearn.model import Model, initialise, shapes
from tlearn.params import FlatParams
from tlearn.runs.config import RunConfig
from tlearn.runs.parts import make_strategy
from tlearn.runs.settings import read_setting
from tlearn.runs.text_bodies import carried_tokenizer, remaps, tokenizer_of
from tlearn.tasks import Task
from tlearn.train.random import stream
from tlearn.transfer.plan import fresh_patterns
from tlearn.transfer.strategy import Strategy

Say = Callable[[str], None]
FIRST_KERNELS = ("body/stem/conv/kernel", "body/embeddings/patches/kernel")
"""Where pictures of another number of channels make themselves felt."""
VOCABULARY = re.compile(
    r"body/embeddings/tokens/embedding|head/(masked_lm/)?bias|head/dense/kernel"
)
"""What has a row, or a column, a token."""
POOLER = "body/pooler/.*"
"""What BERT's class for sequences reads, and other classes leave away."""
# Bytes of weights that take seconds to load.
_LONG = 2**28


class Initial(NamedTuple):
    """What a run begins with: the source's weights, and what is drawn.

    Attributes:
        params: All parameters by path.
        collections: Statistics by path.
        fresh: Paths of the parameters that are not the source's.
        report: What became of the source's weights; None without a source.
    """

    params: FlatParams
    collections: FlatParams
    fresh: frozenset[str]
    report: hub.Report | None


def shapes_and_fresh(
    config: RunConfig, model: Model, task: Task, source: hub.Source | None
) -> tuple[FlatParams, frozenset[str]]:
    """Shapes of a run's parameters by path, and which are not the source's; nothing is read.

    Args:
        config: What is asked.
        model: Body and head.
        task: The data.
        source: What it starts from, whose names alone are looked at; None for nothing.

    Raises:
        ValueError: If layers are to be drawn that the body does not have.
    """
    params, _ = shapes(model, *input_shapes(model, task))
    strategy = make_strategy(config.strategy)
    patterns = _fresh_patterns(config, strategy, model.body.layer_names, source)
    return params, frozenset(p for p in params if any(re.fullmatch(q, p) for q in patterns))


def initial(
    config: RunConfig,
    source: hub.Source | None,
    model: Model,
    task: Task,
    say: Say = lambda text: None,
    *,
    draw: bool = True,
    dtypes: Mapping[str, Any] | None = None,
    shardings: Callable[[FlatParams], Mapping[str, jax.sharding.Sharding]] | None = None,
    only: Collection[str] | None = None,
) -> Initial:
    """Draws and loads what a run begins with.

    Args:
        config: What is asked; its seed decides what is drawn.
        source: What is loaded; None for nothing.
        model: Body and head.
        task: The data.
        say: Told how far a long loading is.
        draw: False leaves everything at zero.
        dtypes: What parameters are read in, by path; the model's own by default.
        shardings: Where loaded parameters and statistics go, from their shapes by path; to the
            default device without.
        only: Parameters of the source that are read; the others stay zeros that take no memory.
            None reads all.

    Raises:
        ValueError: If the source does not fit.
    """
    inputs = input_shapes(model, task)
    strategy = make_strategy(config.strategy)
    patterns = _fresh_patterns(config, strategy, model.body.layer_names, source)
    params, collections = shapes(model, *inputs)
    places = shardings({**params, **collections}) if shardings is not None else None
    params, collections = _zeros(params, dtypes or {}), _zeros(collections, {})
    if draw:
        key = stream(jax.random.key(config.train.seed), "init")
        static: Any = model  # Linen modules are hashable, which their type does not say.
        drawn = _drawer(static, inputs, patterns)(key)
        params, collections = (
            {p: drawn.get(p, v) for p, v in f.items()} for f in (params, collections)
        )
    if source is None:
        return Initial(params, collections, frozenset(params), None)
    params, collections, report = _load(
        config, source, params, collections, patterns, say if draw else None, places, only
    )
    fresh = frozenset(report.paths("fresh")) & frozenset(params)
    return Initial(params, collections, fresh, report)


def load_source(config: RunConfig, *, read: bool = True) -> hub.Source | None:
    """The weights a run starts from; None if it starts from nothing.

    Of a body with a decoder, a task with labels takes the encoder alone. A published head settles
    how the body pools, unless the config does. Settings change what the source says of its body,
    such as its dropout.

    Raises:
        ValueError: If a setting is none of the body's fields, with the nearest of them.
    """
    if not config.source:
        return None
    source = hub.load(config.source, read=read, pooling=_pooling(config))
    if config.body.settings:
        changed = dict(read_setting(text) for text in config.body.settings)
        source = dataclasses.replace(source, body={**source.body, **changed})
    decodes = "decoder_tokens" in bodies.build(dict(source.body)).inputs
    if decodes and config.objective.objective == "labels":
        return hub.encoder_alone(source)
    return source


def _pooling(config: RunConfig) -> str | None:
    """How a source shall make one vector of a text; None for its own way."""
    labels = config.objective.objective == "labels"
    if config.body.pooling or not (labels and config.head.head == "published"):
        return config.body.pooling or None
    source = hub.load(config.source, read=False)
    reads = published_pooling(source.provenance, source.body)
    return None if reads == source.body.get("pooling") else reads


def input_shapes(model: Model, task: Task) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Shapes of a batch of one as the body takes it."""
    return tuple(task.example[name] for name in model.body.inputs)


def _zeros(flat: FlatParams, dtypes: Mapping[str, Any]) -> FlatParams:
    # Zeros that take no memory: all of them together are as large as the weights.
    return {
        p: np.broadcast_to(np.zeros((), dtypes.get(p, value.dtype)), value.shape)
        for p, value in flat.items()
    }


def _fresh_patterns(
    config: RunConfig, strategy: Strategy, layers: tuple[str, ...], source: hub.Source | None
) -> tuple[str, ...]:
    """Patterns of all that is drawn rather than loaded."""
    if source is None:
        if strategy.fresh:
            raise ValueError(f"fresh={config.strategy.fresh!r}, but without a source all is fresh")
        return (".*",)
    head = ("head/.*",) if config.head.head_weights == "fresh" else ()
    asked = fresh_patterns(strategy, layers)
    if config.head.head == "published" and "pooler" in layers and POOLER not in asked:
        # The class that the head is of has a pooler; of a source that lacks it, it is drawn.
        if not any(re.fullmatch(POOLER, path) for path in source.params):
            asked = (*asked, POOLER)
    return (*asked, *head)


# Runs of many seeds, one after another in a process, draw with one program.
@functools.lru_cache(maxsize=8)
def _drawer(
    model: Model, inputs: tuple[jax.ShapeDtypeStruct, ...], patterns: tuple[str, ...]
) -> Callable[[Array], FlatParams]:
    """Makes what draws the parameters and statistics that match a pattern, and only those."""

    def draw(key: Array) -> FlatParams:
        params, collections = initialise(model, key, *inputs)
        return {
            path: value
            for path, value in {**params, **collections}.items()
            if any(re.fullmatch(pattern, path) for pattern in patterns)
        }

    # It runs once: seconds of optimizing it would be the longer part of the start.
    quick = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}
    return jax.jit(draw, compiler_options=quick)


def _load(
    config: RunConfig,
    source: hub.Source,
    params: FlatParams,
    collections: FlatParams,
    patterns: tuple[str, ...],
    say: Say | None,
    places: Mapping[str, jax.sharding.Sharding] | None,
    only: Collection[str] | None,
) -> tuple[FlatParams, FlatParams, hub.Report]:
    """Puts the source's weights where the model has its own; without ``say``, only their shapes."""
    differ = [
        path
        for path, value in source.params.items()
        if path in params and tuple(params[path].shape) != tuple(value.shape)
    ]
    resize: list[tuple[Any, ...]] = []
    if remaps(config):
        # Also where the two vocabularies happen to be of one size.
        vocabulary = vocabulary_in(carried_tokenizer(source), tokenizer_of(config, source))
        resize += [
            (re.escape(path), "remap_vocabulary", vocabulary)
            for path in source.params
            if VOCABULARY.fullmatch(path) and path in params
            if not any(re.fullmatch(pattern, path) for pattern in patterns)
        ]
    for path in differ:
        if path in FIRST_KERNELS and config.data.channels == "adapt":
            resize.append((path, "adapt_input_channels"))
        if path == "body/embeddings/positions" and "image_size" in source.body:
            resize.append((path, "position_grid"))
    return hub.reconcile(
        source,
        params,
        collections,
        fresh=patterns,
        resize=resize,
        shardings=places,
        read=say is not None,
        only=only,
        progress=None if say is None else _progress(say),
    )


def _progress(say: Say) -> Callable[[int, int], None]:
    """Says every tenth part of what is long enough to be waited for."""
    said = 0

    def tell(done: int, total: int) -> None:
        nonlocal said
        tenth = 10 * done // max(total, 1)
        if total >= _LONG and tenth > said:
            said = tenth
            say(f"loading weights: {10 * tenth} % of {total / 2**20:.0f} MiB")

    return tell
