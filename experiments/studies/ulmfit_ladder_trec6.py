"""ULMFiT's ladder on questions: TREC-6 at 600 labels.

A small AWD-LSTM (1.4 M parameters) has read 20 newsgroups and a part of WikiText-2, and was adapted
to TREC's questions without their labels. Arms differ as rungs do: from scratch, pre-trained but not
adapted, the head alone, everything at one rate, with rates that fall by 1/2.6, with the slanted
triangle, with gradual unfreezing, with all three. A seed draws the 600 labelled questions, classes
in their shares. Each arm has its own best rate of three.

Published (errors on validation, one run each; Howard and Ruder 2018, tables 4, 6 and 7; 5,452
labels): without pre-training 10.67, with 5.69; from scratch 13.36, head alone 16.09, everything
6.86, with falling rates 6.21, gradual 6.86, all three 5.69; without adaptation 6.38.

    tlearn pipeline experiments/text/stages.py --out STAGES
    TLEARN_TEXT_RUN=STAGES tlearn study experiments/studies/ulmfit_ladder_trec6.py --out DIR
"""

import bases

from tlearn.runs.config import DataConfig, RunConfig, replace
from tlearn.runs.study import Study

STAGES = "experiments/text/stages.py"

STUDY = Study(
    name="ulmfit-ladder-trec6",
    title="ULMFiT's ladder on TREC-6, 600 labels",
    question="Which rung of the ladder is worth something on questions?",
    claim=(
        "Errors on TREC-6: from scratch 13.36, head alone 16.09, everything 6.86, with falling "
        "rates 6.21, with all three tricks 5.69; not adapted 6.38 (Howard and Ruder 2018, tables 6 "
        "and 7)."
    ),
    base=replace(
        RunConfig(
            data=DataConfig(
                data=f"text:{bases.data('trec6')}",
                train_split="train[:5000]",
                validation="train[5000:]",
                test_split="test",
                labelled=600,
            ),
            source=bases.text_run("questions", STAGES),
        ),
        head="ulmfit",
        max_length=32,
        widths="32",
        optimizer="adamw",
        rate=3e-3,
        schedule="constant",
        clip=1.0,
        length="190st",
        batch_size=32,
    ),
    factors=(
        bases.rungs(bases.text_run("general", STAGES)),
        bases.rates(1e-3, 3e-3, 1e-2),
    ),
    seeds=(0, 1, 2, 3, 4),
    pilot_seeds=(100,),
    points=2,
)
