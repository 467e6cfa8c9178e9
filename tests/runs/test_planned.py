"""What runs would cost without their data: published counts, and refusals everywhere else."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tlearn.cli.main import main
from tlearn.data import DataError, open_dataset, open_texts
from tlearn.data.planned import Planned, read_planned
from tlearn.runs.build import build
from tlearn.runs.config import BodyConfig, DataConfig, RunConfig, replace
from tlearn.runs.costs import Costs, costs, optimizer_bytes
from tlearn.runs.explain import explain, step_flops
from tlearn.runs.flops import count_flops
from tlearn.runs.presets import apply_preset
from tlearn.runs.training import start

TINY = ("stage_blocks=1,", "stage_widths=8,", "stem_width=8")
SMALL = BodyConfig(settings=TINY)


def cost(preset: str, data: str, **changes) -> Costs:
    """Costs of a preset as `explain` counts them."""
    config = replace(apply_preset(RunConfig(data=DataConfig(data=data)), preset), **changes)
    built = build(replace(config, data=data), draw=False)
    recipe = built.program.recipe
    return costs(built, lambda rows: step_flops(built, rows, recipe, built.source))


def test_resnet50_on_imagenet_costs_what_is_published(capsys):
    """He et al. 2016, table 1: 3.8e9 multiply-adds; 4.1e9 with the stride in the 3x3."""
    args = "explain --preset resnet50_imagenet --batch-size 8 --flops 1e14 --used 0.5"
    assert main(args.split()) == 0
    said = capsys.readouterr().out
    assert "1,281,167 examples of 1,000 classes" in said
    assert "image [224, 224, 3] float32" in said
    assert "parameters: 25,557,032, 25,557,032 of them trained" in said
    steps = 90 * math.ceil(1281167 / 8)
    assert f"{steps:,} steps" in said
    step, whole = map(float, re.findall(r"FLOPs: (\S+) a step, (\S+) in all", said)[0])
    # Forward, and twice as much backward less the first layer's gradient of the picture.
    forward = step / 8 / 3
    assert forward == pytest.approx(2 * 4.1e9, rel=0.05)
    assert whole == pytest.approx(step * steps, rel=1e-3)
    hours = float(re.findall(r"hours of a device: ([\d,.]+) at 1e\+14", said)[0].replace(",", ""))
    assert hours == pytest.approx(whole / 1e14 / 0.5 / 3600, rel=1e-3)
    assert "optimizer 97.49 MiB" in said  # A momentum for each.


def test_bert_base_costs_six_flops_a_weight_and_token():
    found = cost("bert_2018", "planned:67349x2", batch_size=2, max_length=512)
    kernels = 12 * (4 * 768**2 + 2 * 768 * 3072)  # 85 million.
    # And the products of queries with keys and of weights with values: 2 x 2 x 512 a width.
    attended = 12 * 2 * 2 * 512 * 768
    expected = 3 * (2 * kernels + attended) * 2 * 512
    # The last block is computed for the first token alone.
    assert found.step_flops[0] == pytest.approx(expected, rel=0.1)
    assert found.parameters == 109_482_240 + 2 * 768 + 2
    assert found.steps == 3 * math.ceil((67349 - 6735) / 2)


def test_every_turn_of_a_scan_is_counted():
    w = jax.ShapeDtypeStruct((64, 64), jnp.float32)
    x = jax.ShapeDtypeStruct((8, 64), jnp.float32)

    def turns(x, w):
        def inner(c, _):
            return c @ w, None

        def outer(c, _):
            return jax.lax.scan(inner, c, None, length=3, unroll=2)[0] @ w, None

        return jax.lax.scan(outer, x, None, length=70)[0].sum()

    product = 2 * 8 * 64 * 64
    assert count_flops(turns, x, w) == pytest.approx(70 * 4 * product, rel=0.01)
    # Backwards two products for each, where weights and states have gradients.
    backward = count_flops(jax.grad(turns, argnums=1), x, w)
    assert backward == pytest.approx(3 * 70 * 4 * product, rel=0.05)


def test_what_is_left_to_learn_from():
    small = {"body": "resnet20", "settings": TINY, "size": 32, "batch_size": 10, "length": "1ep"}
    found = cost("resnet50_imagenet", "planned:1000x10", **small, validation="25%")
    assert (found.examples, found.steps, found.classes) == (750, 75, 10)
    some = cost("resnet50_imagenet", "planned:1000x10", **small, classes=("a", "b"), per_class=30)
    assert (some.examples, some.classes) == (60, 2)
    assert found.batch_bytes == 10 * (4 * 32 * 32 * 3 + 4 + 4)


def test_what_optimizers_keep():
    base = RunConfig(data=DataConfig(data="planned:100x10", size=32), body=SMALL)
    sizes = {}
    for name in ("sgd", "adamw", "lamb", "adafactor"):
        built = build(replace(base, optimizer=name), draw=False)
        sizes[name] = optimizer_bytes(built.program.recipe.optimizer, built.plans[0])
    trained = built.plans[0].totals()["trained"]
    # No matrix of so small a body is large enough for Adafactor's rows and columns.
    assert sizes == {"sgd": 4 * trained, "adamw": 8 * trained, "lamb": 8 * trained} | {
        "adafactor": 4 * trained
    }


def test_names_of_planned_data():
    assert read_planned("planned:1_281_167x1,000") == Planned(1281167, 1000)
    assert read_planned("planned:3300000000") == Planned(3_300_000_000)
    for wrong in ("planned:", "planned:x10", "planned:0x10", "planned:10x1", "planned:1e9"):
        with pytest.raises(DataError, match="write planned:EXAMPLESxCLASSES"):
            read_planned(wrong)


def test_planned_data_is_refused_where_it_would_be_read(tmp_path):
    config = RunConfig(data=DataConfig(data="planned:100x10", size=32), body=SMALL)
    # A recipe that draws layers afresh is counted without the source it is for.
    assert "100 examples of 10 classes" in explain(replace(config, validation="0%", fresh="top:1"))
    for read in (
        lambda: open_dataset("planned:100x10", "train"),
        lambda: open_texts("planned:100x2"),
        lambda: start(config, tmp_path / "run", say=list().append, quiet=True),
    ):
        with pytest.raises(DataError, match="stands for data that is not here: `tlearn explain`"):
            read()
    assert not (tmp_path / "run").exists()
    built = build(config, draw=False)
    with pytest.raises(DataError, match="name the data itself"):
        np.asarray(built.task.train[0])
    with pytest.raises(DataError, match="name the data itself"):
        built.task.train_batches(4, 0).at(0)


def test_what_planning_lacks_is_asked_for():
    with pytest.raises(ValueError, match="nothing says how large pictures are; name it by --size"):
        explain(RunConfig(data=DataConfig(data="planned:100x10")))
    with pytest.raises(ValueError, match="is a corpus; examples with labels are planned:100xCLASS"):
        explain(RunConfig(data=DataConfig(data="planned:100", size=32)))


def test_hours_need_a_rate_and_a_share():
    with pytest.raises(ValueError, match=r"1e\+14 FLOP/s used to 140%"):
        explain(
            RunConfig(data=DataConfig(data="planned:100x10", size=32), body=SMALL),
            rate=1e14,
            used=1.4,
        )
