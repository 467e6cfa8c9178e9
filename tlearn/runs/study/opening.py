"""A study by its name, or out of a Python file."""

import runpy
import sys
from pathlib import Path
from typing import Any

from tlearn.params.paths import nearest
from tlearn.runs.study import Study
from tlearn.runs.study.presets import PRESETS


def open_study(spec: str) -> Study:
    """Opens a preset by its name, or ``STUDY`` of a Python file.

    Raises:
        ValueError: If there is no such preset or file, or the file holds no study.
    """
    if spec in PRESETS:
        return PRESETS[spec]()
    if not spec.endswith(".py") or not Path(spec).is_file():
        close = nearest(spec, PRESETS)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"{spec!r} is neither a preset ({', '.join(PRESETS)}) nor a Python file{hint}"
        )
    found = _run(Path(spec)).get("STUDY")
    if not isinstance(found, Study):
        raise ValueError(
            f"{spec} needs STUDY = tlearn.runs.study.Study(...), and has {type(found).__name__}"
        )
    return found


def _run(file: Path) -> dict[str, Any]:
    """Runs a file as Python runs a script: what lies beside it can be imported."""
    folder = str(file.resolve().parent)
    sys.path.insert(0, folder)
    try:
        return runpy.run_path(str(file))
    finally:
        sys.path.remove(folder)
