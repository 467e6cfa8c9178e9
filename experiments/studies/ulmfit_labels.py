"""How many labels a language model saves: IMDb at 100, 500 and 2,500 labels.

From scratch, from general text, and from general text adapted to reviews without labels: the curves
of ULMFiT's figure. All three train everything with the slanted triangle, as many updates at every
amount; each has its own best rate of two.

Published (Howard and Ruder 2018, figure 3 and its text): on IMDb 100 labels do what 10 times as
many do from scratch, and 100 times as many where the language model saw 50,000 unlabelled reviews.

    tlearn pipeline experiments/text/stages.py --out STAGES
    TLEARN_TEXT_RUN=STAGES tlearn study experiments/studies/ulmfit_labels.py --out DIR
"""

import bases

from tlearn.runs.config import replace
from tlearn.runs.study import Factor, Study

STAGES = "experiments/text/stages.py"

STUDY = Study(
    name="ulmfit-labels",
    title="Labels that a language model saves: IMDb",
    question="What do general text and unlabelled reviews add, at few and at more labels?",
    claim=(
        "100 labels do what 10 times as many do from scratch; with 50,000 unlabelled reviews, 100 "
        "times as many (Howard and Ruder 2018, figure 3)."
    ),
    base=replace(
        bases.reviews(bases.text_run("general", STAGES)),
        schedule="slanted-triangular",
    ),
    factors=(
        Factor(
            "source",
            {
                "from scratch": bases.SCRATCH,
                "general": {},
                "general, adapted": {"source": bases.text_run("reviews", STAGES)},
            },
        ),
        bases.rates(1e-3, 5e-3),
    ),
    seeds=(0, 1, 2, 3, 4),
    pilot_seeds=(100,),
    labels=(50, 250, 1250),
    shown=250,
    points=2,
)
