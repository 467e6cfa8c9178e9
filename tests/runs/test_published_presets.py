"""The constants of every preset as its paper prints them, and its rate at chosen updates.

Written from the papers and the authors' code, not from the presets: a slip in either goes red.
"""

import dataclasses

import pytest

from tlearn.runs.build import make_optimizer
from tlearn.runs.config import DataConfig, RunConfig
from tlearn.runs.presets import PRESETS, apply_preset

# Howard & Ruder 2018, section 4.1; the penalties are Merity et al.'s.
ULMFIT = {"optimizer": "adamw", "b1": 0.7, "b2": 0.99, "batch_size": 64, "body": "awd-lstm"}
ULMFIT_LM = ULMFIT | {
    "objective": "next_tokens",
    "rows": "streams",
    "row_length": 70,
    "activation_penalty": 2.0,
    "change_penalty": 1.0,
    "rate": 0.004,
}
# Devlin et al. 2019, appendix A.2, and create_pretraining_data.py (dupe_factor).
ADAM = {"optimizer": "adamw", "b1": 0.9, "b2": 0.999, "validation": "0%"}
BERT = ADAM | {
    "body": "bert-base",
    "objective": "next_sentence",
    "mask_rate": 0.15,
    "masks": 10,
    "eps": 1e-6,
    "debias": False,
    "weight_decay": 0.01,
    "clip": 1.0,
    "batch_size": 256,
}
GLUE = {"optimizer": "adamw", "max_length": 128, "head_dropout": 0.1, "head_init": "scaled"}
# Touvron et al. 2021, table 9; RandAugment 9 of 10 with deviation 0.5 is 27 and 1.5 of 30.
PICTURES = {
    "train_split": "train",
    "validation": "0%",
    "test_split": "validation",
    "size": 224,
    "crop": 0.875,
    "pixels": "imagenet",
}
DEIT = PICTURES | {
    "interpolation": "bicubic",
    "augment": "randaugment",
    "magnitude": 27.0,
    "spread": 1.5,
    "erase": 0.25,
    "mix": "both",
    "mixup_alpha": 0.8,
    "cutmix_alpha": 1.0,
    "smoothing": 0.1,
    "optimizer": "adamw",
    "rate": 0.001,
    "weight_decay": 0.05,
    "length": "300ep",
    "batch_size": 1024,
    "settings": ("drop_path=0.1",),
}
RESNET = PICTURES | {
    "body": "resnet50",
    "settings": ("zero_init_residual=true",),
    "interpolation": "bilinear",
    "augment": "crop",
    "window": 0.08,
    "optimizer": "sgd",
    "momentum": 0.9,
    "coupled_decay": True,
    "weight_decay": 0.0001,
}

