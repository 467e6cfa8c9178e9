"""Adapts ResNet-20 (clean CIFAR-10) to JPEG-compressed pictures, keeping its head.

Measures the accuracy on all 10,000 JPEG test pictures after two epochs on 15,000 of the training
pictures (1,500 a class, drawn by seed 0), head included, batch 128, SGD with momentum 0.9, cosine.
2,000 other training pictures are carved off for choosing: every rate (with shifts and mirroring) is
tried for a few updates, and the best one also without augmentation. The choice is then trained as
`tlearn finetune` does it; the test pictures are read once, after the last update.

    python experiments/images/cifar_jpeg_shift.py --data DIR --out experiments/results

DIR (default: environment variable TLEARN_DATA) holds cifar10_jpeg/ and w_resnet_cifar10/.
"""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import options
import tables

from tlearn import bodies, heads, hub
from tlearn.bodies import ImageFacts
from tlearn.model import Model
from tlearn.runs.config import (
    DataConfig,
    HeadConfig,
    OptimizerConfig,
    RunConfig,
    StrategyConfig,
    TrainConfig,
)
from tlearn.runs.training import start
from tlearn.tasks import ImageTask, image_classification
from tlearn.train.evaluate import evaluate, make_eval_step
from tlearn.train.schedules import Cosine
from tlearn.train.state import SourceWeights, init
from tlearn.train.step import Recipe, compile_step, make_step
from tlearn.transfer.optimizer import sgd
from tlearn.transfer.plan import plan
from tlearn.transfer.strategy import Strategy

RATES = (0.01, 0.03, 0.1)
BATCH, DECAY, HELD = 128, 1e-4, "4%"


def main() -> None:
    """Chooses on the validation part, trains, prints and saves the figures."""
    parser = options.parser(__doc__)
    parser.add_argument("--pilot", type=int, default=30, help="updates of a trial")
    asked = parser.parse_args()
    pictures = f"tar:{asked.data}/cifar10_jpeg"
    weights = f"torch:{asked.data}/w_resnet_cifar10/resnet20-12fca82f.th"
    source = hub.load(weights)
    trials = choose(source, pictures, asked.pilot)
    best = max(trials, key=lambda trial: trial["validation_accuracy"])
    print(f"chosen on validation: {best}", flush=True)
    config = RunConfig(
        data=DataConfig(
            data=pictures,
            validation=HELD,
            test_split="test",
            per_class=1500,
            augment=best["augment"],
        ),
        source=weights,
        head=HeadConfig(head_weights="source"),
        strategy=StrategyConfig(weight_decay=DECAY),
        optimizer=OptimizerConfig(rate=best["rate"]),
        train=TrainConfig(length="2ep", batch_size=BATCH, checkpoint_every=1000),
    )
    with tempfile.TemporaryDirectory() as folder:
        run = start(config, Path(folder) / "run", quiet=True)
    if run.test is None or run.validation is None:
        raise RuntimeError("the run ended without its figures")
    measured = {
        "test_accuracy": run.test.metrics["accuracy"],
        "test_examples": run.test.count,
        "validation_accuracy": run.validation.metrics["accuracy"],
        "chosen": best,
        "trials": trials,
        "trial_updates": asked.pilot,
        "same_by_command_line": (
            "tlearn finetune --source torch:DIR/w_resnet_cifar10/resnet20-12fca82f.th "
            f"--data tar:DIR/cifar10_jpeg --validation {HELD} --test-split test --per-class 1500 "
            f"--augment {best['augment']} --head-weights source --weight-decay {DECAY} "
            f"--rate {best['rate']} --length 2ep --batch-size {BATCH}"
        ),
    }
    tables.save(asked.out, "cifar_jpeg_shift", __doc__, measured, seeds=[0])


def choose(source: hub.Source, pictures: str, updates: int) -> list[dict[str, Any]]:
    """Accuracy on the validation part after a few updates, at every rate."""
    if source.head is None or not isinstance(source.facts, ImageFacts):
        raise ValueError("the source lacks a head to keep, or the preparation of its pictures")
    task = image_classification(
        pictures, facts=source.facts, validation=HELD, examples_per_class=1500, augment="crop"
    )
    model = Model(bodies.build(dict(source.body)), heads.build(dict(source.head)))
    optimizer = sgd(RATES[0], Cosine(), momentum=0.9)
    rows = plan(source.params, Strategy(weight_decay=DECAY), layers=model.body.layer_names)
    step = compile_step(make_step(model, rows, task.objective, Recipe(optimizer=optimizer)))
    judge = make_eval_step(model, task.objective)

    def trial(task: ImageTask, rate: float, augment: str) -> dict[str, Any]:
        state = init(
            rows,
            source.params,
            source.collections,
            dataclasses.replace(optimizer, rate=rate),
            total=updates,
            key=jax.random.key(0),
        )
        batches = task.train_batches(BATCH, 0)
        for at in range(updates):
            batch = {name: jnp.asarray(array) for name, array in batches.at(at).items()}
            state, _ = step(state, batch, SourceWeights())
        held: Any = task.validation
        found = evaluate(
            judge, state.params, state.collections, task.eval_batches(held, 250), expected=len(held)
        )
        tried = {"rate": rate, "augment": augment, "validation_accuracy": found.metrics["accuracy"]}
        print(tried, flush=True)
        return tried

    trials = [trial(task, rate, "crop") for rate in RATES]
    best = max(trials, key=lambda found: found["validation_accuracy"])
    plain = dataclasses.replace(task, train_pipeline=task.eval_pipeline)
    return [*trials, trial(plain, best["rate"], "none")]


if __name__ == "__main__":
    main()
