"""MobileNetV2 (ImageNet) on ants and bees without training its body.

Measures on the 153 validation pictures of `hymenoptera`, at 224 pixels:
the output "ant" against the output "bee" of the thousand-class head, nothing trained; a logistic
regression (solved to its optimum, l2 = 1/n, scikit-learn's default strength) on features computed
once of all 244 training pictures; and the same on the features of random bodies of that shape (with
BatchNorm's initial statistics), 3 seeds. Nothing is chosen on any data.

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
    if source.facts is None or source.head is None:
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

    def probe(params: Mapping[str, Any], collections: Mapping[str, Any]) -> tuple[int, Any]:
        x, _, y = compute(params, collections, "train")
        fit = logistic_regression(x, y, 2, 1 / len(x))
        if not fit.converged:
            raise ArithmeticError("the logistic regression did not converge")
        x, logits, y = compute(params, collections, "val")
        return int((fit.logits(x).argmax(1) == y).sum()), (logits, y)

    right, (logits, label) = probe(source.params, source.collections)
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
        "logistic_on_random_bodies": {seed: share(count) for seed, count in random.items()},
        "random_bodies_mean": round(float(np.mean(list(random.values()))) / len(label), 4),
    }
    tables.save(asked.out, "hymenoptera_untrained", __doc__, measured, seeds=SEEDS)


if __name__ == "__main__":
    main()