PUBLISHED = {
    "ulmfit_pretrain": ULMFIT_LM,
    "ulmfit_adapt": ULMFIT_LM | {"layer_decay": 1 / 2.6},
    "ulmfit": ULMFIT
    | {
        "head": "ulmfit",
        "head_dropout": 0.4,
        "head_init": "scaled",
        "layer_decay": 1 / 2.6,
        "unfreeze": "gradual",
        "stage_epochs": 1.0,
        "rate": 0.01,
    },
    "bert_2018_pretrain": BERT | {"row_length": 128, "rate": 0.0001, "length": "900000st"},
    "bert_2018_pretrain_512": BERT | {"row_length": 512, "rate": 1e-5, "length": "100000st"},
    # Lan et al. 2020, section 4.1, and their README.
    "albert_pretrain": ADAM
    | {
        "body": "albert-base",
        "objective": "sentence_order",
        "mask_unit": "ngram",
        "row_length": 512,
        "optimizer": "lamb",
        "eps": 1e-6,
        "rate": 0.00176,
        "weight_decay": 0.01,
        "length": "125000st",
        "batch_size": 4096,
    },
    # Clark et al. 2020, table 6.
    "electra_small_pretrain": ADAM
    | {
        "body": "electra-small",
        "objective": "replaced_tokens",
        "generator": 1 / 4,
        "mask_rate": 0.15,
        "row_length": 128,
        "eps": 1e-6,
        "debias": False,
        "rate": 0.0005,
        "weight_decay": 0.01,
        "clip": 1.0,
        "length": "1000000st",
        "batch_size": 128,
    },
    # Radford et al. 2018, section 4.1.
    "gpt_2018_pretrain": ADAM
    | {
        "body": "openai-gpt",
        "objective": "next_tokens",
        "rows": "crossing",
        "row_length": 512,
        "rate": 0.00025,
        "weight_decay": 0.01,
        "length": "100ep",
        "batch_size": 64,
    },
    # Radford et al. 2019, section 2.3.
    "gpt2_pretrain": ADAM
    | {
        "body": "gpt2",
        "objective": "next_tokens",
        "rows": "crossing",
        "row_length": 1024,
        "batch_size": 512,
    },
    # Raffel et al. 2020, section 3.1.
    "t5_base_pretrain": {
        "body": "t5-base",
        "objective": "span_corruption",
        "mask_rate": 0.15,
        "span_length": 3.0,
        "row_length": 512,
        "validation": "0%",
        "optimizer": "adafactor",
        "rate": 0.01,
        "length": "524288st",
        "batch_size": 128,
    },
    # Devlin et al. 2019, appendix A.3, and their code.
    "bert_2018": GLUE
    | {
        "body": "bert-base",
        "batch_size": 32,
        "b1": 0.9,
        "b2": 0.999,
        "eps": 1e-6,
        "debias": False,
        "rate": 2e-5,
        "weight_decay": 0.01,
        "clip": 1.0,
        "length": "3ep",
    },
    # Zhang et al. 2021, section 4.
    "few_sample_2021": GLUE
    | {
        "body": "bert-large",
        "batch_size": 32,
        "debias": True,
        "fresh": "top:3",
        "rate": 2e-5,
        "weight_decay": 0.0,
        "length": "800st",
    },
    # Mosbach et al. 2021, section 6.
    "mosbach_2021": GLUE
    | {
        "body": "bert-large",
        "batch_size": 16,
        "eps": 1e-6,
        "debias": True,
        "rate": 2e-5,
        "weight_decay": 0.01,
        "clip": 1.0,
        "length": "20ep",
    },
    # Liu et al. 2019, the README for GLUE.
    "roberta": GLUE
    | {
        "body": "roberta-base",
        "batch_size": 32,
        "b1": 0.9,
        "b2": 0.98,
        "eps": 1e-6,
        "rate": 1e-5,
        "weight_decay": 0.1,
        "length": "10ep",
        "head": "published",
    },
    # Lan et al. 2020, run_glue.sh, SST-2.
    "albert": {
        "optimizer": "adamw",
        "body": "albert-base",
        "batch_size": 32,
        "max_length": 512,
        "eps": 1e-6,
        "debias": False,
        "rate": 1e-5,
        "weight_decay": 0.01,
        "clip": 1.0,
        "length": "20935st",
    },
    # Clark et al. 2020, table 7.
    "electra_small": GLUE
    | {
        "body": "electra-small",
        "batch_size": 32,
        "eps": 1e-6,
        "debias": False,
        "rate": 0.0001,
        "weight_decay": 0.01,
        "layer_decay": 0.8,
        "decay_convention": "electra",
        "clip": 1.0,
        "length": "3ep",
        "head": "published",
    },
    # Radford et al. 2018, section 4.1.
    "gpt_2018": GLUE
    | {
        "body": "openai-gpt",
        "batch_size": 32,
        "rate": 6.25e-5,
        "weight_decay": 0.01,
        "clip": 1.0,
        "length": "3ep",
        "language_loss": 0.5,
    },
    "deit_small": DEIT | {"body": "deit-small"},
    "deit_base": DEIT | {"body": "deit-base"},
    # He et al. 2016, section 3.4; Goyal et al. 2017, section 5.1.
    "resnet50_imagenet": RESNET | {"rate": 0.1, "length": "90ep", "batch_size": 256},
    # He et al. 2019, sections 3 and 5.
    "resnet50_imagenet_cosine": RESNET
    | {
        "mix": "mixup",
        "mixup_alpha": 0.2,
        "smoothing": 0.1,
        "nesterov": True,
        "rate": 0.4,
        "length": "200ep",
        "batch_size": 1024,
    },
    # Kornblith et al. 2019, section 3.
    "linear_probe": {"freeze": "body", "augment": "none"},
    # Kumar et al. 2022, section 4.
    "lp_ft": {"unfreeze": "head-first", "norms": "eval", "weight_decay": 0.0},
    # Li et al. 2018, section 4.
    "l2_sp": {
        "pull": "l2sp",
        "pull_strength": 0.1,
        "head_decay": 0.01,
        "optimizer": "sgd",
        "momentum": 0.9,
        "rate": 0.01,
        "length": "9000st",
        "batch_size": 64,
    },
    "ulmfit_layers": {"layer_decay": 1 / 2.6, "unfreeze": "gradual", "stage_epochs": 1.0},
    # Felbo et al. 2017, section 3.3.
    "chain_thaw": {"unfreeze": "chain-thaw", "stage_epochs": 1.0},
    "electra_rates": {"layer_decay": 0.8, "decay_convention": "electra", "optimizer": "adamw"},
    "zhang_layers": {
        "layer_decay": 0.95,
        "decay_convention": "zhang",
        "fresh": "top:1",
        "optimizer": "adamw",
    },
    # Kolesnikov et al. 2020, section 3.3: 20,000 to 500,000 pictures.
    "bit_hyperrule": {
        "optimizer": "sgd",
        "momentum": 0.9,
        "rate": 0.003,
        "length": "10000st",
        "batch_size": 512,
        "weight_decay": 0.0,
        "mix": "mixup",
        "mixup_alpha": 0.1,
        "augment": "crop",
    },
}

