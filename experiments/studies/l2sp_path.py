"""The path of L2-SP: from fine-tuning to a frozen body by one number.

Differs from the base (ResNet-20 of CIFAR-10 to MNIST at 16 pixels, `bases.resnet_to_mnist`) in
the strength of the squared pull to the source, taken as an exact proximal step, and, as its far
end, in a frozen body. The head is free. One rate for all, so that the total pull Σ η·λ tells arms
apart; the head alone has a rate of its own.

Published: ResNet-101 of ImageNet: 79.3 without, 84.2 with L2-SP on MIT Indoors, 81.8 and 84.8 on
Stanford Dogs, 82.2 and 85.3 on Caltech-256 with 30 pictures a class, similar sources and targets,
total pull about 5 to 6 (Li, Grandvalet and Davoine, in the version of their paper that could be
read). A later benchmark has no gain on fine-grained targets (not confirmed). CIFAR-10 to MNIST is
a far target: 0 to 2 points were expected beforehand, with an inner optimum, and a falling
distance.

    TLEARN_DATA=DIR tlearn study experiments/studies/l2sp_path.py --out DIR
"""

import bases

from tlearn.runs.config import replace
from tlearn.runs.study import Factor, Study

STRENGTHS = (0.0, 0.3, 3.0, 30.0, 300.0)

STUDY = Study(
    name="l2sp-path",
    title="The path of L2-SP: ResNet-20 from CIFAR-10 to MNIST",
    question="Is there a pull that beats both plain fine-tuning and a frozen body?",
    claim=(
        "L2-SP adds 3 to 5 points to fine-tuning between similar tasks (Li, Grandvalet and Davoine "
        "2018, an earlier version): Indoors 79.3 to 84.2, Dogs 81.8 to 84.8, Caltech-256 82.2 to "
        "85.3."
    ),
    base=replace(bases.resnet_to_mnist(), pull="l2sp", pull_way="proximal"),
    factors=(
        Factor(
            "pull",
            {f"λ = {s:g}": {"pull_strength": s} for s in STRENGTHS}
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
    seeds=(0, 1, 2, 3, 4, 5, 6, 7),
    labels=(10,),
    points=3,
)
