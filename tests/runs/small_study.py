"""A small study for tests: two arms, a rate to choose, four units of two runs, one program."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.runs.config import DataConfig, RunConfig, replace
from tlearn.runs.study import Factor, Study
from tlearn.runs.study.many import Outcome
from tlearn.studies.contents import Cost

BASE = replace(
    RunConfig(data=DataConfig(data="digits", test_split="test", validation="20%")),
    settings=("stage_blocks=1,", "stage_widths=8,", "stem_width=8"),
    length="6st",
    batch_size=16,
)


def small(**changes: Any) -> Study:
    """Four pilots, four reported runs."""
    given: dict[str, Any] = {
        "name": "small",
        "title": "A small study",
        "base": BASE,
        "factors": (
            Factor("rates", {"equal": {"layer_decay": 1.0}, "decayed": {"layer_decay": 0.5}}),
            Factor.over("rate", (0.1, 0.5), role="nuisance"),
        ),
        "seeds": (0, 1),
        "pilot_seeds": (100,),
        "labels": (5,),
        "points": 2,
        "unit_runs": 2,
    }
    return Study(**{**given, **changes})


def as_file(place: Path, **changes: str) -> Path:
    """A study's file that a command line may be given; changes are Python expressions."""
    told = ", ".join(f"{name}={value}" for name, value in changes.items())
    here = json.dumps(str(Path(__file__).parent))
    place.write_text(
        f"import sys\nsys.path.insert(0, {here})\n"
        "from small_study import BASE, small\n"
        "from tlearn.runs.config import replace\n"
        "from tlearn.runs.study import Factor\n"
        f"STUDY = small({told})\n"
    )
    return place


def pretend(configs: Any, looks: Any, **settings: Any) -> list[Outcome]:
    """Outcomes that cost nothing, made of the config: for tests of what is kept, not trained."""
    made = []
    for config in configs:
        at = config.train.seed / 100 + config.strategy.layer_decay / 10 + config.optimizer.rate / 50
        figures = {"accuracy": at, "loss": 1 - at}
        reported = bool(config.data.test_split)
        made.append(
            Outcome(
                error="",
                metrics=figures if reported else {},
                validation=figures,
                at=(3, 6),
                curve=(at / 2, at),
                distance={},
                cka={},
                remembered={},
                pull=None,
                cost=Cost(trained=2, step_flops=1e6, wall_s=0.1, optimizer_bytes=8),
                plan="trains 2 of 2 (100%)",
                layers=("head: trains 2 of 2 parameters, mode train",),
                right=np.arange(20) < 20 * at if reported else None,
            )
        )
    return made


def kept(out: Path) -> dict[str, Any]:
    """What has to be the same whoever ran a study and however often: records without wall times.

    Records by key, per-example predictions by key; choices, table and ``results.csv`` of a report.
    """
    records, right = {}, {}
    for file in sorted((out / "units").glob("*.json")):
        if file.name.endswith(".unit.json"):
            continue
        for record in json.loads(file.read_text())["records"]:
            record["cost"].pop("wall_s")
            assert record["key"] not in records, "a run is there twice"
            records[record["key"]] = record
        with np.load(file.with_suffix(".npz")) as rows:
            right |= {key: rows[key].tobytes() for key in rows.files}
    report = {}
    if (out / "report").exists():
        with (out / "report" / "results.csv").open(newline="") as stream:
            rows = [{k: v for k, v in r.items() if k != "wall_s"} for r in csv.DictReader(stream)]
        values = json.loads((out / "report" / "results.json").read_text())
        table = (out / "report" / "table.tex").read_text()
        report = {"chosen": values["chosen"], "csv": rows, "table": table}
    return {"records": records, "right": right, "report": report}
