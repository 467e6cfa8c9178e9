"""ULMFiT's ladder in small: what pre-training, adaptation and each trick of fine-tuning buy.

The base is the small AWD-LSTM (1 M parameters) that ``tlearn pipeline ulmfit-demo`` pre-trains on
the standard library's documentation and adapts to scipy's; the task tells which part of scipy a
description is from, 50 labels a class. Arms differ from it as rungs do: from scratch, pre-trained
but not adapted, the head alone, everything at one rate, with rates that fall by 1/2.6, with the
slanted triangle, with gradual unfreezing, with all three. Each has its own best rate of two.

Published (errors on validation, one run each; Howard and Ruder 2018, tables 4, 6 and 7): TREC-6
without pre-training 10.67, with 5.69; from scratch 13.36, head alone 16.09, everything 6.86, with
falling rates 6.21, gradual 6.86, all three 5.69; without adaptation 6.38. Only from scratch and
the head alone are clear of the rest there.

    tlearn pipeline ulmfit-demo --out DEMO
    TLEARN_TEXT_RUN=DEMO tlearn study experiments/studies/ulmfit_ladder.py --out DIR
"""

import bases

from tlearn.runs.config import DataConfig, RunConfig, replace
from tlearn.runs.study import Study

STUDY = Study(
    name="ulmfit-ladder",
    title="ULMFiT's ladder in small: documentation of scipy",
    question="Which rung of the ladder is worth something here?",
    claim=(
        "Errors on TREC-6: from scratch 13.36, head alone 16.09, everything 6.86, with falling "
        "rates 6.21, with all three tricks 5.69; not adapted 6.38 (Howard and Ruder 2018, tables 6 "
        "and 7)."
    ),
    base=replace(
        RunConfig(
            data=DataConfig(data="embedded:scipy", train_split="train", test_split="test"),
            source=bases.text_run("adapt"),
        ),
        head="ulmfit",
        max_length=32,
        widths="32",
        optimizer="adamw",
        rate=1e-2,
        schedule="constant",
        clip=1.0,
        length="80st",
        batch_size=16,
    ),
    factors=(
        bases.rungs(bases.text_run("pretrain")),
        bases.rates(3e-3, 1e-2),
    ),
    seeds=(0, 1, 2, 3, 4),
    pilot_seeds=(100,),
    labels=(50,),
    points=2,
)