BERT_LIKE = {0: 0.0, 50: 0.5, 100: 1.0, 550: 0.5, 1000: 0.0}
"""Warm-up of a tenth, and linear from there to zero: shares of the peak by update of 1,000."""
SLANTED = {0: 1 / 32, 50: 33 / 64, 100: 1.0, 550: 33 / 64, 1000: 1 / 32}

RATES = {
    # Updates in all, in an epoch, and the rate by update.
    "ulmfit_pretrain": (1000, 100, {at: 0.004 * share for at, share in SLANTED.items()}),
    "ulmfit_adapt": (1000, 100, {at: 0.004 * share for at, share in SLANTED.items()}),
    "ulmfit": (1000, 100, {at: 0.01 * share for at, share in SLANTED.items()}),
    "ulmfit_layers": (1000, 100, {at: 0.01 * share for at, share in SLANTED.items()}),
    # A million updates in all, and no break between the two presets.
    "bert_2018_pretrain": (900_000, 1, {0: 0.0, 5000: 5e-5, 10_000: 1e-4, 900_000: 1e-5}),
    "bert_2018_pretrain_512": (100_000, 1, {0: 1e-5, 50_000: 5e-6, 100_000: 0.0}),
    "albert_pretrain": (125_000, 1, {0: 0.0, 3125: 1.76e-3, 125_000: 0.0}),
    "electra_small_pretrain": (1_000_000, 1, {5000: 2.5e-4, 10_000: 5e-4, 505_000: 2.5e-4}),
    "gpt_2018_pretrain": (100_000, 1000, {1000: 1.25e-4, 2000: 2.5e-4, 51_000: 1.25e-4, 10**5: 0}),
    "t5_base_pretrain": (524_288, 1, {10_000: 0.01, 40_000: 0.005, 250_000: 0.002}),
    "bert_2018": (1000, 100, {at: 2e-5 * share for at, share in BERT_LIKE.items()}),
    "few_sample_2021": (1000, 100, {at: 2e-5 * share for at, share in BERT_LIKE.items()}),
    "mosbach_2021": (1000, 100, {at: 2e-5 * share for at, share in BERT_LIKE.items()}),
    "electra_small": (1000, 100, {at: 1e-4 * share for at, share in BERT_LIKE.items()}),
    "electra_rates": (1000, 100, {at: 0.01 * share for at, share in BERT_LIKE.items()}),
    "zhang_layers": (1000, 100, {at: 0.01 * share for at, share in BERT_LIKE.items()}),
    "roberta": (1000, 100, {30: 5e-6, 60: 1e-5, 530: 5e-6, 1000: 0.0}),
    "albert": (20_935, 2105, {628: 5e-6, 1256: 1e-5, 20_935: 0.0}),
    "gpt_2018": (10_000, 3000, {10: 3.125e-5, 20: 6.25e-5, 5010: 3.125e-5, 10_000: 0.0}),
    "deit_small": (300, 1, {0: 0.0, 5: 1e-3, 300: 1e-5}),
    "deit_base": (300, 1, {0: 0.0, 5: 1e-3, 300: 1e-5}),
    "resnet50_imagenet": (90, 1, {29: 0.1, 31: 0.01, 59: 0.01, 61: 0.001, 79: 1e-3, 81: 1e-4}),
    "resnet50_imagenet_cosine": (205, 1, {0: 0.0, 5: 0.4, 105: 0.2, 205: 0.0}),
    "lp_ft": (1000, 100, {0: 0.01, 500: 0.005, 1000: 0.0}),
    "l2_sp": (9000, 100, {0: 0.01, 6000: 0.01, 6060: 0.001, 9000: 0.001}),
    "bit_hyperrule": (
        10_000,
        100,
        {250: 0.0015, 500: 0.003, 2999: 0.003, 3001: 3e-4, 6001: 3e-5, 9001: 3e-6},
    ),
}

