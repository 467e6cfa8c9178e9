"""Recipes of transfer for any body: what is frozen, drawn afresh, pulled, and at which rates."""

from tlearn.runs.preset import Preset

TRANSFER = (
    Preset(
        "linear_probe",
        {"freeze": "body", "augment": "none"},
        "Kornblith, Shlens & Le 2019, section 3: logistic regression on frozen features",
        "Trained by the chosen optimizer; `tlearn.transfer.logistic` has the exact optimum.",
    ),
    Preset(
        "lp_ft",
        {"unfreeze": "head-first", "norms": "eval", "weight_decay": 0.0, "schedule": "cosine"},
        "Kumar et al. 2022, section 4: linear probing, then fine-tuning, BatchNorm in eval mode",
    ),
    Preset(
        "l2_sp",
        {
            "pull": "l2sp",
            "pull_strength": 0.1,
            "head_decay": 0.01,
            "optimizer": "sgd",
            "momentum": 0.9,
            "rate": 0.01,
            "schedule": "piecewise:at=67%",
            "length": "9000st",
            "batch_size": 64,
        },
        "Li, Grandvalet & Davoine 2018, section 4: alpha 0.1, beta 0.01, one drop of the rate",
        "Their script pulls weights only; here biases and normalisation are pulled as well.",
    ),
    Preset(
        "ulmfit_layers",
        {
            "layer_decay": 1 / 2.6,
            "unfreeze": "gradual",
            "stage_epochs": 1.0,
            "schedule": "slanted-triangular",
        },
        "Howard & Ruder 2018, section 3: discriminative rates, slanted triangle, unfreezing",
        "The three transfer ideas alone, for any body; its rates belong to the LSTM.",
    ),
    Preset(
        "chain_thaw",
        {"unfreeze": "chain-thaw", "stage_epochs": 1.0},
        "Felbo et al. 2017, section 3.3: the new layer, each layer alone, then all",
    ),
    Preset(
        "electra_rates",
        {
            "layer_decay": 0.8,
            "decay_convention": "electra",
            "optimizer": "adamw",
            "schedule": "linear:warmup=10%",
        },
        "Clark et al. 2020, appendix A: layer-wise decay 0.8, the top layer decayed twice",
    ),
    Preset(
        "zhang_layers",
        {
            "layer_decay": 0.95,
            "decay_convention": "zhang",
            "fresh": "top:1",
            "optimizer": "adamw",
            "schedule": "linear:warmup=10%",
        },
        "Zhang et al. 2021, section 5: top layers drawn afresh, layer-wise decay 0.95",
    ),
    Preset(
        "bit_hyperrule",
        {
            "optimizer": "sgd",
            "momentum": 0.9,
            "rate": 0.003,
            "schedule": "piecewise:warmup=500st,at=30%/60%/90%",
            "length": "10000st",
            "batch_size": 512,
            "weight_decay": 0.0,
            "mix": "mixup",
            "mixup_alpha": 0.1,
            "augment": "crop",
        },
        "Kolesnikov et al. 2020, section 3.3: the rule for 20k to 500k pictures",
        "For fewer pictures the rule says length=500st and mix=none.",
    ),
)
