"""A small study for tests: two arms, a rate to choose, four units of two runs, one program."""

import json
from pathlib import Path
from typing import Any

from tlearn.runs.config import DataConfig, RunConfig, replace
from tlearn.runs.study import Factor, Study

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


def kept(out: Path) -> dict[str, Any]:
    """What has to be the same whoever ran a study and however often: records without wall times.

    Records by key, per-example predictions by key, choices, the report's table and ``results.csv``.
    """
    import csv

    import numpy as np

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
    with (out / "report" / "results.csv").open(newline="") as stream:
        rows = [{k: v for k, v in row.items() if k != "wall_s"} for row in csv.DictReader(stream)]
    values = json.loads((out / "report" / "results.json").read_text())
    return {
        "records": records,
        "right": right,
        "chosen": values["chosen"],
        "csv": rows,
        "table": (out / "report" / "table.tex").read_text(),
    }
