"""Features once against recomputing them every epoch, and many heads at once against one by one.

Both sides train the same linear head on a frozen ResNet-20 and must end with the same head. The
recomputing side is the real training step under ``freeze="body"``: no gradient of the body is
computed on either side. Then the same with only the bottom frozen: what enters the first layer that
trains is stored, and both sides end with the same upper layers, dropout included. Compilation is
left out of the medians and reported by itself.

    python experiments/bench/features_once.py [--json]
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tlearn import bodies, heads
from tlearn.data import ArrayDataset, Batches, Normalise, Pipeline, ToFloat
from tlearn.model import Model, initialise, variables
from tlearn.objectives import Classification
from tlearn.params import digest
from tlearn.studies.boundary import (
    boundary,
    boundary_features,
    tail_inputs,
    tail_leaves,
    tail_model,
)
from tlearn.train.schedules import parse
from tlearn.train.state import SourceWeights, init
from tlearn.train.step import Recipe, compile_step, make_step
from tlearn.transfer.features import extract
from tlearn.transfer.optimizer import adamw
from tlearn.transfer.plan import plan
from tlearn.transfer.probe import train_heads
from tlearn.transfer.strategy import Strategy

CLASSES, RATE, DECAY = 10, 1e-2, 1e-2


def pictures(count: int) -> ArrayDataset:
    """Noisy pictures of ten colours, 32 × 32."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, count).astype(np.int32)
    colours = rng.uniform(60, 200, (CLASSES, 1, 1, 3))
    noisy = colours[labels] + rng.normal(0, 40, (count, 32, 32, 3))
    images = np.clip(noisy, 0, 255).astype(np.uint8)
    return ArrayDataset(images, labels, [str(k) for k in range(CLASSES)])


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds a call takes until its arrays are there."""
    start = time.perf_counter()
    result = jax.block_until_ready(run())
    return time.perf_counter() - start, result


def recompute_against_once(count: int, epochs: int, batch_size: int, repeats: int) -> dict:
    """Trains one head for some epochs both ways."""
    dataset = pictures(count)
    facts = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    pipeline = Pipeline((ToFloat(), Normalise(**facts)))
    batches = Batches(dataset, pipeline, batch_size, seed=0, shuffle=True)
    whole = Batches(dataset, pipeline, batch_size, seed=0, shuffle=False)
    model = Model(bodies.create("resnet20"), heads.Linear(CLASSES))
    shape = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    params, statistics_ = initialise(model, jax.random.key(0), shape)
    body = {path: value for path, value in params.items() if path.startswith("body/")}
    steps = epochs * batches.steps_per_epoch
    optimizer = adamw(RATE, parse("linear"))
    strategy = Strategy(freeze="body", weight_decay=DECAY)
    rows = plan(params, strategy, layers=model.body.layer_names, fresh=[])
    step = compile_step(
        make_step(model, rows, Classification(CLASSES), Recipe(optimizer=optimizer))
    )
    source = SourceWeights()

    def recompute(epochs: int) -> Iterator[tuple[float, dict]]:
        state = init(rows, params, statistics_, optimizer, total=steps, key=jax.random.key(0))
        for epoch in range(epochs):
            start = time.perf_counter()
            for at in range(batches.steps_per_epoch):
                now = epoch * batches.steps_per_epoch + at
                batch: Any = batches.at(now)
                state, log = step(state, batch, source)
            jax.block_until_ready(log)
            yield time.perf_counter() - start, state.trainable

    @jax.jit
    def pooled(params, statistics_, image):
        features: Any = model.apply(variables(params, statistics_), image, method="features")
        return features.pooled

    def once() -> dict:
        with tempfile.TemporaryDirectory() as folder:
            store = extract(
                lambda batch: pooled(params, statistics_, batch["image"]),
                whole,
                f"{folder}/features",
                examples=count,
                weights=digest(body | statistics_),
                preprocessing=str(pipeline),
                data=dataset.digest,
            )
            trained = train_heads(
                model.head,
                store.features,
                store.labels,
                optimizer=optimizer,
                rates=[RATE],
                decays=[DECAY],
                updates=steps,
                batch_size=batch_size,
            )
        return trained.run(0)

    (recompute_first, _), *_ = recompute(1)
    once_first, _ = timed(once)
    recomputing, runs = [], []
    for epoch, passed in enumerate(recompute(epochs)):
        recomputing.append(passed)
        if len(runs) < repeats * (epoch + 1) / epochs:
            # In between, so that a machine that grows busier slows both sides down.
            runs.append(timed(once))
    recomputed = recomputing[-1][1]
    once_s = statistics.median(s for s, _ in runs)
    epoch_s = statistics.median(s for s, _ in recomputing)
    apart = max(float(np.abs(recomputed[p] - v).max()) for p, v in runs[-1][1].items())
    return {
        "examples": count,
        "epochs": epochs,
        "recompute_s": epochs * epoch_s,
        "recompute_epoch_s": epoch_s,
        "once_s": once_s,
        "ratio": epochs * epoch_s / once_s,
        "recompute_compile_s": recompute_first - epoch_s,
        "once_compile_s": once_first - once_s,
        "largest_difference": apart,
    }


def a_picture_network(count: int) -> tuple[Model, dict, str]:
    """ResNet-20 with its stem and two of three stages frozen."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(count, 32, 32, 3)).astype(np.float32)
    model = Model(bodies.create("resnet20"), heads.Linear(CLASSES))
    return model, {"image": images}, "bottom:3"


