"""A stored vision transformer carried to pictures of another size, and out again."""

from pathlib import Path

import numpy as np

from tlearn import hub
from tlearn.runs.build import build
from tlearn.runs.config import DataConfig, OptimizerConfig, RunConfig, StrategyConfig, TrainConfig
from tlearn.runs.training import start

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "vision" / "timm_vit"


def config(**data):
    return RunConfig(
        data=DataConfig(data="digits", per_class=8, validation="10%", channels="adapt", **data),
        source=f"hf:{FIXTURE}",
        optimizer=OptimizerConfig(rate=0.01),
        strategy=StrategyConfig(freeze="bottom:2"),
        train=TrainConfig(length="4st", batch_size=20, checkpoint_every=100),
    )


def test_positions_and_the_first_kernel_follow_the_pictures():
    built = build(config(size=24), draw=False)
    assert built.model.body.image_size == 24
    assert built.report.paths("resized") == (
        "body/embeddings/patches/kernel",
        "body/embeddings/positions",
    )


def test_a_run_trains_what_is_free_and_its_model_is_a_source(tmp_path):
    result = start(config(size=16), tmp_path / "run", say=list().append, quiet=True)
    source, after = hub.load(f"hf:{FIXTURE}"), hub.load(f"run:{result.folder}")
    assert after.body["image_size"] == 16
    moved = [
        path
        for path, value in after.params.items()
        if path.startswith("body/")
        and path != "body/embeddings/patches/kernel"
        and not np.array_equal(np.asarray(value), np.asarray(source.params[path]))
    ]
    assert moved
    assert {path.split("/")[1] for path in moved} == {"block_01", "final"}
    folder = hub.export_folder(after, tmp_path / "out", "timm")
    assert hub.load(str(folder)).label_names == after.label_names
