"""MobileNetV2 from ImageNet to ants and bees, against the same network from scratch.

Measures accuracy on the 153 validation pictures of `hymenoptera` at 5, 20 and all (122 on average)
labels per class, 5 paired seeds: head only on cached features, bottom layers frozen, fine-tuned
whole, pulled to the source squared (L2-SP) and unsquared. ImageNet has ant and bee among its
classes, so this transfer is easy by design. Nothing is chosen on any data here: rates and strengths
are set beforehand (see the arms). Compute is short: pictures of 96 pixels, short runs.

The stored weights have their BatchNorm folded away, so arms that start from them normalise by the
stored statistics (mode "eval"); from scratch, BatchNorm works as usual.

    python experiments/images/hymenoptera_transfer.py --data DIR --out experiments/results

DIR (default: environment variable TLEARN_DATA) holds hymenoptera/ and w_mobilenet_v2_imagenet/.
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
from tlearn.transfer.strategy import Strategy

JUNK = "train/ants/imageNotFound.gif"
EVAL = ((".*", "eval"),)
SEEDS, ALL = (0, 1, 2, 3, 4), 122


def arms() -> list[Setting]:
    """The arms: AdamW at 1e-3, a usual rate, for what starts fresh; a tenth for loaded weights."""

    def setting(name: str, rate: float, strategy: Strategy, **where: bool) -> Setting:
        optimizer = adamw(rate, Cosine(warmup="10%"))
        return Setting(name=name, strategy=strategy, optimizer=optimizer, **where)

    squared = Pull(form="l2sp", strength=100.0, way="decoupled")
    # An idle pull of the same form and way: with it or not, one program.
    idle = dataclasses.replace(squared, strength=0.0)
    loaded = Strategy(modes=EVAL, head_rate=10.0, pull=idle)
    unsquared = Pull(form="norm", strength=10.0, way="proximal")
    return [
        setting("from scratch", 1e-3, Strategy(), scratch=True),
        setting("head only, cached", 1e-3, Strategy(freeze="body"), cached=True),
        setting("bottom 6 frozen", 1e-4, dataclasses.replace(loaded, freeze="bottom:6")),
        setting("fine-tuned whole", 1e-4, loaded),
        setting("pulled, squared", 1e-4, dataclasses.replace(loaded, pull=squared)),
        setting("pulled, unsquared", 1e-4, dataclasses.replace(loaded, pull=unsquared)),
    ]


def prepare(
    data: Path, updates: int, batch_size: int, size: int
) -> tuple[Bench, Part, dict[int, list[np.ndarray]]]:
    """What the arms share, the reported pictures, and the labels every run may use."""
    weights = data / "w_mobilenet_v2_imagenet" / "mobilenet_v2_dequantized_fp16.safetensors"
    source = hub.load(f"safetensors:{weights}")
    if not isinstance(source.facts, ImageFacts):
        raise ValueError("the source does not say how its pictures were prepared")
    facts = source.facts
    pipeline = eval_pipeline(mean=facts.mean, std=facts.std, size=size, crop=facts.crop)

    def part(split: str) -> Part:
        dataset = open_dataset(f"folder:{data}/hymenoptera", split, exclude=(JUNK,))
        examples = [pipeline(dict(dataset[i])) for i in range(len(dataset))]
        labels = np.asarray([example["label"] for example in examples], np.int32)
        return Part(image=np.stack([example["image"] for example in examples]), label=labels)

    train, test = part("train"), part("val")
    bench = Bench(
        model=Model(bodies.build(dict(source.body)), heads.Linear(2)),
        params=source.params,
        collections=source.collections,
        examples=train.image,
        label=train.label,
        steps=updates,
        batch_size=batch_size,
    )
    everyone = np.arange(len(train.label))
    drawn = subsets(train.label, (5, 20), SEEDS, among=everyone)
    return bench, test, {20: drawn[20], ALL: [everyone] * len(SEEDS), 5: drawn[5]}


def main() -> None:
    """Runs, prints and saves."""
    parser = options.parser(__doc__)
    parser.add_argument("--updates", type=int, default=30, help="updates of a run")
    parser.add_argument("--batch-size", type=int, default=8, help="pictures of an update")
    parser.add_argument("--size", type=int, default=96, help="pixels of a side")
    asked = parser.parse_args()
    bench, test, drawn = prepare(asked.data, asked.updates, asked.batch_size, asked.size)
    asked.out.mkdir(parents=True, exist_ok=True)
    name = "hymenoptera_transfer"
    cells = comparison.run(bench, arms(), drawn, SEEDS, test, asked.out / f"{name}.cells.json")
    comparison.report(
        asked.out,
        name,
        __doc__,
        cells,
        title="MobileNetV2 from ImageNet to ants and bees",
        shown=20,
        setting="20 labels per class",
        protocol=[
            "One published source; intervals do not include the chance of its training.",
            "Five seeds: each draws labelled pictures (none to draw where all are used: the seed "
            "is then head, order and fresh weights), and runs of equal seed are pairs.",
            f"Every run: {asked.updates} updates of {asked.batch_size} pictures of {asked.size} "
            f"pixels, no augmentation; AdamW, cosine, 10 % warm-up. {ALL} labels per class means "
            "all 244 (123 ants, 121 bees).",
            "Rates and strengths were set beforehand, not chosen on any data: 1e-3 for what is "
            "fresh, 1e-4 for what is loaded.",
            f"Figures are on the {len(test.label)} validation pictures, read once.",
        ],
        notes=[
            "The frozen features already hold ants and bees as classes: little is left to learn.",
            "From scratch, every run ends by naming one class for all pictures: runs this short "
            "are no training for it. `scratch_longer.py` gives it five times the updates.",
        ],
        test_examples=len(test.label),
        trials=[],
        settings=arms(),
    )


if __name__ == "__main__":
    main()
