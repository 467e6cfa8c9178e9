"""MobileNetV2 (ImageNet) on ants and bees without training its body.

Measures on the 153 validation pictures of `hymenoptera`, at 224 pixels:
the output "ant" against the output "bee" of the thousand-class head, nothing trained; a logistic
regression (solved to its optimum, l2 = 1/n, scikit-learn's default strength) on features computed
once of all 244 training pictures, as they are and standardised by their training mean and
deviation; and the same on the features of random bodies of that shape (with BatchNorm's initial
statistics), 3 seeds. Nothing is chosen on any data. As they are, random features are so small that
the regression does no more than name the commoner class.

    python experiments/images/hymenoptera_untrained.py --data DIR --out experiments/results

DIR (default: environment variable TLEARN_DATA) holds hymenoptera/ and w_mobilenet_v2_imagenet/.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import options
import tables

from tlearn import bodies, heads, hub
from tlearn.bodies import ImageFacts
from tlearn.data import Batches, eval_pipeline, open_dataset
from tlearn.model import Model, initialise, variables
from tlearn.studies.statistics import wilson
from tlearn.transfer.logistic import logistic_regression

JUNK = "train/ants/imageNotFound.gif"
SEEDS = (0, 1, 2)


def main() -> None:
    """Measures, prints and saves."""
    asked = options.parser(__doc__).parse_args()
    weights = asked.data / "w_mobilenet_v2_imagenet" / "mobilenet_v2_dequantized_fp16.safetensors"
    source = hub.load(f"safetensors:{weights}")
    if not isinstance(source.facts, ImageFacts) or source.head is None:
        raise ValueError("the source lacks its head or the preparation of its pictures")
    facts = source.facts
    pipeline = eval_pipeline(mean=facts.mean, std=facts.std, size=facts.size, crop=facts.crop)
    model = Model(bodies.build(dict(source.body)), heads.build(dict(source.head)))

    @jax.jit
    def both(params: Any, collections: Any, image: Any) -> Any:
        features, logits = model.apply(
            variables(params, collections), image, train=False, method="both"
        )
        return features.pooled, logits

    parts = {}
    for split in ("train", "val"):
        dataset = open_dataset(f"folder:{asked.data}/hymenoptera", split, exclude=(JUNK,))
        parts[split] = Batches(dataset, pipeline, 32, seed=0, shuffle=False)

    def compute(params: Mapping[str, Any], collections: Mapping[str, Any], split: str) -> Any:
        found = []
        for batch in parts[split].epoch():
            real = batch["mask"] > 0
            pooled, logits = both(params, collections, batch["image"])
            found.append([np.asarray(x)[real] for x in (pooled, logits, batch["label"])])
        return [np.concatenate(column) for column in zip(*found, strict=True)]

    def probe(params: Mapping[str, Any], collections: Mapping[str, Any]) -> tuple[list[int], Any]:
        x, _, y = compute(params, collections, "train")
        x_val, logits, y_val = compute(params, collections, "val")
        mean, std = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
        std[std == 0] = 1.0
        right = []
        for shift, scale in ((0.0, 1.0), (mean, std)):
            fit = logistic_regression((x - shift) / scale, y, 2, 1 / len(x))
            if not fit.converged:
                raise ArithmeticError("the logistic regression did not converge")
            right.append(int((fit.logits((x_val - shift) / scale).argmax(1) == y_val).sum()))
        return right, (logits, y_val)

    (right, standardised), (logits, label) = probe(source.params, source.collections)
    # Label names of the folders, in their order: ants, bees.
    pair = logits[:, [source.label_index("ant"), source.label_index("bee")]]
    untrained = int((pair.argmax(1) == label).sum())
    exact = np.array([source.label_index("ant"), source.label_index("bee")])[label]
    ranked = np.argsort(-logits, axis=1)
    picture = jax.ShapeDtypeStruct((1, facts.size, facts.size, 3), jnp.float32)
    random = {seed: probe(*initialise(model, jax.random.key(seed), picture))[0] for seed in SEEDS}

    def share(count: int) -> dict[str, Any]:
        interval = wilson(count, len(label))
        shown = [round(interval.low, 4), round(interval.high, 4)]
        return {"right": count, "accuracy": round(count / len(label), 4), "wilson_95": shown}

    measured = {
        "pictures": len(label),
        "ant_against_bee_untrained": share(untrained),
        "exact_class_top1": share(int((ranked[:, 0] == exact).sum())),
        "exact_class_top5": share(int((ranked[:, :5] == exact[:, None]).any(1).sum())),
        "logistic_on_features": share(right),
        "logistic_on_standardised_features": share(standardised),
        "logistic_on_random_bodies": {seed: share(found[0]) for seed, found in random.items()},
        "logistic_on_standardised_random_bodies": {
            seed: share(found[1]) for seed, found in random.items()
        },
        "standardised_random_mean": round(
            float(np.mean([found[1] for found in random.values()])) / len(label), 4
        ),
    }
    tables.save(asked.out, "hymenoptera_untrained", __doc__, measured, seeds=SEEDS)


if __name__ == "__main__":
    main()
