"""Features once against recomputing them every epoch, and many heads at once against one by one.

Both sides train the same linear head on a frozen ResNet-20 and must end with the same head. The
recomputing side is the real training step under ``freeze="body"``: no gradient of the body is
computed on either side. Compilation is left out of the medians and reported by itself.

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
    """Runs both comparisons and prints them."""
    parser = argparse.ArgumentParser(description="Features once; many heads at once.")
    parser.add_argument("--examples", type=int, default=512, help="pictures to train on")
    parser.add_argument("--epochs", type=int, default=20, help="epochs of the head")
    parser.add_argument("--batch-size", type=int, default=64, help="pictures of a step")
    parser.add_argument("--updates", type=int, default=300, help="updates of each of the 80 heads")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs; medians are printed")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    once = recompute_against_once(
        options.examples, options.epochs, options.batch_size, options.repeats
    )
    result = {
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "jax": jax.__version__,
        "python": platform.python_version(),
        "features_once": once,
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
    for many in result["many_heads"]:
        print(f"{many['heads']} heads of width {many['width']}, {many['updates']} updates each:")
        print(f"  one by one       {many['alone_s']:8.2f} s")
        print(f"  one program      {many['together_s']:8.2f} s")
        print(f"  {many['ratio']:.1f} times faster; differ by {many['largest_difference']:.1e}\n")


if __name__ == "__main__":
    main()
