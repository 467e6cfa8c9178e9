"""Recipes of supervised pre-training on pictures, at ImageNet's shape."""

from typing import Any

from tlearn.runs.preset import Preset

IMAGENET = "1281167x1000"
"""ILSVRC 2012: 1,281,167 training pictures of 1,000 classes (Russakovsky et al. 2015)."""

_PICTURES: dict[str, Any] = {
    "train_split": "train",
    # All training pictures are learned from, and the 50,000 others are what papers report.
    "validation": "0%",
    "test_split": "validation",
    "size": 224,
    "crop": 0.875,
    "pixels": "imagenet",
}

_DEIT: dict[str, Any] = {
    **_PICTURES,
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
    "rate": 1e-3,
    "weight_decay": 0.05,
    "schedule": "cosine:warmup=5ep,end=0.01",
    "length": "300ep",
    "batch_size": 1024,
    "settings": ("drop_path=0.1",),
}
_DEIT_FROM = "Touvron et al. 2021, table 9 (rate 5e-4 for 512 pictures, so 1e-3 for 1024)"
_DEIT_NOTE = (
    "RandAugment's magnitude 9 of 10 with deviation 0.5 is 27 and 1.5 of 30 here, and its "
    "operations are Cubuk et al.'s. Repeated augmentation (three views of a picture in a batch) is "
    "left out: an epoch holds every picture once. Positions and the class token are decayed too, "
    "the authors' code leaves them out. The last rate, 1 % of the peak, is from their code."
)

VISION = (
    Preset(
        "resnet50_imagenet",
        {
            **_PICTURES,
            "body": "resnet50",
            "settings": ("zero_init_residual=true",),
            "interpolation": "bilinear",
            "augment": "crop",
            "window": 0.08,
            "optimizer": "sgd",
            "momentum": 0.9,
            "coupled_decay": True,
            "rate": 0.1,
            "weight_decay": 1e-4,
            "schedule": "piecewise:at=30ep/60ep/80ep",
            "length": "90ep",
            "batch_size": 256,
        },
        "He et al. 2016, section 3.4 (batch 256, rate 0.1, momentum 0.9, decay 1e-4); Goyal et al. "
        "2017, section 5.1 (90 epochs, a tenth at 30, 60 and 80, windows of random area and shape, "
        "no decay of normalisation, the last scale of a branch at zero)",
        "The body's stride lies in its 3x3 convolutions, as in published weights. He et al. divide "
        "the rate where the error stops falling, and test on ten crops; here one crop of the "
        "middle. Their colour changes are left out, as in Goyal et al.",
        IMAGENET,
    ),
    Preset(
        "resnet50_imagenet_cosine",
        {
            **_PICTURES,
            "body": "resnet50",
            "settings": ("zero_init_residual=true",),
            "interpolation": "bilinear",
            "augment": "crop",
            "window": 0.08,
            "mix": "mixup",
            "mixup_alpha": 0.2,
            "smoothing": 0.1,
            "optimizer": "sgd",
            "momentum": 0.9,
            "nesterov": True,
            "coupled_decay": True,
            "rate": 0.4,
            "weight_decay": 1e-4,
            "schedule": "cosine:warmup=5ep",
            "length": "200ep",
            "batch_size": 1024,
        },
        "He et al. 2019 (Bag of tricks), sections 3 and 5 (warm-up of 5 epochs, batch 1024 at rate "
        "0.4, cosine, label smoothing 0.1, mixup 0.2, 200 epochs with mixup)",
        "Their colour changes and PCA noise are left out, and so are distillation and the changed "
        "stem (ResNet-D).",
        IMAGENET,
    ),
    Preset(
        "deit_small",
        {**_DEIT, "body": "deit-small"},
        _DEIT_FROM,
        _DEIT_NOTE,
        IMAGENET,
    ),
    Preset(
        "deit_base",
        {**_DEIT, "body": "deit-base"},
        _DEIT_FROM,
        _DEIT_NOTE,
        IMAGENET,
    ),
)
