"""Choose the quickstart's rates and strengths on its validation pictures, with seeds of their own.

Every arm is run over a small grid with seeds 100-104 at 10 labels per class; the setting with the
best mean validation accuracy is what `tlearn.runs.quickstart.arms` holds. Test pictures are not
touched. Command: ``python experiments/digits/choose.py --out choice.json``.
"""

import argparse
import dataclasses
import json
import os
import tempfile
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)

from tlearn.bodies import build as build_body  # noqa: E402
from tlearn.heads import Linear  # noqa: E402
from tlearn.model import Model  # noqa: E402
from tlearn.runs import quickstart  # noqa: E402
from tlearn.runs.quickstart_source import train_source  # noqa: E402
from tlearn.studies.arms import Bench, run_cell, subsets  # noqa: E402
from tlearn.train.mesh import make_mesh  # noqa: E402

RATES = (1e-3, 3e-3, 1e-2, 3e-2)
HEAD_RATES = (*RATES, 1e-1, 3e-1)  # A head alone bears larger steps.
STRENGTHS = {"pulled, squared": (0.001, 0.01, 0.1), "pulled, unsquared": (0.001, 0.01, 0.1, 1.0)}
SEEDS = tuple(range(100, 105))


def settings():
    """Every arm at every rate, and pulled arms at every strength at the rate of the base."""
    for name, setting in quickstart.arms().items():
        for rate in HEAD_RATES if setting.cached else RATES:
            changed = dataclasses.replace(
                setting, optimizer=dataclasses.replace(setting.optimizer, rate=rate)
            )
            for strength in STRENGTHS.get(name, (None,)):
                if strength is None:
                    yield name, {"rate": rate}, changed
                    continue
                pull = dataclasses.replace(setting.strategy.pull, strength=strength)
                strategy = dataclasses.replace(setting.strategy, pull=pull)
                yield (
                    name,
                    {"rate": rate, "strength": strength},
                    dataclasses.replace(changed, strategy=strategy),
                )


def main():
    """Runs the grid and prints the best setting of every arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="", help="file for all figures")
    parser.add_argument("--arms", nargs="*", default=list(quickstart.arms()), help="arms to run")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = train_source(quickstart.OLD, Path(folder) / "source", print)
    data = quickstart.digits(source.facts)
    bench = Bench(
        model=Model(
            build_body(dict(source.body)), Linear(len(quickstart.NEW), kernel_init="scaled")
        ),
        params=source.params,
        collections=source.collections,
        examples=data["pool"][0],
        label=data["pool"][1],
        steps=quickstart.STEPS,
        batch_size=quickstart.BATCH,
        mesh=make_mesh() if jax.device_count() > 1 else None,
    )
    pool = np.arange(len(bench.label))
    drawn = subsets(bench.label, (quickstart.SHOWN,), SEEDS, among=pool)[quickstart.SHOWN]
    watched, truth = data["watch"]
    figures = []
    for name, values, setting in settings():
        if name not in arguments.arms:
            continue
        cell = run_cell(bench, setting, drawn, SEEDS, evaluate_on=watched)
        right = (cell.logits.argmax(-1) == truth).mean(axis=1)
        figures.append({"arm": name, **values, "validation": [round(float(r), 4) for r in right]})
        print(name, values, f"{right.mean():.4f}", flush=True)
    for name in arguments.arms:
        mine = [f for f in figures if f["arm"] == name]
        print("best", max(mine, key=lambda f: np.mean(f["validation"])))
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