def a_text_network(count: int) -> tuple[Model, dict, str]:
    """MiniLM's shape with its embeddings and five of six blocks frozen; 32 tokens a text."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 30522, (count, 32)).astype(np.int32)
    model = Model(bodies.create("minilm-l6", pooling="mean"), heads.Linear(CLASSES))
    segments = np.ones_like(tokens)
    return model, {"tokens": tokens, "segments": segments, "types": 0 * tokens}, "bottom:6"


def bottom_once(
    network: tuple[Model, dict, str], epochs: int, batch_size: int, repeats: int
) -> dict:
    """Trains the top of a body and a head for some epochs both ways; all data are in memory."""
    model, inputs, freeze = network
    count = len(next(iter(inputs.values())))
    label = np.random.default_rng(1).integers(0, CLASSES, count).astype(np.int32)
    like = [jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype) for x in inputs.values()]
    params, collections = initialise(model, jax.random.key(0), *like)
    optimizer = adamw(1e-3, parse("linear"))
    rows = plan(params, Strategy(freeze=freeze), layers=model.body.layer_names, fresh=[])
    start = boundary(model, rows)
    if start is None:
        raise ValueError(f"freeze={freeze!r} leaves no layer frozen at the bottom")
    rng = np.random.default_rng(2)
    steps = count // batch_size
    orders = [
        rng.permutation(count)[: steps * batch_size].reshape(steps, -1) for _ in range(epochs)
    ]

    def trainer(network: Model) -> Callable[[dict, dict, dict], dict]:
        step = compile_step(
            make_step(network, rows, Classification(CLASSES), Recipe(optimizer=optimizer))
        )

        def train(params: dict, collections: dict, data: dict) -> dict:
            total = epochs * steps
            key = jax.random.key(0)
            state = init(rows, params, collections, optimizer, total=total, key=key)
            ones = np.ones(batch_size, np.float32)
            for index in np.concatenate(orders):
                batch: Any = {name: x[index] for name, x in data.items()}
                batch |= {"label": label[index], "mask": ones, "index": index}
                state, _ = step(state, batch, SourceWeights())
            return jax.block_until_ready(state.trainable)

        return train

    whole, top = trainer(model), trainer(tail_model(model, start))

    def recompute() -> dict:
        return whole(params, collections, inputs)

    def once() -> dict:
        features = boundary_features(model, params, collections, inputs, start, batch_size)
        own = [tail_leaves(model, start, flat) for flat in (params, collections)]
        return top(own[0], own[1], tail_inputs(model, start, inputs, features))

    (recompute_first, _), (once_first, _) = timed(recompute), timed(once)
    pairs = [(timed(recompute), timed(once)) for _ in range(repeats)]
    recompute_s = statistics.median(a for (a, _), _ in pairs)
    once_s = statistics.median(b for _, (b, _) in pairs)
    (_, expected), (_, got) = pairs[-1]
    shape = boundary_features(model, params, collections, inputs, start, batch_size).shape
    return {
        "start": start,
        "examples": count,
        "epochs": epochs,
        "stored_mib": 4 * float(np.prod(shape)) / 2**20,
        "recompute_s": recompute_s,
        "once_s": once_s,
        "ratio": recompute_s / once_s,
        "recompute_compile_s": recompute_first - recompute_s,
        "once_compile_s": once_first - once_s,
        "largest_difference": max(float(np.abs(expected[p] - v).max()) for p, v in got.items()),
        "largest_move": max(float(np.abs(expected[p] - params[p]).max()) for p in got),
    }


def together_against_alone(count: int, width: int, updates: int, repeats: int) -> dict:
    """Trains 80 heads in one program and one after the other."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, count).astype(np.int32)
    centres = rng.normal(size=(CLASSES, width)) / width**0.5
    features = (centres[labels] + rng.normal(size=(count, width))).astype(np.float32)
    rates, decays = list(np.geomspace(1e-3, 3e-2, 4)), [0.0, 1e-3, 1e-2, 1e-1]
    seeds = [0, 1, 2, 3, 4]

    def train(rates, decays, seeds):
        settings = {"updates": updates, "batch_size": 64, "optimizer": adamw(1.0, parse("cosine"))}
        grid = {"rates": rates, "decays": decays, "seeds": seeds}
        head = heads.Linear(CLASSES)
        return train_heads(head, features, labels, **settings, **grid)

    def together():
        return train(rates, decays, seeds).params

    def alone():
        return [train([r], [d], [s]).params for r in rates for d in decays for s in seeds]

    together_first, _ = timed(together)
    alone_first, _ = timed(lambda: train(rates[:1], decays[:1], seeds[:1]).params)
    both = [(timed(together), timed(alone)) for _ in range(repeats)]
    together_s = statistics.median(a for (a, _), _ in both)
    alone_s = statistics.median(b for _, (b, _) in both)
    (_, stacked), (_, single) = both[-1]
    apart = max(
        float(np.abs(stacked[path][i] - one[path][0]).max())
        for i, one in enumerate(single)
        for path in one
    )
    return {
        "heads": len(single),
        "width": width,
        "updates": updates,
        "alone_s": alone_s,
        "together_s": together_s,
        "ratio": alone_s / together_s,
        "alone_compile_s": alone_first - alone_s / len(single),
        "together_compile_s": together_first - together_s,
        "largest_difference": apart,
    }


