"""Freezing depth on pictures: how much of a body can stay as it was.

Differs from the base (ResNet-20 of CIFAR-10 to MNIST at 16 pixels, `bases.resnet_to_mnist`) in
how many layers from the bottom stay frozen: none, the stem, one, two, all three stages. What is
frozen runs once over the data. Each arm has its own best rate; the head's is ten times the
body's.

Published: of AlexNet's layers 1 and 2 transfer almost perfectly, from layer 4 on freezing costs
more and more, at the last layer 8 points between similar and 25 between dissimilar halves of
ImageNet (Yosinski et al. 2014); tuned copies end 1.6 points above training on the target alone.

    TLEARN_DATA=DIR tlearn study experiments/studies/freezing_depth_pictures.py --out DIR
"""

import bases

from tlearn.runs.config import replace
from tlearn.runs.study import Factor, Study

DEPTHS = {"stem": 1, "to stage 1": 2, "to stage 2": 3, "whole body": 4}

STUDY = Study(
    name="freezing-depth-pictures",
    title="Freezing depth: ResNet-20 from CIFAR-10 to MNIST",
    question="From which layer on does freezing cost accuracy?",
    claim=(
        "Layers 1 and 2 of AlexNet transfer almost perfectly; frozen to the last layer it loses 8 "
        "points between similar, 25 between dissimilar tasks (Yosinski et al. 2014)."
    ),
    base=replace(bases.resnet_to_mnist(), head_rate=10.0),
    factors=(
        Factor(
            "frozen",
            {"nothing": {}}
            | {n: {"freeze": f"bottom:{k}", "features": "once"} for n, k in DEPTHS.items()},
        ),
        bases.rates(3e-3, 1e-2, 3e-2),
    ),
    seeds=(0, 1, 2, 3, 4),
    labels=(20,),
    points=3,
)