DATA = {
    "bert_2018_pretrain": "3300000000",
    "bert_2018_pretrain_512": "3300000000",
    "albert_pretrain": "3300000000",
    "electra_small_pretrain": "3300000000",
    "gpt_2018_pretrain": "800000000",
    "t5_base_pretrain": "34359738368",
    "ulmfit_pretrain": "103000000",
    "ulmfit_adapt": "103000000",
    "ulmfit": "25000x2",
    "bert_2018": "67349x2",
    "roberta": "67349x2",
    "albert": "67349x2",
    "electra_small": "67349x2",
    "gpt_2018": "67349x2",
    "few_sample_2021": "1000x2",
    "mosbach_2021": "2490x2",
    "resnet50_imagenet": "1281167x1000",
    "resnet50_imagenet_cosine": "1281167x1000",
    "deit_small": "1281167x1000",
    "deit_base": "1281167x1000",
}


def config_of(name):
    return apply_preset(RunConfig(data=DataConfig(data="any"), source="run:any"), name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_constants_are_the_published_ones(name):
    config = config_of(name)
    groups = [config, *filter(dataclasses.is_dataclass, vars(config).values())]
    found = {field: value for group in groups for field, value in vars(group).items()}
    wanted = PUBLISHED[name]
    assert {field: found[field] for field in wanted} == wanted
    # Whatever else it sets would be guarded by nothing.
    assert set(PRESETS[name].changes) - {"schedule"} == set(wanted)
    assert PRESETS[name].planned == DATA.get(name, "")


@pytest.mark.parametrize("name", RATES)
def test_rates_are_the_published_ones_at_their_updates(name):
    total, each, wanted = RATES[name]
    optimizer = make_optimizer(config_of(name), each)
    found = {at: optimizer.rate * float(optimizer.schedule.multiplier(at, total)) for at in wanted}
    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-12)


def test_every_preset_is_in_the_tables():
    assert set(PUBLISHED) == set(PRESETS)
    assert set(RATES) == {name for name in PRESETS if "schedule" in PRESETS[name].changes}
