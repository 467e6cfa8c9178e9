"""A study's runs as files that other programs read: CSV, Parquet, JSON."""

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.studies.records import Record, Results, to_json

_TEXT = ("key", "role", "arm", "state", "error", "plan")
_WHOLE = ("labels_per_class", "seed", "updates", "retried")


def rows_of(results: Results) -> list[dict[str, Any]]:
    """Gives a row a run, reported ones first; a figure that is not there or not finite is None."""
    rows = [_row(record) for record in (*results.records, *results.pilots)]
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: _finite(row.get(name)) for name in columns} for row in rows]


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Renders rows as CSV; numbers keep all their digits."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    if rows:
        writer.writerow(rows[0])
        for row in rows:
            cells = [repr(v) if isinstance(v, float) else v for v in row.values()]
            writer.writerow(["" if v is None else v for v in cells])
    return stream.getvalue()


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows as a Parquet file, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(rows[0]) if rows else []
    kinds = {
        name: pa.string()
        if name in _TEXT or name.startswith("level/")
        else pa.int64()
        if name in _WHOLE
        else pa.float64()
        for name in names
    }
    columns = {
        name: pa.array([row[name] for row in rows], kinds[name], from_pandas=False)
        for name in names
    }
    beside = path.with_name(path.name + ".part")
    pq.write_table(pa.table(columns), beside)
    os.replace(beside, path)


def values_of(results: Results) -> dict[str, Any]:
    """Gives all that was kept of the study, without what every example got, as JSON-able values."""
    return finite(
        {
            "question": results.question,
            "claim": results.claim,
            "higher_is_better": results.higher_is_better,
            "labels_per_class": results.shown,
            "chosen": results.chosen,
            "plan_differences": results.plan_differences,
            "test_examples": results.test_examples,
            "untouched": results.untouched,
            "runs": [to_json(record) for record in results.records],
            "pilots": [to_json(record) for record in results.pilots],
        }
    )


def finite(value: Any) -> Any:
    """Replaces numbers that JSON has no word for by None, and what is no JSON value by its text."""
    if isinstance(value, Mapping):
        return {str(name): finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


def _row(record: Record) -> dict[str, Any]:
    cost = record.cost
    return {
        "key": record.key,
        "role": record.role,
        "arm": record.arm,
        "labels_per_class": record.labels,
        "seed": record.seed,
        "state": record.state,
        **{f"test/{name}": value for name, value in record.metrics.items()},
        **{f"validation/{name}": value for name, value in record.validation.items()},
        **{f"level/{name}": level for name, level in record.levels.items()},
        **{f"value/{name}": value for name, value in record.values.items()},
        "updates": record.at[-1] if record.at else None,
        "trained_parameters": cost.trained,
        "step_flops": cost.step_flops,
        "wall_s": cost.wall_s,
        "optimizer_bytes": cost.optimizer_bytes,
        "pull": record.pull,
        **{f"source_task/{name}": value for name, value in record.remembered.items()},
        **({"source_task/metric": record.remembered_metric} if record.remembered_metric else {}),
        **{f"distance/{name}": value for name, value in record.distance.items()},
        **{f"cka/{name}": value for name, value in record.cka.items()},
        "retried": record.retried,
        "error": record.error,
        "plan": record.plan,
    }


def _finite(value: Any) -> Any:
    """A plain number, text or None."""
    if isinstance(value, str | int) or value is None:
        return value
    return float(value) if math.isfinite(value) else None
