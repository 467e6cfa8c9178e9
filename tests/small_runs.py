"""Small runs for tests: digits, a body of two layers, a few epochs; some seconds each."""

from pathlib import Path
from typing import Any

import numpy as np

from tlearn.runs.config import BodyConfig, DataConfig, OptimizerConfig, RunConfig, TrainConfig
from tlearn.runs.config import replace as change
from tlearn.runs.training import Result, start

OLD, NEW = ("0", "1", "2", "3", "4"), ("5", "6", "7", "8", "9")
BODY = BodyConfig(settings=("stage_blocks=1,", "stage_widths=16,", "stem_width=16"))


def pretrain(out: Path) -> Path:
    """A source: 25 batches of the digits 0 to 4."""
    config = RunConfig(
        data=DataConfig(data="digits", classes=OLD),
        body=BODY,
        optimizer=OptimizerConfig(rate=0.1),
        train=TrainConfig(length="25st", batch_size=64, checkpoint_every=1000),
    )
    return start(config, out, say=list().append, quiet=True).folder


def config(source: Path, **changes: Any) -> RunConfig:
    """Twelve batches of the digits 5 to 9."""
    whole = RunConfig(
        data=DataConfig(data="digits", classes=NEW, per_class=8, validation="10%"),
        source=f"run:{source}",
        optimizer=OptimizerConfig(rate=0.05),
        train=TrainConfig(length="12st", batch_size=20, report_every=4, checkpoint_every=5),
    )
    return change(whole, **changes)


def transfer(source: Path, out: Path, **changes: Any) -> Result:
    """Carries a source over to the digits 5 to 9."""
    return start(config(source, **changes), out, say=list().append, quiet=True)


def colour_folder(root: Path, count: int = 8) -> Path:
    """A folder of class folders with colour pictures of eight pixels: splits train and test."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for tint, name in enumerate(("red", "green", "blue")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 80, (8, 8, 3), np.uint8)
                pixels[..., tint] += 150
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root
