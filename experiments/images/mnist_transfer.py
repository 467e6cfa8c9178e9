"""ResNet-20 from CIFAR-10 to handwritten digits, against the same network from scratch.

Measures test accuracy on MNIST at 10 and 50 labels per class, 5 paired seeds, five strategies side
by side: head only on cached features, bottom 2 layers frozen, everything at one rate, rates that
fall with depth, and everything pulled to the source (L2-SP, squared). Pictures stay 28 x 28, grey
repeated in three channels, normalised with the source's mean and deviation. Labels are drawn from
the first 4,000 training pictures; rates and the pull's strength are chosen at 10 labels per class
with seeds 100 and 101 on 1,000 other training pictures. Test pictures are read once.

    python experiments/images/mnist_transfer.py --data DIR --out experiments/results

DIR (default: environment variable TLEARN_DATA) holds mnist/ and w_resnet_cifar10/.
"""

import dataclasses
from pathlib import Path

import comparison
import numpy as np
import options
from comparison import Part

from tlearn import bodies, heads, hub
from tlearn.bodies import ImageFacts
from tlearn.data import eval_pipeline, open_dataset
from tlearn.model import Model
from tlearn.studies.arms import Bench, Setting, subsets
from tlearn.train.schedules import Cosine
from tlearn.transfer.optimizer import adamw
from tlearn.transfer.pull import Pull
from tlearn.transfer.strategy import ULMFIT_FACTOR, Strategy

COUNTS, SEEDS, PILOT = (10, 50), (0, 1, 2, 3, 4), (100, 101)
# An idle pull of the form and way used below: arms with and without it share a program.
IDLE = Pull(way="decoupled")
WHOLE = Strategy(pull=IDLE)
RATES = (3e-3, 1e-2, 3e-2)


def setting(name: str, rate: float, strategy: Strategy = WHOLE, **where: bool) -> Setting:
    """An arm; all share optimizer and schedule."""
    optimizer = adamw(rate, Cosine(warmup="10%"))
    return Setting(name=name, strategy=strategy, optimizer=optimizer, **where)


def prepare(data: Path, updates: int, reported: int) -> tuple[Bench, Part, Part]:
    """What the arms share, the pictures to choose on, and those that are reported."""
    source = hub.load(f"torch:{data}/w_resnet_cifar10/resnet20-12fca82f.th")
    if not isinstance(source.facts, ImageFacts):
        raise ValueError("the source does not say how its pictures were prepared")
    facts = dataclasses.replace(source.facts, size=28)
    pipeline = eval_pipeline(mean=facts.mean, std=facts.std, size=28)

    def part(split: str) -> Part:
        dataset = open_dataset(f"mnist:{data}/mnist", split)
        examples = [pipeline(dict(dataset[i])) for i in range(len(dataset))]
        labels = np.asarray([example["label"] for example in examples], np.int32)
        return Part(image=np.stack([example["image"] for example in examples]), label=labels)

    pool, held, test = part("train[:4000]"), part("train[4000:5000]"), part(f"test[:{reported}]")
    bench = Bench(
        model=Model(bodies.build(dict(source.body)), heads.Linear(10)),
        params=source.params,
        collections=source.collections,
        examples=pool.image,
        label=pool.label,
        steps=updates,
        batch_size=32,
    )
    return bench, held, test


def main() -> None:
    """Chooses, runs, prints and saves."""
    parser = options.parser(__doc__)
    parser.add_argument("--updates", type=int, default=60, help="updates of a run")
    parser.add_argument("--test", type=int, default=10_000, help="first so many test pictures")
    asked = parser.parse_args()
    bench, held, test = prepare(asked.data, asked.updates, asked.test)
    everyone = np.arange(len(bench.label))
    few = subsets(bench.label, (10,), PILOT, among=everyone)[10]
    log, chosen = [], []

    def pick(*trials: Setting) -> Setting:
        best, found = comparison.choose(bench, trials, few, PILOT, held)
        log.extend(found)
        chosen.append(best)
        return best

    pick(*(setting("from scratch", rate, scratch=True) for rate in RATES))
    body = Strategy(freeze="body")
    pick(*(setting("head only, cached", r, body, cached=True) for r in (3e-2, 1e-1, 3e-1)))
    whole = pick(*(setting("everything, one rate", rate) for rate in RATES))
    rate = whole.optimizer.rate
    pulls = [Strategy(pull=dataclasses.replace(IDLE, strength=s)) for s in (1.0, 10.0)]
    pick(*(setting("pulled, squared", rate, pull) for pull in pulls))
    # Compute is short: these two take over the rate chosen for everything.
    chosen.append(setting("bottom 2 frozen", rate, Strategy(freeze="bottom:2")))
    falling = Strategy(layer_decay=1 / ULMFIT_FACTOR, pull=IDLE)
    chosen.append(setting("discriminative rates", rate, falling))
    drawn = subsets(bench.label, COUNTS, SEEDS, among=everyone)
    asked.out.mkdir(parents=True, exist_ok=True)
    cells = comparison.run(
        bench, chosen, drawn, SEEDS, test, asked.out / "mnist_transfer.cells.json"
    )
    comparison.report(
        asked.out,
        "mnist_transfer",
        __doc__,
        cells,
        title="ResNet-20 from CIFAR-10 to MNIST",
        shown=10,
        setting="10 labels per class",
        protocol=[
            "One published source; intervals do not include the chance of its training.",
            "Five seeds: each draws labelled pictures (out of the first 4,000 training pictures), "
            "a head, an order, and the weights of 'from scratch'; runs of equal seed are pairs.",
            f"Every run: {asked.updates} updates of 32 pictures of 28 × 28, grey in three channels "
            "with the source's mean and deviation, no augmentation; AdamW, cosine, 10 % warm-up.",
            "Rates and the pull's strength: best of those tried (in the JSON) at 10 labels per "
            "class, seeds 100 and 101, on training pictures 4,000 to 5,000; used at 50 as well. "
            "'bottom 2 frozen' and 'discriminative rates' take the rate chosen for everything.",
            f"Figures are on the first {len(test.label)} test pictures, read once.",
        ],
        notes=[
            "Short runs, equal for all arms: nothing here says what longer training from scratch "
            "would reach.",
            "From scratch and head only were best at or beside the largest rate tried (3e-2 and "
            "3e-1): an earlier trial of 1e-3 to 1e-2 (head: 1e-2 to 1e-1) on the same validation "
            "pictures had shown them rising, so the grid was moved up once.",
        ],
        test_examples=len(test.label),
        trials=log,
        settings=chosen,
    )


if __name__ == "__main__":
    main()
