"""Published ResNet-20 and -32 (clean CIFAR-10) on the JPEG-compressed test pictures, untrained.

Measures accuracy on all 10,000 pictures, each counted once; PyTorch with the same files gives 0.810
and 0.826. The same by command line, for each file:

    tlearn evaluate torch:DIR/w_resnet_cifar10/FILE --data tar:DIR/cifar10_jpeg --split test

    python experiments/images/cifar_accuracy.py --data DIR --out experiments/results

DIR (default: environment variable TLEARN_DATA) holds cifar10_jpeg/ and w_resnet_cifar10/.
"""

import options
import tables

from tlearn.runs.reading import Selection
from tlearn.runs.use import score
from tlearn.studies.statistics import wilson

FILES = {"ResNet-20": "resnet20-12fca82f.th", "ResNet-32": "resnet32-d509ac18.th"}


def main() -> None:
    """Scores, prints and saves."""
    asked = options.parser(__doc__).parse_args()
    measured = {}
    for name, file in FILES.items():
        weights = f"torch:{asked.data}/w_resnet_cifar10/{file}"
        found = score(weights, Selection(f"tar:{asked.data}/cifar10_jpeg", "test"), batch_size=250)
        interval = wilson(round(found.metrics["accuracy"] * found.count), found.count)
        measured[name] = {
            **found.metrics,
            "examples": found.count,
            "wilson_95": [round(interval.low, 4), round(interval.high, 4)],
        }
    tables.save(asked.out, "cifar_accuracy", __doc__, measured, seeds=[])


if __name__ == "__main__":
    main()
