"""The factor between the rates of neighbouring layers: 1, 1/1.3, 1/2.6, 1/5.

Differs from the base (a ViT of MNIST to scikit-learn's digits, `bases.vit_to`) in that factor.
The peak rate, which is the head's and the top layer's, is chosen for every arm: without that a
smaller factor would only mean smaller steps.

Published: a factor of 1/2.6 takes the error on IMDb from 6.87 to 5.57, on TREC-6 from 6.86 to
6.21, on AG from 5.81 to 5.62 (Howard and Ruder 2018, table 7; one run each, so only IMDb's is
clear). The paper's body has four layers; in one of eight 1/2.6 leaves the lowest a thousandth of
the rate.

    TLEARN_DATA=DIR tlearn study experiments/studies/discriminative_rates.py --out DIR
"""

import bases

from tlearn.runs.study import Factor, Study

STEPS = {"1": 1.0, "1/1.3": 1 / 1.3, "1/2.6": 1 / 2.6, "1/5": 1 / 5}

STUDY = Study(
    name="discriminative-rates",
    title="Discriminative rates: which factor?",
    question="Does a factor between layers' rates help, once every factor has its own best rate?",
    claim=(
        "Error with one rate and with 1/2.6: IMDb 6.87 and 5.57, TREC-6 6.86 and 6.21, AG 5.81 and "
        "5.62 (Howard and Ruder 2018, table 7)."
    ),
    base=bases.vit_to("digits", length="60st"),
    factors=(
        Factor("factor", {name: {"layer_decay": value} for name, value in STEPS.items()}),
        bases.rates(3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    ),
    seeds=(0, 1, 2, 3, 4, 5),
    labels=(10,),
    points=3,
    notes=(
        "Rates 0.01 and 0.03 were added after a first round, whose pilots chose the largest of "
        "three, 0.003, for every factor but 1.",
    ),
)