def main() -> None:
    """Runs the comparisons and prints them."""
    parser = argparse.ArgumentParser(description="Features once; many heads at once.")
    parser.add_argument("--examples", type=int, default=512, help="pictures to train on")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of the head")
    parser.add_argument("--top-examples", type=int, default=256, help="examples below a top")
    parser.add_argument("--top-epochs", type=int, default=5, help="epochs of a top and its head")
    parser.add_argument("--batch-size", type=int, default=64, help="pictures of a step")
    parser.add_argument("--updates", type=int, default=300, help="updates of each of the 80 heads")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs; medians are printed")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    once = recompute_against_once(
        options.examples, options.epochs, options.batch_size, options.repeats
    )
    bottoms = {
        name: bottom_once(
            make(options.top_examples), options.top_epochs, options.batch_size, options.repeats
        )
        for name, make in (("ResNet-20", a_picture_network), ("MiniLM's shape", a_text_network))
    }
    result = {
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "jax": jax.__version__,
        "python": platform.python_version(),
        "features_once": once,
        "bottom_once": bottoms,
        "many_heads": [
            together_against_alone(options.examples, width, options.updates, options.repeats)
            for width in (64, 512)
        ],
    }
    if options.json:
        print(json.dumps(result))
        return
    print(f"{result['device']}, {result['cores']} cores, jax {result['jax']}; medians\n")
    print(f"A head for {once['epochs']} epochs on {once['examples']} pictures, frozen ResNet-20:")
    for name, side in (("recomputing", "recompute"), ("features once", "once")):
        compiling = f"(and {once[side + '_compile_s']:.1f} s to compile)"
        print(f"  {name:16} {once[side + '_s']:8.2f} s  {compiling}")
    print(f"  {once['ratio']:.1f} times faster; heads differ by {once['largest_difference']:.1e}\n")
    for name, both in bottoms.items():
        print(
            f"{name} from {both['start']} up for {both['epochs']} epochs on {both['examples']} "
            f"examples, {both['stored_mib']:.1f} MiB stored:"
        )
        for what, side in (("recomputing", "recompute"), ("bottom once", "once")):
            compiling = f"(and {both[side + '_compile_s']:.1f} s to compile)"
            print(f"  {what:16} {both[side + '_s']:8.2f} s  {compiling}")
        print(
            f"  {both['ratio']:.1f} times faster; weights differ by "
            f"{both['largest_difference']:.1e} and moved by {both['largest_move']:.1e}\n"
        )
    for many in result["many_heads"]:
        print(f"{many['heads']} heads of width {many['width']}, {many['updates']} updates each:")
        print(f"  one by one       {many['alone_s']:8.2f} s")
        print(f"  one program      {many['together_s']:8.2f} s")
        print(f"  {many['ratio']:.1f} times faster; differ by {many['largest_difference']:.1e}\n")


if __name__ == "__main__":
    main()
