"""A pipeline by its name, or out of a Python file."""

import runpy
from pathlib import Path

from tlearn.params.paths import nearest
from tlearn.runs.pipeline import Pipeline
from tlearn.runs.pipeline_presets import PRESETS


def open_pipeline(spec: str) -> Pipeline:
    """Opens a preset by its name, or ``PIPELINE`` of a Python file.

    Raises:
        ValueError: If there is no such preset or file, or the file holds no pipeline.
    """
    if spec in PRESETS:
        return PRESETS[spec]()
    if not spec.endswith(".py") or not Path(spec).is_file():
        raise ValueError(
            f"{spec!r} is neither a preset ({', '.join(PRESETS)}; closest: "
            f"{nearest(spec, PRESETS)}) nor a Python file"
        )
    found = runpy.run_path(spec).get("PIPELINE")
    if not isinstance(found, Pipeline):
        raise ValueError(
            f"{spec} needs PIPELINE = tlearn.runs.pipeline.Pipeline(...), and has "
            f"{type(found).__name__}"
        )
    return found
