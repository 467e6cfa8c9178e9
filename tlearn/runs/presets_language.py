"""Recipes of pre-training on plain text, and of ULMFiT's stages after it."""

from typing import Any

from tlearn.runs.preset import Preset

BOOKS_AND_WIKIPEDIA = "3300000000"
"""BooksCorpus and English Wikipedia as Devlin et al. 2019 count them: 3.3 billion words."""
WIKITEXT_103 = "103000000"
"""WikiText-103: 28,595 articles, 103 million words (Howard & Ruder 2018, section 4.1)."""
_TOKENS = "Planned with the corpus's words; its tokens are more."

_ADAM: dict[str, Any] = {"optimizer": "adamw", "b1": 0.9, "b2": 0.999, "validation": "0%"}
_BERT: dict[str, Any] = {
    **_ADAM,
    "body": "bert-base",
    "objective": "next_sentence",
    "mask_rate": 0.15,
    # Ten copies of the corpus, each masked once.
    "masks": 10,
    "eps": 1e-6,
    "debias": False,
    "rate": 1e-4,
    "weight_decay": 0.01,
    "clip": 1.0,
    "batch_size": 256,
}
_BERT_FROM = (
    "Devlin et al. 2019, appendix A.2 (batch 256, 1,000,000 steps of which 90 % at length 128, "
    "rate 1e-4, warm-up of 10,000, linear decay, decay 0.01, dropout 0.1) and their code (no bias "
    "correction, clip 1, ten masked copies)"
)
_ULMFIT: dict[str, Any] = {
    "optimizer": "adamw",
    "b1": 0.7,
    "b2": 0.99,
    "batch_size": 64,
}
_ULMFIT_LM: dict[str, Any] = {
    **_ULMFIT,
    "body": "awd-lstm",
    "objective": "next_tokens",
    "rows": "streams",
    "row_length": 70,
    "activation_penalty": 2.0,
    "change_penalty": 1.0,
    "rate": 0.004,
}
_AR_TAR = "The penalties of activations, 2 and 1, are those of Merity et al. 2018, section 4.5."

