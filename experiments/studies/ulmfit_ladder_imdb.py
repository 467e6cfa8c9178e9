"""ULMFiT's ladder on film reviews: IMDb at 500 labels.

A small AWD-LSTM (1.4 M parameters) has read 20 newsgroups and a part of WikiText-2, and was adapted
to 5,000 reviews without labels. Arms as in `ulmfit_ladder_trec6.py`; each has its own best rate of
two. Only the first 128 tokens of a review are read.

Published (errors on validation, one run each; Howard and Ruder 2018, tables 4, 6 and 7; 25,000
labels): from scratch 9.93, head alone 6.49, everything 6.87, with falling rates 5.57, gradual 6.37,
all three 5.00; without adaptation 6.99.

    tlearn pipeline experiments/text/stages.py --out STAGES
    TLEARN_TEXT_RUN=STAGES tlearn study experiments/studies/ulmfit_ladder_imdb.py --out DIR
"""

import bases

from tlearn.runs.study import Study

STAGES = "experiments/text/stages.py"

STUDY = Study(
    name="ulmfit-ladder-imdb",
    title="ULMFiT's ladder on IMDb, 500 labels",
    question="Which rung of the ladder is worth something on film reviews?",
    claim=(
        "Errors on IMDb: from scratch 9.93, head alone 6.49, everything 6.87, with falling rates "
        "5.57, with all three tricks 5.00; not adapted 6.99 (Howard and Ruder 2018, tables 6 and "
        "7)."
    ),
    base=bases.reviews(bases.text_run("reviews", STAGES)),
    factors=(
        bases.rungs(bases.text_run("general", STAGES)),
        bases.rates(1e-3, 5e-3),
    ),
    seeds=(0, 1, 2, 3, 4),
    pilot_seeds=(100,),
    labels=(250,),
    points=2,
)
