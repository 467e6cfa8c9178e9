"""Does adaptation pay in the domain, and only there? IMDb at 500 labels, three sources.

The general language model as it is; adapted to 5,000 film reviews without labels; adapted to
newswire for as many updates. All train everything with the slanted triangle; each has its own best
rate of two.

Published: RoBERTa on all of IMDb 95.0, adapted to reviews 95.4; to a domain that has nothing to do
with the target it is often worse than none (Gururangan et al. 2020, table 3).

    tlearn pipeline experiments/text/stages.py --out STAGES
    TLEARN_TEXT_RUN=STAGES tlearn study experiments/studies/adaptation_domain.py --out DIR
"""

import bases

from tlearn.runs.config import replace
from tlearn.runs.study import Factor, Study

STAGES = "experiments/text/stages.py"

STUDY = Study(
    name="adaptation-domain",
    title="Adaptation in and out of the domain: IMDb, 500 labels",
    question="Does further pre-training help because of its domain, or because it is more?",
    claim=(
        "RoBERTa on IMDb: 95.0; adapted in domain 95.4; adaptation to another domain often hurts "
        "(Gururangan et al. 2020, table 3)."
    ),
    base=replace(
        bases.reviews(bases.text_run("general", STAGES)),
        schedule="slanted-triangular",
    ),
    factors=(
        Factor(
            "adapted to",
            {
                "nothing": {},
                "reviews": {"source": bases.text_run("reviews", STAGES)},
                "newswire": {"source": bases.text_run("newswire", STAGES)},
            },
        ),
        bases.rates(1e-3, 5e-3),
    ),
    seeds=(0, 1, 2, 3, 4),
    pilot_seeds=(100,),
    labels=(250,),
    points=2,
)
