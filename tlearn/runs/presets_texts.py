"""Recipes of fine-tuning on texts with labels, for sources that were pre-trained on language."""

from typing import Any

from tlearn.runs.preset import Preset

SST2 = "67349x2"
"""SST-2 of GLUE: 67,349 training phrases of 2 classes (Wang et al. 2019)."""
_GLUE: dict[str, Any] = {"optimizer": "adamw", "batch_size": 32, "max_length": 128}

TEXTS = (
    Preset(
        "bert_2018",
        {
            **_GLUE,
            "body": "bert-base",
            "b1": 0.9,
            "b2": 0.999,
            "eps": 1e-6,
            "debias": False,
            "rate": 2e-5,
            "weight_decay": 0.01,
            "schedule": "linear:warmup=10%",
            "clip": 1.0,
            "length": "3ep",
            "head_dropout": 0.1,
            "head_init": "scaled",
        },
        "Devlin et al. 2019, appendix A.3 (batch 16 or 32, rate 5e-5, 3e-5 or 2e-5, 2 to 4 epochs, "
        "dropout 0.1) and their code (no bias correction, decay 0.01, clip 1, warm-up of 10 %)",
        "One point of their grid; they choose on the validation part.",
        SST2,
    ),
    Preset(
        "few_sample_2021",
        {
            **_GLUE,
            "body": "bert-large",
            "debias": True,
            "fresh": "top:3",
            "rate": 2e-5,
            "weight_decay": 0.0,
            "schedule": "linear:warmup=10%",
            "length": "800st",
            "head_dropout": 0.1,
            "head_init": "scaled",
        },
        "Zhang et al. 2021, sections 4 to 6: bias correction, top layers and pooler drawn afresh, "
        "longer training (200 to 3,200 updates), batch 32, rate 2e-5, no decay",
        "They choose the number of fresh layers, 1 to 6, and of updates on the validation part; "
        "here the pooler and two blocks, and 800.",
        "1000x2",
    ),
    Preset(
        "mosbach_2021",
        {
            **_GLUE,
            "body": "bert-large",
            "batch_size": 16,
            "eps": 1e-6,
            "debias": True,
            "rate": 2e-5,
            "weight_decay": 0.01,
            "schedule": "linear:warmup=10%",
            "clip": 1.0,
            "length": "20ep",
            "head_dropout": 0.1,
            "head_init": "scaled",
        },
        "Mosbach, Andriushchenko & Klakow 2021, section 6 and their configs: bias correction, 20 "
        "epochs, batch 16, rate 2e-5, warm-up of 10 %, decay 0.01, clip 1",
        planned="2490x2",
    ),
    Preset(
        "roberta",
        {
            **_GLUE,
            "body": "roberta-base",
            "b1": 0.9,
            "b2": 0.98,
            "eps": 1e-6,
            "rate": 1e-5,
            "weight_decay": 0.1,
            "schedule": "linear:warmup=6%",
            "length": "10ep",
            "head": "published",
            "head_dropout": 0.1,
            "head_init": "scaled",
        },
        "Liu et al. 2019, as in the authors' README for GLUE: rate 1e-5 (2e-5 for RTE and STS-B), "
        "batch 16 or 32, 10 epochs, warm-up of 6 %, Adam 0.9 and 0.98, decay 0.1, no clip",
        planned=SST2,
    ),
    Preset(
        "albert",
        {
            **_GLUE,
            "body": "albert-base",
            "eps": 1e-6,
            "debias": False,
            "rate": 1e-5,
            "weight_decay": 0.01,
            "schedule": "linear:warmup=1256st",
            "clip": 1.0,
            "length": "20935st",
            "max_length": 512,
        },
        "Lan et al. 2020, as in the authors' script for GLUE: SST-2 at rate 1e-5, batch 32, 20,935 "
        "updates, 1,256 of warm-up",
        "The script's numbers differ from task to task; these are for SST-2. Decay, clip and the "
        "missing bias correction are those of BERT's code, on which theirs builds.",
        SST2,
    ),
    Preset(
        "electra_small",
        {
            **_GLUE,
            "body": "electra-small",
            "eps": 1e-6,
            "debias": False,
            "rate": 1e-4,
            "weight_decay": 0.01,
            "layer_decay": 0.8,
            "decay_convention": "electra",
            "schedule": "linear:warmup=10%",
            "clip": 1.0,
            "length": "3ep",
            "head": "published",
            "head_dropout": 0.1,
            "head_init": "scaled",
        },
        "Clark et al. 2020, as in the authors' code: rate 1e-4, layer-wise decay 0.8, 3 epochs (10 "
        "for RTE and STS-B), warm-up of 10 %, batch 32, no bias correction",
        "Decay and clip are those of BERT's code, on which theirs builds.",
        SST2,
    ),
    Preset(
        "gpt_2018",
        {
            **_GLUE,
            "body": "openai-gpt",
            "rate": 6.25e-5,
            "weight_decay": 0.01,
            "schedule": "linear:warmup=0.2%",
            "clip": 1.0,
            "length": "3ep",
            "head_dropout": 0.1,
            "head_init": "scaled",
            "language_loss": 0.5,
        },
        "Radford et al. 2018, section 4.1: rate 6.25e-5, batch 32, 3 epochs, warm-up of 0.2 %, "
        "linear decay, dropout 0.1 before the classifier, decay 0.01, the next tokens' loss beside "
        "the task's with weight 0.5",
        "What they put around and between texts is the source's own special tokens. The clip is "
        "from their code.",
        SST2,
    ),
)
