"""The head first, then everything (LP-FT): in and out of distribution.

Differs from the base (ResNet-20 of CIFAR-10, pictures of 16 pixels) in its data: trained and
chosen on MNIST, reported on scikit-learn's digits, which are other writers, another scanner and 8
pixels. Arms: the head alone, everything at once, the head for three epochs and then everything,
everything but the stem and the first stage. Normalisation runs on the source's statistics in all
arms, as in the paper's second step; the head's rate is ten times the body's; each arm has its own
best rate, by MNIST. Accuracy in distribution is the validation accuracy of the reported runs.

Published, mean over ten shifts: fine-tuning is 2 points above the head alone in distribution and
7 below it out of it; the head first is 1 above fine-tuning in distribution and 10 out of it
(Kumar et al. 2022, abstract). Freezing the embedding layer alone was worth 4.7 points out of
distribution in a file of results beside their code (columns inferred).

    python experiments/studies/shifted_pictures.py --data DIR --out SHIFTED
    TLEARN_DATA=DIR TLEARN_SHIFTED=SHIFTED tlearn study \
        experiments/studies/head_first_out_of_distribution.py --out DIR
"""

import bases

from tlearn.runs.config import replace
from tlearn.runs.study import Factor, Study

STUDY = Study(
    name="head-first-out-of-distribution",
    title="Head first, then everything: trained on MNIST, reported on other digits",
    question="Does fitting the head first keep what helps out of distribution?",
    claim=(
        "Fine-tuning is 7 points below the head alone out of distribution, the head first and then "
        "everything 10 points above fine-tuning (Kumar et al. 2022, mean over ten shifts)."
    ),
    base=replace(
        bases.resnet_to_mnist(),
        data=f"idx:{bases.shifted()}",
        train_split="train[:4000]",
        validation="train[4000:5000]",
        test_split="test",
        norms="eval",
        head_rate=10.0,
        length="100st",
    ),
    factors=(
        Factor(
            "way",
            {
                "everything": {},
                "head alone": {"freeze": "body", "features": "once"},
                "head first": {"unfreeze": "head-first", "stage_epochs": 3.0},
                "bottom 2 frozen": {"freeze": "bottom:2", "features": "once"},
            },
        ),
        bases.rates(1e-3, 3e-3, 1e-2),
    ),
    seeds=(0, 1, 2, 3, 4),
    labels=(50,),
    points=2,
    notes=(
        "The reported part is of another domain than what rates are chosen on: that is the "
        "question. Accuracy in distribution is the validation accuracy of the reported runs.",
        "The head alone and the head first chose an end of the range of rates. One rate serves "
        "both steps of the latter, whose second begins where the schedule has fallen to half.",
    ),
)
