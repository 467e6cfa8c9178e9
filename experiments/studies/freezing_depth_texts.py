"""Freezing depth on texts: is a quarter of the layers enough?

Differs from the base (MiniLM-L6 to TREC-6's questions, `bases.minilm_to`) in how many of the six
blocks train, from the top: none (the head alone), one, two, or everything. What is frozen,
the embeddings included, runs once over the data. Each arm has its own best rate, the head's ten
times the body's: with the body's rate a head on frozen features is not trained at all (as the
last column of a well-known table of freezing depths on SST-2 shows).

Published: tuning the last quarter of the layers reaches about 90 % of the quality of tuning all
(Lee, Tang and Lin 2019; read in a transcription only). RoBERTa-base on 1,000 labels of SST-2:
0.905 with nothing frozen, 0.913 with 4, 0.910 with 8, 0.891 with 10 of 12 blocks frozen (a blog's
table, 5 seeds).

    TLEARN_DATA=DIR tlearn study experiments/studies/freezing_depth_texts.py --out DIR
"""

import bases

from tlearn.runs.config import replace
from tlearn.runs.study import Factor, Study

STUDY = Study(
    name="freezing-depth-texts",
    title="Freezing depth: MiniLM-L6 on questions",
    question="How many blocks have to train?",
    claim=(
        "Tuning the last quarter of the layers gives about 90 % of the quality of tuning all (Lee, "
        "Tang and Lin 2019, by a transcription)."
    ),
    base=replace(
        bases.minilm_to("trec6", width=16),
        train_split="train[500:]",
        validation="train[:300]",
        head_rate=10.0,
        length="40st",
    ),
    factors=(
        Factor(
            "trained",
            {
                "everything": {"freeze": "none", "features": "each-step"},
                "top 2 blocks": {"freeze": "bottom:5"},
                "top block": {"freeze": "bottom:6"},
                "head": {"freeze": "bottom:7"},
            },
        ),
        bases.rates(3e-4, 1e-3),
    ),
    reference="everything",
    seeds=(0, 1, 2, 3, 4),
    pilot_seeds=(100,),
    labels=(40,),
    points=2,
    notes=(
        "Two rates were tried, and every arm chose an end of the range: the head above all may "
        "gain from larger ones.",
    ),
)
