"""Forgetting against pull: what is left of the source's own task.

Differs from the base (ResNet-20 of CIFAR-10 to MNIST at 16 pixels, `bases.resnet_to_mnist`) in
the strength of the squared pull to the source, and in a frozen body at its far end; three arms
normalise by the source's stored statistics instead of the batch's, because a pull holds
parameters only. After training the source's head is put back and tried on 1,000 of CIFAR-10's
test pictures (100 a class; JPEG copies, on which the source itself has 0.81).

Published: no single figure. Plain fine-tuning forgets (ULMFiT's figure 4; L2-SP's motive); a
frozen body whose normalisation runs on stored statistics keeps the source's accuracy exactly.
Expected beforehand: from 0.8 to between 0.1 and 0.25 without a pull, exactly unchanged when
frozen.

    TLEARN_DATA=DIR tlearn study experiments/studies/forgetting.py --out DIR
"""

import bases

from tlearn.runs.config import replace
from tlearn.runs.study import Factor, Study

PICTURES = "+".join(f"test[{k}%:{k + 1}%]" for k in range(0, 100, 10))
"""Pictures lie sorted by class: a hundredth of the test part out of every tenth of it."""

STUDY = Study(
    name="forgetting",
    title="Forgetting against pull: CIFAR-10 after MNIST",
    question="What does a pull keep of the source's own task, and what does that cost?",
    claim=(
        "No figure; a pull is meant to keep what the source knew (Li, Grandvalet and Davoine 2018)."
    ),
    base=replace(bases.resnet_to_mnist(), pull="l2sp", pull_way="proximal"),
    factors=(
        Factor(
            "pull",
            {f"λ = {s:g}": {"pull_strength": s} for s in (0.0, 3.0, 30.0, 300.0)}
            | {
                f"λ = {s:g}, stored statistics": {"pull_strength": s, "norms": "eval"}
                for s in (0.0, 30.0, 300.0)
            }
            | {
                "frozen": {
                    "freeze": "body",
                    "features": "once",
                    "pull_way": "loss",
                    "rate": 1e-1,
                }
            },
        ),
    ),
    seeds=(0, 1, 2, 3, 4),
    labels=(50,),
    points=2,
    notes=(
        "The arms with stored statistics were added after a first round, in which a strong pull "
        "had kept the parameters and not the task.",
        "One rate for all: 0.01 is too large where the batch does not normalise, so λ = 0 with "
        "stored statistics ends at chance, and is no measure of plain fine-tuning.",
    ),
    measures=("distance", "cka"),
    remember=f"tar:{bases.data('cifar10_jpeg')}@{PICTURES}",
)
