"""Pulls with a corner: exact proximal steps against a term of the loss.

Differs from the base (ResNet-20 of CIFAR-10 to MNIST at 16 pixels, `bases.resnet_to_mnist`) in
the pull to the source: none, the absolute distance (L1-SP) or the norm of each output channel's
(GL-SP), each as a term of the loss, whose sub-gradient goes through Adam, or as an exact proximal
step after Adam's. The strength is chosen for every arm.

Published: both did slightly worse than L2-SP; "we suspect SGD is not suited" to the corner at the
start, and smoothing it did not help (Li, Grandvalet and Davoine 2018). They tried no proximal
step.

    TLEARN_DATA=DIR tlearn study experiments/studies/exact_proximal.py --out DIR
"""

import bases

from tlearn.runs.study import Factor, Study

PULLS = {
    f"{form}, {way}": {"pull": form, "pull_way": way}
    for form in ("l1", "group")
    for way in ("loss", "proximal")
}

STUDY = Study(
    name="exact-proximal",
    title="L1 and group pulls: exact proximal steps against the loss",
    question="Does an exact proximal step make pulls with a corner work?",
    claim=(
        "L1-SP and GL-SP do slightly worse than L2-SP; sub-gradients are suspected (Li, Grandvalet "
        "and Davoine 2018). No figure for proximal steps is published."
    ),
    base=bases.resnet_to_mnist(),
    factors=(
        Factor("pull", {"none": {}} | PULLS),
        Factor(
            "strength",
            {f"{v:g}": {"pull_strength": v} for v in (1e-3, 1e-2, 1e-1)},
            "nuisance",
            tuple(PULLS),
        ),
    ),
    seeds=(0, 1, 2, 3, 4),
    pilot_seeds=(100,),
    labels=(10,),
    points=2,
)