LANGUAGE = (
    Preset(
        "bert_2018_pretrain",
        {
            **_BERT,
            "row_length": 128,
            "schedule": "linear:warmup=10000st,end=0.1",
            "length": "900000st",
        },
        _BERT_FROM,
        "The first 900,000 steps; bert_2018_pretrain_512 goes on from there, so that the rate "
        f"falls to a tenth here and to zero there. {_TOKENS}",
        BOOKS_AND_WIKIPEDIA,
    ),
    Preset(
        "bert_2018_pretrain_512",
        {
            **_BERT,
            "row_length": 512,
            "rate": 1e-5,
            "schedule": "linear",
            "length": "100000st",
        },
        _BERT_FROM,
        "The last 100,000 steps, from a run of bert_2018_pretrain; Adam's means start anew. "
        f"{_TOKENS}",
        BOOKS_AND_WIKIPEDIA,
    ),
    Preset(
        "albert_pretrain",
        {
            **_ADAM,
            "body": "albert-base",
            "objective": "sentence_order",
            "mask_unit": "ngram",
            "row_length": 512,
            "optimizer": "lamb",
            "eps": 1e-6,
            "rate": 1.76e-3,
            "weight_decay": 0.01,
            "schedule": "linear:warmup=3125st",
            "length": "125000st",
            "batch_size": 4096,
        },
        "Lan et al. 2020, section 4.1 (LAMB at 1.76e-3, batch 4,096, 125,000 steps, n-grams of up "
        "to three words, sentence order), warm-up of 3,125 as in their README",
        f"They cut one row in ten short. {_TOKENS}",
        BOOKS_AND_WIKIPEDIA,
    ),
    Preset(
        "electra_small_pretrain",
        {
            **_ADAM,
            "body": "electra-small",
            "objective": "replaced_tokens",
            "generator": 0.25,
            "mask_rate": 0.15,
            "row_length": 128,
            "eps": 1e-6,
            "debias": False,
            "rate": 5e-4,
            "weight_decay": 0.01,
            "clip": 1.0,
            "schedule": "linear:warmup=10000st",
            "length": "1000000st",
            "batch_size": 128,
        },
        "Clark et al. 2020, appendix A (rate 5e-4, batch 128, length 128, 1,000,000 steps, warm-up "
        "of 10,000, decay 0.01, generator of a quarter of the width), as in the authors' code",
        f"Clip and bias correction are those of BERT's code, on which theirs builds. {_TOKENS}",
        BOOKS_AND_WIKIPEDIA,
    ),
    Preset(
        "gpt_2018_pretrain",
        {
            **_ADAM,
            "body": "openai-gpt",
            "objective": "next_tokens",
            "rows": "crossing",
            "row_length": 512,
            "rate": 2.5e-4,
            "weight_decay": 0.01,
            "schedule": "cosine:warmup=2000st",
            "length": "100ep",
            "batch_size": 64,
        },
        "Radford et al. 2018, section 4.1: 100 epochs of 64 rows of 512 tokens, Adam at 2.5e-4, "
        "warm-up of 2,000 updates, cosine to zero, decay 0.01, dropout 0.1",
        "They do not say how many tokens BooksCorpus has; planned with the 800 million words that "
        "Devlin et al. count in it.",
        "800000000",
    ),
    Preset(
        "gpt2_pretrain",
        {
            **_ADAM,
            "body": "gpt2",
            "objective": "next_tokens",
            "rows": "crossing",
            "row_length": 1024,
            "batch_size": 512,
        },
        "Radford et al. 2019, section 2.3: rows of 1,024 tokens, batch 512, vocabulary of 50,257",
        "Rate, schedule, length and the number of tokens were not published: name --rate, "
        "--schedule, --length, and --data planned:TOKENS to count with.",
    ),
    Preset(
        "t5_base_pretrain",
        {
            "body": "t5-base",
            "objective": "span_corruption",
            "mask_rate": 0.15,
            "span_length": 3.0,
            "row_length": 512,
            "validation": "0%",
            "optimizer": "adafactor",
            "rate": 0.01,
            "schedule": "inverse-sqrt:warmup=10000st",
            "length": "524288st",
            "batch_size": 128,
        },
        "Raffel et al. 2020, section 3.1 (the baseline: 2^19 steps of 128 rows of 512 tokens, "
        "Adafactor at 1 / sqrt(max(n, 10^4)), 15 % in spans of 3)",
        "They hold the rate at 0.01 for the first 10,000 steps; here it climbs to it. C4 is "
        "planned with the 2^35 tokens that the baseline sees of it.",
        str(2**35),
    ),
    Preset(
        "ulmfit_pretrain",
        {**_ULMFIT_LM, "schedule": "slanted-triangular"},
        "Howard & Ruder 2018, section 4.1: AWD-LSTM of 400, 3 layers of 1,150, back-propagation "
        "through 70 tokens, dropouts 0.4, 0.3, 0.4, 0.05 and 0.5, Adam 0.7 and 0.99, batch 64",
        "Rate and schedule are those of language-model fine-tuning: the paper does not give those "
        f"of pre-training, nor the epochs; name --length. {_AR_TAR}",
        WIKITEXT_103,
    ),
    Preset(
        "ulmfit_adapt",
        {**_ULMFIT_LM, "layer_decay": 1 / 2.6, "schedule": "slanted-triangular:cut=10%,ratio=32"},
        "Howard & Ruder 2018, sections 3.2 and 4.1: discriminative rates (1 / 2.6 from layer to "
        "layer), slanted triangle (0.1, 32), base rate 0.004, batch 64",
        f"Epochs are tuned on the validation part; name --length. {_AR_TAR}",
        WIKITEXT_103,
    ),
    Preset(
        "ulmfit",
        {
            **_ULMFIT,
            "body": "awd-lstm",
            "head": "ulmfit",
            "head_dropout": 0.4,
            "head_init": "scaled",
            "layer_decay": 1 / 2.6,
            "unfreeze": "gradual",
            "stage_epochs": 1.0,
            "rate": 0.01,
            "schedule": "slanted-triangular:cut=10%,ratio=32",
        },
        "Howard & Ruder 2018, sections 3.3 and 4.1: gradual unfreezing, one layer an epoch; "
        "discriminative rates, slanted triangle, base rate 0.01, batch 64, hidden layer of 50, "
        "concatenated pooling",
        "Epochs are tuned on the validation part; name --length, and --max-length to count with "
        "planned texts, which are nowhere cut. They classify by a forward and a backward model "
        "together. Planned with IMDb's 25,000 reviews.",
        "25000x2",
    ),
)
