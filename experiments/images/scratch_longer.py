"""How far more updates carry training from scratch, at the largest amounts of labels.

Measures the reference arm of `hymenoptera_transfer.py` (all 244 pictures, 96 pixels) and of
`mnist_transfer.py` (50 labels per class, the rate chosen there) with five times the updates the
other arms have, over the same 5 seeds: is transfer ahead only because its runs are short?

    python experiments/images/scratch_longer.py --data DIR --out experiments/results

DIR (default: environment variable TLEARN_DATA): see those two.
"""

from typing import Any

import comparison
import hymenoptera_transfer
import mnist_transfer
import numpy as np
import options
import tables
from comparison import Part

from tlearn.studies.arms import Bench, Setting, run_cell, subsets
from tlearn.studies.statistics import summarize

SEEDS, TIMES = (0, 1, 2, 3, 4), 5


def measure(bench: Bench, setting: Setting, drawn: list[np.ndarray], test: Part) -> dict[str, Any]:
    """Accuracy of every seed, and their mean with its interval."""
    cell = run_cell(bench, setting, drawn, SEEDS, evaluate_on=test.image)
    right = (cell.logits.argmax(-1) == test.label).mean(axis=1)
    scores = {seed: None if i in cell.failed else float(right[i]) for i, seed in enumerate(SEEDS)}
    found = {
        "updates": bench.steps,
        "rate": setting.optimizer.rate,
        "accuracy": scores,
        "summary": str(summarize(scores)),
        "wall_s": round(cell.wall_s, 1),
    }
    print(found, flush=True)
    return found


def main() -> None:
    """Measures, prints and saves."""
    asked = options.parser(__doc__).parse_args()
    bench, test, drawn = hymenoptera_transfer.prepare(asked.data, 30 * TIMES, 8, 96)
    scratch = {arm.name: arm for arm in hymenoptera_transfer.arms()}[comparison.REFERENCE]
    everything = drawn[hymenoptera_transfer.ALL]
    measured = {"hymenoptera, all labels": measure(bench, scratch, everything, test)}
    bench, _, test = mnist_transfer.prepare(asked.data, 60 * TIMES, 10_000)
    among = np.arange(len(bench.label))
    fifty = subsets(bench.label, mnist_transfer.COUNTS, SEEDS, among=among)[50]
    scratch = mnist_transfer.setting(comparison.REFERENCE, 3e-2, scratch=True)
    measured["mnist, 50 labels per class"] = measure(bench, scratch, fifty, test)
    tables.save(asked.out, "scratch_longer", __doc__, measured, seeds=SEEDS)


if __name__ == "__main__":
    main()
