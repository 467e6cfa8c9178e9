"""What comes before the labels, on real texts: a general language model, adapted in three ways.

A small AWD-LSTM reads WikiText-2's valid and test parts and the training part of 20 newsgroups. It
goes on with film reviews that have no labels (IMDb's own domain), with newswire in as many updates
(another one), and with TREC's questions. Documents that hold a test text are left out everywhere.

    TLEARN_DATA=DIR tlearn pipeline experiments/text/stages.py --out runs/stages

DIR holds wikitext2_part/, newsgroups20/, imdb/, reuters_r8/ and trec6/. The studies
`ulmfit_ladder.py`, `ulmfit_labels.py` and `adaptation_domain.py` of `experiments/studies` fine-tune
what comes out.
"""

import os
from pathlib import Path

from tlearn.runs.config import DataConfig, HeadConfig, RunConfig, replace
from tlearn.runs.objective_config import ObjectiveConfig
from tlearn.runs.pipeline import Pipeline, RunStage, TokenizerStage

DATA = Path(os.environ["TLEARN_DATA"]).expanduser().absolute()
GENERAL = f"wikitext:{DATA}/wikitext2_part+jsonl:{DATA}/newsgroups20/train.jsonl.gz"
HELD_OUT = (f"text:{DATA}/imdb@test", f"text:{DATA}/trec6@test")
VOCABULARY, ROW, BATCH = 6000, 35, 32
UPDATES = 1200
"""Of each adaptation to one of two domains: once through the reviews."""

GENERAL_RUN = replace(
    RunConfig(
        data=DataConfig(data=GENERAL, validation="2%"),
        objective=ObjectiveConfig(objective="next_tokens", row_length=ROW, held_out=HELD_OUT),
    ),
    body="awd-lstm-small",
    settings=("dropout_scale=0.1",),
    tokenizer="stage:tokenizer",
    optimizer="adamw",
    rate=4e-3,
    schedule="linear:warmup=5%",
    weight_decay=0.01,
    clip=1.0,
    batch_size=BATCH,
    length="1ep",
    report_every=100,
    checkpoint_every=1000,
)


def adapted(name: str, corpus: str, length: str, *, text_column: str = "") -> RunStage:
    """Goes on with another corpus, and tells what is forgotten of the general one."""
    run = replace(
        GENERAL_RUN,
        data=DataConfig(data=corpus, validation="5%", text_column=text_column),
        body=RunConfig(data=DataConfig(data=corpus)).body,
        source="stage:general",
        head=HeadConfig(head_weights="source"),
        rate=2e-3,
        length=length,
        remember="source",
    )
    return RunStage(name=name, run=run)


PIPELINE = Pipeline(
    name="stages",
    about="a general language model, adapted to film reviews, to newswire and to questions",
    stages=(
        TokenizerStage(
            name="tokenizer", corpus=GENERAL, kind="bpe", vocab_size=VOCABULARY, held_out=HELD_OUT
        ),
        RunStage(name="general", run=GENERAL_RUN),
        adapted("reviews", f"lines:{DATA}/imdb/unsup_5k.txt.gz", f"{UPDATES}st"),
        adapted(
            "newswire", f"table:{DATA}/reuters_r8/train.tsv.gz", f"{UPDATES}st", text_column="2"
        ),
        adapted("questions", f"dataset:text:{DATA}/trec6", "5ep"),
    ),
)
